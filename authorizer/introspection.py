"""Token introspection at the authorization server (RFC 7662)."""

import os
from base64 import b64encode
from collections.abc import Callable, Mapping
from functools import partial
from hashlib import blake2b
from typing import NamedTuple

from authorizer import aws, claims, strict_json
from authorizer.cache import BackOff, Jitter, LRUCache, Turns, jitter
from authorizer.claims import DPOP_KEY, ClaimRules, Confirmation, VerifiedToken
from authorizer.clock import Clocks, Instant
from authorizer.errors import IntrospectionError, InvalidTokenError, Reason
from authorizer.https_client import HttpExchangeError, Request, Response, Send

MAX_TOKEN_LENGTH = 1024
REFUSAL_SECONDS = 5.0
_REMEMBERED_ANSWERS = 1024
_TOLERATED_FAILURES = 2
_OK = 200
_BAD_CREDENTIALS = (401, 403)
_TOO_MANY_REQUESTS = 429
_SERVER_ERROR = 500


class Credentials(NamedTuple):
    """What we authenticate with at the introspection endpoint."""

    client_id: str
    client_secret: str


CredentialSource = Callable[[bool, float], Credentials]
"""Returns the credentials, anew if so asked, within so many seconds."""

_AS_KEPT, _ANEW = False, True


class _Answer(NamedTuple):
    """What the endpoint said about a token when it was asked, and for how long we go by it."""

    verdict: VerifiedToken | Reason
    asked: Instant
    seconds: float


class Introspector:
    """Asks the introspection endpoint about tokens, and remembers its answers for a short while.

    An answer is kept under a digest keyed with a secret of this process. A good one holds no longer
    than the token nor than `cache_seconds`, which is how long a revoked token may live on; a bad
    one holds for five seconds.
    """

    def __init__(
        self,
        uri: str,
        send: Send,
        credentials: CredentialSource,
        rules: ClaimRules,
        clocks: Clocks,
        *,
        cache_seconds: float = 60.0,
        jitter: Jitter = jitter,
    ) -> None:
        self._uri = uri
        self._send = send
        self._credentials = credentials
        self._rules = rules
        self._clocks = clocks
        self._cache_seconds = cache_seconds
        self._breaker = BackOff(clocks, tolerance=_TOLERATED_FAILURES, jitter=jitter)
        self._digest_key = os.urandom(32)
        self._good: LRUCache[bytes, _Answer] = LRUCache(_REMEMBERED_ANSWERS)
        self._bad: LRUCache[bytes, _Answer] = LRUCache(_REMEMBERED_ANSWERS)
        self._turns = Turns()

    def introspect(self, token: str, now: float, seconds: float) -> VerifiedToken:
        """Return what the authorization server says about a token.

        Args:
            token: an opaque token in the characters of RFC 6750, 2.1.
            now: the time, in seconds since the epoch.
            seconds: how long the answer may take.

        Raises:
            InvalidTokenError: the token is not active, or its answer does not fit our rules.
            IntrospectionError: there is no usable answer.
        """
        if len(token) > MAX_TOKEN_LENGTH:
            raise InvalidTokenError(Reason.TOKEN_TOO_LONG)
        digest = blake2b(token.encode(), digest_size=32, key=self._digest_key).digest()
        answer = self._recall(digest) or self._ask_once(token, digest, now, seconds)
        if isinstance(answer.verdict, Reason):
            raise InvalidTokenError(answer.verdict)
        claims.check_times(answer.verdict, now)
        return answer.verdict

    def _recall(self, digest: bytes) -> _Answer | None:
        answer = self._good.get(digest) or self._bad.get(digest)
        if answer is None or self._clocks.since(answer.asked) >= answer.seconds:
            return None
        return answer

    def _ask_once(self, token: str, digest: bytes, now: float, seconds: float) -> _Answer:
        """Ask, unless another request is asking the same: then wait for its answer."""
        started = self._clocks.now()
        with self._turns.take(digest, seconds) as came:
            if not came:
                raise IntrospectionError(Reason.INTROSPECTION_UNREACHABLE)
            answer = self._recall(digest)
            if answer is None:
                answer = self._ask(token, now, self._clocks.left(seconds, started))
                self._remember(digest, answer)
            return answer

    def _remember(self, digest: bytes, answer: _Answer) -> None:
        """Keep good and bad answers apart, so that a flood of bad tokens displaces no good one."""
        good = isinstance(answer.verdict, VerifiedToken)
        (self._bad if good else self._good).forget(digest)
        (self._good if good else self._bad).put(digest, answer)

    def _ask(self, token: str, now: float, seconds: float) -> _Answer:
        if self._breaker.is_on():
            raise IntrospectionError(Reason.INTROSPECTION_PAUSED)
        asked = self._clocks.now()
        try:
            answer = self._exchange(token, seconds)
        except IntrospectionError as failure:
            if failure.reason is not Reason.INTROSPECTION_STATUS:
                self._breaker.failed()
            raise
        self._breaker.succeeded()
        return self._judge(answer, now, asked)

    def _exchange(self, token: str, seconds: float) -> Mapping[str, object]:
        left = partial(self._clocks.left, seconds, self._clocks.now())
        credentials = self._credentials(_AS_KEPT, seconds)
        response = self._post(token, left(), credentials)
        if response.status in _BAD_CREDENTIALS:
            renewed = self._credentials(_ANEW, left())
            if renewed != credentials:
                response = self._post(token, left(), renewed)
        _check_status(response.status)
        return _read_answer(response.body)

    def _post(self, token: str, seconds: float, credentials: Credentials) -> Response:
        headers = {
            "Accept": "application/json",
            "Authorization": _basic(credentials),
            "Content-Type": "application/x-www-form-urlencoded",
        }
        body = f"token={_form_encode(token)}&token_type_hint=access_token".encode()
        try:
            return self._send(Request("POST", self._uri, headers, body, seconds))
        except HttpExchangeError as error:
            raise IntrospectionError(Reason.INTROSPECTION_UNREACHABLE) from error

    def _judge(self, answer: Mapping[str, object], now: float, asked: Instant) -> _Answer:
        if answer["active"] is False:
            return _Answer(Reason.TOKEN_INACTIVE, asked, REFUSAL_SECONDS)
        horizon = now + self._cache_seconds
        try:
            token = _read_token(answer, self._rules, now, horizon)
        except InvalidTokenError as refused:
            return _Answer(refused.reason, asked, REFUSAL_SECONDS)
        return _Answer(token, asked, self._cache_seconds)


def _check_status(status: int) -> None:
    """Tell our own trouble apart: only some of it is a reason to leave the endpoint alone."""
    if status in _BAD_CREDENTIALS:
        raise IntrospectionError(Reason.INTROSPECTION_CREDENTIALS)
    if status == _TOO_MANY_REQUESTS or status >= _SERVER_ERROR:
        raise IntrospectionError(Reason.INTROSPECTION_UNREACHABLE)
    if status != _OK:
        raise IntrospectionError(Reason.INTROSPECTION_STATUS)


def _read_answer(body: bytes) -> Mapping[str, object]:
    """Read an introspection response; `active` must be a boolean (RFC 7662, 2.2)."""
    try:
        answer = strict_json.parse_object(body)
    except strict_json.JsonError:
        raise IntrospectionError(Reason.INTROSPECTION_MALFORMED) from None
    if not isinstance(answer.get("active"), bool):
        raise IntrospectionError(Reason.INTROSPECTION_MALFORMED)
    return answer


def _read_token(
    answer: Mapping[str, object], rules: ClaimRules, now: float, horizon: float
) -> VerifiedToken:
    """Check what an active token's answer says.

    All of it is optional but a name for the principal, and an audience where ours are configured.
    Some servers write null, or an empty list of audiences, for a member that a token does not have.
    A token without `exp` is good until our knowledge of it ends, at the horizon.
    """
    answer = {
        name: value
        for name, value in answer.items()
        if value is not None and not (name == "aud" and value == [])
    }
    if answer.get("iss", rules.issuer) != rules.issuer:
        raise InvalidTokenError(Reason.ISS_UNKNOWN)
    claims.check_audience(answer, rules.audiences)
    confirmation = claims.read_confirmation(answer)
    _check_token_type(answer.get("token_type", "Bearer"), confirmation)
    expires_at = claims.read_time(answer, "exp")
    if expires_at is None:
        expires_at = horizon
    else:
        claims.check_lifetime(answer, expires_at, rules.max_lifetime, now)
    client_id = claims.read_client_id(answer, rules.client_ids)
    subject = claims.read_subject(answer, client_id)
    token = VerifiedToken(
        issuer=rules.issuer,
        subject=subject,
        client_id=client_id or subject,
        scopes=claims.read_scopes(answer),
        expires_at=expires_at,
        not_before=claims.read_not_before(answer, expires_at),
        jti=claims.read_jti(answer),
        key_id=None,
        confirmation=confirmation,
    )
    claims.check_times(token, now)
    return token


def _check_token_type(token_type: object, confirmation: Confirmation | None) -> None:
    """Check `token_type`; what a token is bound to is said by `cnf` (RFC 9449, 6.2)."""
    kind = token_type.lower() if isinstance(token_type, str) else None
    if kind == "bearer":
        return
    if kind != "dpop" or confirmation is None or confirmation.method != DPOP_KEY:
        raise InvalidTokenError(Reason.TOKEN_TYPE)


def _basic(credentials: Credentials) -> str:
    """Write HTTP Basic credentials, each part form-encoded first (RFC 6749, 2.3.1)."""
    pair = f"{_form_encode(credentials.client_id)}:{_form_encode(credentials.client_secret)}"
    return "Basic " + b64encode(pair.encode()).decode()


def _form_encode(text: str) -> str:
    from urllib.parse import quote_plus

    return quote_plus(text)


def fixed_credentials(client_id: str, client_secret: str) -> CredentialSource:
    """Return a source that always gives the same credentials."""
    credentials = Credentials(client_id, client_secret)
    return lambda _anew, _seconds: credentials


class SecretsManagerCredentials:
    """Credentials in a Secrets Manager secret: `{"client_id": ..., "client_secret": ...}`.

    Fetched when first needed and kept warm; fetched again when the endpoint refuses them, as it
    does after the secret was rotated.
    """

    def __init__(self, secret_arn: str) -> None:
        self._secret_arn = secret_arn
        self._kept: Credentials | None = None

    def __call__(self, anew: bool, seconds: float) -> Credentials:  # noqa: FBT001 - a CredentialSource
        """Return the credentials, within so many seconds.

        Raises:
            IntrospectionError: the secret cannot be read.
        """
        if self._kept is None or anew:
            self._kept = _parse(_fetch(self._secret_arn, seconds))
        return self._kept


def _fetch(secret_arn: str, seconds: float) -> str:
    try:
        client = aws.secrets_manager(seconds)
        return client.get_secret_value(SecretId=secret_arn).get("SecretString", "")
    except aws.errors() as error:
        raise IntrospectionError(Reason.INTROSPECTION_CREDENTIALS) from error


def _parse(secret: str) -> Credentials:
    try:
        members = strict_json.parse_object(secret.encode())
    except strict_json.JsonError:
        raise IntrospectionError(Reason.INTROSPECTION_CREDENTIALS) from None
    client_id, client_secret = members.get("client_id"), members.get("client_secret")
    if not isinstance(client_id, str) or not isinstance(client_secret, str):
        raise IntrospectionError(Reason.INTROSPECTION_CREDENTIALS)
    return Credentials(client_id, client_secret)
