"""Trust in a JWT: from a text to a `VerifiedToken`, or a refusal with its reason."""

from _blake2 import blake2b  # hashlib would load OpenSSL a second time: 2 ms of a cold start
from collections.abc import Mapping
from typing import NamedTuple, Protocol

from authorizer import claims, jws
from authorizer.cache import LRUCache
from authorizer.claims import ClaimRules, VerifiedToken
from authorizer.errors import AuthorizerError, InvalidTokenError, Reason
from authorizer.jwk import VerificationKey
from authorizer.jws import HeaderRules, UnverifiedJws

ACCESS_TOKEN_TYPE = "at+jwt"
_REMEMBERED_SUBJECTS = 1024


class KeyFinder(Protocol):
    """Finds an issuer's keys."""

    def find(
        self, kid: str, seconds: float, *, known_subject_iat: float | None = None
    ) -> VerificationKey:
        """Return the key of this id, or raise `InvalidTokenError` or `KeySetUnavailableError`."""
        ...


class TrustedIssuer(NamedTuple):
    """What makes one issuer's tokens good: its keys and its rules."""

    keys: KeyFinder
    rules: ClaimRules


class _Memory(NamedTuple):
    """A token verified before, with the key that did it."""

    token: VerifiedToken
    key: VerificationKey
    claims: Mapping[str, object]


def header_rules(algorithms: frozenset[str], *, require_at_jwt: bool) -> HeaderRules:
    """Return the rules for access tokens: `at+jwt` and, unless it is required, `JWT` or no type."""
    types = {ACCESS_TOKEN_TYPE} if require_at_jwt else {ACCESS_TOKEN_TYPE, "jwt", None}
    return HeaderRules(algorithms, frozenset(types))


def digest_of(token: str) -> bytes:
    """Return what a token is remembered by."""
    return blake2b(token.encode(), digest_size=32).digest()


class Verifier:
    """Verifies access tokens of the issuers it trusts, and remembers those that were good.

    A token is remembered by the digest of its exact bytes, for this verifier only. At every use its
    times are checked again, and that its key is still the one its issuer publishes under that id.
    """

    def __init__(
        self, issuers: Mapping[str, TrustedIssuer], header: HeaderRules, *, remembered_tokens: int
    ) -> None:
        self._issuers = issuers
        self._header = header
        self._memory: LRUCache[bytes, _Memory] = LRUCache(remembered_tokens)
        self._subjects: LRUCache[tuple[str, str], bool] = LRUCache(_REMEMBERED_SUBJECTS)

    def verify(self, token: str, now: float, seconds: float) -> VerifiedToken:
        """Return what the token says.

        Args:
            token: a compact JWS.
            now: the time, in seconds since the epoch.
            seconds: how long fetching a key may take.

        Raises:
            InvalidTokenError: the token is not to be trusted.
            KeySetUnavailableError: nobody can tell.
        """
        return self.verify_with_claims(token, now, seconds)[0]

    def verify_with_claims(
        self, token: str, now: float, seconds: float
    ) -> tuple[VerifiedToken, Mapping[str, object]]:
        """Return the same as `verify`, and all verified claims, for the issuer's introspection."""
        digest = digest_of(token)
        remembered = self._memory.get(digest)
        if remembered is not None and self._still_holds(remembered, seconds):
            claims.check_times(remembered.token, now)
            return remembered.token, remembered.claims
        memory = self._verify_anew(token, now, seconds)
        verified = memory.token
        self._memory.put(digest, memory)
        self._subjects.put((verified.issuer, verified.subject), value=True)
        return verified, memory.claims

    def _still_holds(self, remembered: _Memory, seconds: float) -> bool:
        issuer = remembered.token.issuer
        try:
            found = self._issuers[issuer].keys.find(remembered.key.kid, seconds)
        except AuthorizerError as error:
            error.issuer = issuer
            raise
        return found is remembered.key

    def _verify_anew(self, token: str, now: float, seconds: float) -> _Memory:
        unverified = jws.parse(token, self._header)
        unverified_claims = jws.parse_payload(unverified.payload)
        trust = self._trust(unverified_claims)
        try:
            return self._judge(unverified, unverified_claims, trust, now, seconds)
        except AuthorizerError as error:
            error.issuer = trust.rules.issuer
            raise

    def _judge(
        self,
        unverified: UnverifiedJws,
        unverified_claims: Mapping[str, object],
        trust: TrustedIssuer,
        now: float,
        seconds: float,
    ) -> _Memory:
        key = trust.keys.find(
            unverified.header.kid,
            seconds,
            known_subject_iat=self._known_subject_iat(unverified_claims, trust.rules.issuer),
        )
        if key.alg != unverified.header.alg:
            raise InvalidTokenError(Reason.ALG_NOT_OF_KEY)
        key.verify(unverified.signature, unverified.signing_input)
        verified = claims.read_access_token(
            unverified_claims,
            trust.rules,
            now,
            key_id=key.kid,
            rfc9068=unverified.header.typ == ACCESS_TOKEN_TYPE,
        )
        return _Memory(verified, key, unverified_claims)

    def _trust(self, unverified_claims: Mapping[str, object]) -> TrustedIssuer:
        """Choose the issuer by exact match; only then is it known whose keys to ask for."""
        issuer = unverified_claims.get("iss")
        if issuer is None and "iss" not in unverified_claims:
            raise InvalidTokenError(Reason.ISS_MISSING)
        if not isinstance(issuer, str):
            raise InvalidTokenError(Reason.ISS_NOT_STRING)
        trust = self._issuers.get(issuer)
        if trust is None:
            raise InvalidTokenError(Reason.ISS_UNKNOWN)
        return trust

    def _known_subject_iat(
        self, unverified_claims: Mapping[str, object], issuer: str
    ) -> float | None:
        """Return when the token says it was issued, if its subject was verified here before."""
        subject = claims.unverified_subject(unverified_claims)
        if not isinstance(subject, str) or not self._subjects.get((issuer, subject)):
            return None
        return claims.read_time(unverified_claims, "iat")
