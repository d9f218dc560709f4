"""Token introspection at the authorization server (RFC 7662)."""

import os
from base64 import b64encode
from collections.abc import Callable, Mapping
from functools import partial
from hashlib import blake2b
from typing import NamedTuple

from . import claims, strict_json
from .aws import Aws, AwsError
from .cache import BackOff, CacheEntry, Jitter, Lifetime, Loaded, LRUCache, RefreshingCache, jitter
from .claims import ClaimRules, VerifiedToken
from .clock import Clocks, Deadline
from .errors import IntrospectionError, InvalidTokenError, Reason
from .https_client import HttpExchangeError, Request, Response, Send

MAX_TOKEN_LENGTH = 1024
REJECTION_SECONDS = 5.0
_CAPACITY = 1024
_TOLERATED_FAILURES = 2
_CREDENTIALS_REJECTED_STATUSES = (401, 403)


class Credentials(NamedTuple):
    """Client credentials for the introspection endpoint."""

    client_id: str
    client_secret: str


IntrospectionCredentials = Callable[[bool, Deadline], Credentials]
"""Returns the credentials before the deadline. The first argument, `renew`, bypasses the cache."""

_Verdict = VerifiedToken | Reason


class _VerdictStore:
    """Stores active and rejected tokens apart, so rejected tokens cannot evict active ones."""

    def __init__(self) -> None:
        self._active: LRUCache[bytes, CacheEntry[_Verdict]] = LRUCache(_CAPACITY)
        self._rejected: LRUCache[bytes, CacheEntry[_Verdict]] = LRUCache(_CAPACITY)

    def get(self, key: bytes) -> CacheEntry[_Verdict] | None:
        return self._active.get(key) or self._rejected.get(key)

    def put(self, key: bytes, entry: CacheEntry[_Verdict]) -> None:
        is_active = isinstance(entry.value, VerifiedToken)
        (self._rejected if is_active else self._active).remove(key)
        (self._active if is_active else self._rejected).put(key, entry)

    def remove(self, key: bytes) -> None:
        self._active.remove(key)
        self._rejected.remove(key)


class Introspector:
    """Introspects tokens, and caches the verdicts for a short time.

    A verdict is stored under a digest that is keyed with a secret of this process. An active token is cached for
    `cache_seconds` at most, during which a revocation has no effect; a rejected one for five seconds.
    """

    def __init__(
        self,
        uri: str,
        send: Send,
        credentials: IntrospectionCredentials,
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
        self._cache_seconds = cache_seconds
        self._digest_key = b""
        self._cache: RefreshingCache[bytes, _Verdict] = RefreshingCache(
            _VerdictStore(),
            clocks,
            unavailable=IntrospectionError,
            make_error=_make_error,
            back_off=BackOff(clocks, tolerance=_TOLERATED_FAILURES, jitter=jitter),
            is_answer=_endpoint_is_healthy,
        )

    def introspect(self, token: str, now: float, deadline: Deadline) -> VerifiedToken:
        """Return the claims of an active token, which has the characters of RFC 6750, 2.1 only.

        Raises:
            InvalidTokenError: the token is not active, or its response breaks the rules.
            IntrospectionError: there is no usable response.
        """
        if len(token) > MAX_TOKEN_LENGTH:
            raise InvalidTokenError(Reason.TOKEN_TOO_LONG)
        # Created on first use: processes restored from one SnapStart snapshot must not share it.
        if not self._digest_key:
            self._digest_key = os.urandom(32)
        digest = blake2b(token.encode(), digest_size=32, key=self._digest_key).digest()
        verdict = self._cache.get(digest, partial(self._load, token, now), deadline).value
        if isinstance(verdict, Reason):
            raise InvalidTokenError(verdict)
        claims.check_times(verdict, now)
        return verdict

    def _load(self, token: str, now: float, deadline: Deadline) -> Loaded[_Verdict]:
        response = self._exchange(token, deadline)
        if response["active"] is False:
            return _rejected(Reason.TOKEN_INACTIVE)
        try:
            verified = _read_token(response, self._rules, now, now + self._cache_seconds)
        except InvalidTokenError as error:
            return _rejected(error.reason)
        return Loaded(verified, Lifetime(self._cache_seconds, self._cache_seconds))

    def _exchange(self, token: str, deadline: Deadline) -> Mapping[str, object]:
        credentials = self._credentials(False, deadline)
        response = self._post(token, deadline, credentials)
        if response.status in _CREDENTIALS_REJECTED_STATUSES:
            # The secret may have been rotated.
            renewed = self._credentials(True, deadline)
            if renewed != credentials:
                response = self._post(token, deadline, renewed)
        _check_status(response.status)
        return _read_response(response.body)

    def _post(self, token: str, deadline: Deadline, credentials: Credentials) -> Response:
        headers = {
            "Accept": "application/json",
            "Authorization": basic_authorization(credentials),
            "Content-Type": "application/x-www-form-urlencoded",
        }
        body = f"token={_form_encode(token)}&token_type_hint=access_token".encode()
        try:
            return self._send(Request("POST", self._uri, headers, body, deadline))
        except HttpExchangeError as error:
            raise IntrospectionError(Reason.INTROSPECTION_UNREACHABLE) from error


def _rejected(reason: Reason) -> Loaded[_Verdict]:
    return Loaded(reason, Lifetime(REJECTION_SECONDS, REJECTION_SECONDS))


def _make_error(paused: bool) -> IntrospectionError:
    return IntrospectionError(Reason.INTROSPECTION_PAUSED if paused else Reason.INTROSPECTION_UNREACHABLE)


def _endpoint_is_healthy(error: Exception) -> bool:
    """Return whether the endpoint works and rejected this one request: there is no back-off."""
    return isinstance(error, IntrospectionError) and error.reason is Reason.INTROSPECTION_STATUS


def _check_status(status: int) -> None:
    if status in _CREDENTIALS_REJECTED_STATUSES:
        raise IntrospectionError(Reason.INTROSPECTION_CREDENTIALS)
    if status == 429 or status >= 500:
        raise IntrospectionError(Reason.INTROSPECTION_UNREACHABLE)
    if status != 200:
        raise IntrospectionError(Reason.INTROSPECTION_STATUS)


def _read_response(body: bytes) -> Mapping[str, object]:
    """Read an introspection response; `active` must be a boolean (RFC 7662, 2.2)."""
    try:
        response = strict_json.parse_object(body)
    except strict_json.JsonError:
        raise IntrospectionError(Reason.INTROSPECTION_MALFORMED) from None
    if not isinstance(response.get("active"), bool):
        raise IntrospectionError(Reason.INTROSPECTION_MALFORMED)
    return response


def _read_token(response: Mapping[str, object], rules: ClaimRules, now: float, cached_until: float) -> VerifiedToken:
    """Check the response for an active token.

    Only `sub` or a client ID is required, and an audience if audiences are configured. Some servers write null, or an
    empty list of audiences, for an absent member. A token without `exp` is valid until `cached_until`.
    """
    response = {
        name: value for name, value in response.items() if value is not None and not (name == "aud" and value == [])
    }
    if response.get("iss", rules.issuer) != rules.issuer:
        raise InvalidTokenError(Reason.ISS_UNKNOWN)
    token = claims.read_token(response, rules, now, key_id=None, default_expiry=cached_until)
    # Some servers write Bearer for every token. DPoP needs a key in `cnf` (RFC 9449, 6.2).
    kind = str(response.get("token_type", "Bearer")).lower()
    if kind not in ("bearer", claims.token_type(token.confirmation).lower()):
        raise InvalidTokenError(Reason.TOKEN_TYPE)
    return token


def basic_authorization(credentials: Credentials) -> str:
    """Return an Authorization header with HTTP Basic credentials, each part form-encoded first (RFC 6749, 2.3.1)."""
    pair = f"{_form_encode(credentials.client_id)}:{_form_encode(credentials.client_secret)}"
    return "Basic " + b64encode(pair.encode()).decode()


def _form_encode(text: str) -> str:
    from urllib.parse import quote_plus

    return quote_plus(text)


def fixed_credentials(client_id: str, client_secret: str) -> IntrospectionCredentials:
    """Return a source of constant credentials."""
    credentials = Credentials(client_id, client_secret)
    return lambda _renew, _deadline: credentials


class SecretsManagerCredentials:
    """Credentials in a Secrets Manager secret: `{"client_id": ..., "client_secret": ...}`.

    Loaded when first needed, and again when the endpoint rejects them, as after a rotation.
    """

    def __init__(self, secret_arn: str, aws: Aws) -> None:
        self._secret_arn = secret_arn
        self._aws = aws
        self._cached: Credentials | None = None

    def __call__(self, renew: bool, deadline: Deadline) -> Credentials:
        """Return the credentials.

        Raises:
            IntrospectionError: the secret cannot be read.
        """
        if self._cached is None or renew:
            self._cached = self._load(deadline)
        return self._cached

    def _load(self, deadline: Deadline) -> Credentials:
        try:
            response = self._aws.call("secretsmanager", "GetSecretValue", deadline, SecretId=self._secret_arn)
            members = strict_json.parse_object(response.get("SecretString", "").encode())
        except (AwsError, strict_json.JsonError) as error:
            raise IntrospectionError(Reason.INTROSPECTION_CREDENTIALS) from error
        client_id, client_secret = members.get("client_id"), members.get("client_secret")
        if not isinstance(client_id, str) or not isinstance(client_secret, str):
            raise IntrospectionError(Reason.INTROSPECTION_CREDENTIALS)
        return Credentials(client_id, client_secret)
