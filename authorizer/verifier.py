"""Verification of a JWT: returns a `VerifiedToken`, or raises with the reason."""

from _blake2 import blake2b  # hashlib would load OpenSSL a second time: 2 ms of a cold start
from collections.abc import Mapping
from typing import NamedTuple, Protocol

from . import claims, jws
from .cache import LRUCache
from .claims import ClaimRules, VerifiedToken
from .clock import Deadline
from .errors import AuthorizerError, InvalidTokenError, Reason
from .jwk import VerificationKey
from .jws import HeaderRules

ACCESS_TOKEN_TYPE = "at+jwt"
_MAX_SUBJECTS = 1024


class KeyFinder(Protocol):
    """Finds an issuer's keys."""

    def find(self, kid: str, deadline: Deadline, *, known_subject_iat: float | None = None) -> VerificationKey:
        """Return the key of this ID, or raise `InvalidTokenError` or `KeySetUnavailableError`."""
        ...


class TrustedIssuer(NamedTuple):
    """The keys and the claim rules of one issuer."""

    keys: KeyFinder
    rules: ClaimRules


class _CachedToken(NamedTuple):
    """A verified token and the key of its signature."""

    token: VerifiedToken
    key: VerificationKey


def header_rules(algorithms: frozenset[str], *, require_at_jwt: bool) -> HeaderRules:
    """Return the rules for access tokens: `at+jwt` and, unless it is required, `JWT` or no type."""
    types = {ACCESS_TOKEN_TYPE} if require_at_jwt else {ACCESS_TOKEN_TYPE, "jwt", None}
    return HeaderRules(algorithms, frozenset(types))


def digest_of(token: str) -> bytes:
    """Return the cache key of a token."""
    return blake2b(token.encode(), digest_size=32).digest()


class Verifier:
    """Verifies access tokens of trusted issuers, and caches those that are valid.

    A token is cached under the digest of its exact bytes. At every use, its times are checked
    again. Its issuer must still publish the same key under the same ID.
    """

    def __init__(self, issuers: Mapping[str, TrustedIssuer], header: HeaderRules, *, remembered_tokens: int) -> None:
        self._issuers = issuers
        self._header = header
        self._cache: LRUCache[bytes, _CachedToken] = LRUCache(remembered_tokens)
        self._subjects: LRUCache[tuple[str, str], bool] = LRUCache(_MAX_SUBJECTS)

    def verify(self, token: str, now: float, deadline: Deadline) -> VerifiedToken:
        """Return the claims of a valid compact JWS. A key set fetch ends at the deadline.

        Raises:
            InvalidTokenError: the token is not valid.
            KeySetUnavailableError: the issuer's keys are unavailable.
        """
        digest = digest_of(token)
        cached = self._cache.get(digest)
        if cached is not None and self._is_current(cached, deadline):
            claims.check_times(cached.token, now)
            return cached.token
        return self._verify(token, digest, now, deadline)

    def _verify(self, token: str, digest: bytes, now: float, deadline: Deadline) -> VerifiedToken:
        unverified = jws.parse(token, self._header)
        unverified_claims = jws.parse_payload(unverified.payload)
        trust = self._trusted_issuer(unverified_claims)
        issuer = trust.rules.issuer
        try:
            known_subject_iat = self._known_subject_iat(unverified_claims, issuer)
            key = trust.keys.find(unverified.header.kid, deadline, known_subject_iat=known_subject_iat)
            key.verify(unverified.header.alg, unverified.signature, unverified.signing_input)
            verified = claims.read_access_token(
                unverified_claims, trust.rules, now, key_id=key.kid, rfc9068=unverified.header.typ == ACCESS_TOKEN_TYPE
            )
        except AuthorizerError as error:
            error.issuer = issuer
            raise
        self._cache.put(digest, _CachedToken(verified, key))
        if known_subject_iat is None:
            self._subjects.put((issuer, verified.subject), value=True)
        return verified

    def _is_current(self, cached: _CachedToken, deadline: Deadline) -> bool:
        issuer = cached.token.issuer
        try:
            found = self._issuers[issuer].keys.find(cached.key.kid, deadline)
        except AuthorizerError as error:
            error.issuer = issuer
            raise
        return found is cached.key

    def _trusted_issuer(self, unverified_claims: Mapping[str, object]) -> TrustedIssuer:
        """Return the trusted issuer that equals `iss` byte for byte, before any key is fetched."""
        issuer = unverified_claims.get("iss")
        if issuer is None and "iss" not in unverified_claims:
            raise InvalidTokenError(Reason.ISS_MISSING)
        if not isinstance(issuer, str):
            raise InvalidTokenError(Reason.ISS_NOT_STRING)
        trust = self._issuers.get(issuer)
        if trust is None:
            raise InvalidTokenError(Reason.ISS_UNKNOWN)
        return trust

    def _known_subject_iat(self, unverified_claims: Mapping[str, object], issuer: str) -> float | None:
        """Return the token's `iat`, if its subject was verified here before."""
        subject = claims.unverified_subject(unverified_claims)
        if not isinstance(subject, str) or not self._subjects.get((issuer, subject)):
            return None
        return claims.read_time(unverified_claims, "iat")
