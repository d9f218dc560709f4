"""Verification that all client assertions have in common. RFC 7521, 4.2, and RFC 7523, 2.2 and 3.

A client signs its assertions (private_key_jwt) or gets them from another issuer (federated_jwt).
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from math import ceil, inf

from authorizer import base64url
from authorizer import claims as claim_reading
from authorizer.cache import LRUCache
from authorizer.claims import LEEWAY
from authorizer.errors import InvalidTokenError, Reason
from authorizer.jwk import KeySet, VerificationKey, parse_key
from authorizer.jws import ALGORITHMS, ED25519_NAMES, ML_DSA, UnverifiedHeader

from ..keys.signing_keys import to_public_jwk
from ..storage.state_table import OneTimeUse
from .credentials import PresentedAssertion

_CACHED_SUBJECTS = 1024
_RSA_BLOCKS = 8


def verify_signature(
    assertion: PresentedAssertion,
    find_key: Callable[[VerificationKey | None], VerificationKey | None],
    dummy: VerificationKey,
) -> Mapping[str, object]:
    """Return the claims that a key has signed. Without a key, the dummy takes the same time.

    `find_key` gets a key that has rejected the signature, in case it was replaced under its id.

    Raises:
        InvalidTokenError: there is no key, or it did not sign them.
    """
    key = find_key(None)
    try:
        return _claims_verified_by(key or dummy, assertion)
    except InvalidTokenError:
        current = find_key(key) if key else None
        if current is None or current is key:
            raise
    return _claims_verified_by(current, assertion)


def _claims_verified_by(verifier: VerificationKey, assertion: PresentedAssertion) -> Mapping[str, object]:
    verifier.verify(assertion.jws.header.alg, assertion.jws.signature, assertion.jws.signing_input)
    return assertion.unverified_claims


def inline_key(key_set: KeySet, header: UnverifiedHeader) -> VerificationKey | None:
    """Return the key with the header's `kid`. Without it, return the only key for its `alg`."""
    if header.kid:
        return key_set.keys.get(header.kid)
    matching = [key for key in key_set.keys.values() if header.alg in key.algorithms]
    return matching[0] if len(matching) == 1 else None


def check_sole_audience(claims: Mapping[str, object], accepted: Collection[str]) -> None:
    """Check that `aud` is accepted and the only one. RFC 7523, 3, item 3, updated by RFC 10070.

    An array with one member is equivalent to a string.

    Raises:
        InvalidTokenError: it has another audience, alone or in addition.
    """
    claim_reading.check_audience(claims, frozenset(accepted))
    audience = claims["aud"]
    if isinstance(audience, list) and len(audience) > 1:
        raise InvalidTokenError(Reason.AUD_OTHER)


def read_expiry(claims: Mapping[str, object], now: float, longest: float = inf) -> float:
    """Return `exp`, and check it with `nbf` and `iat`. RFC 7523, 3, items 4 to 6.

    Raises:
        InvalidTokenError: `exp` is missing, has passed, or is more than `longest` seconds ahead. `nbf`
            or `iat` is in the future.
    """
    expires_at = claim_reading.read_time(claims, "exp")
    if expires_at is None:
        raise InvalidTokenError(Reason.EXP_MISSING)
    if now >= expires_at:
        raise InvalidTokenError(Reason.EXPIRED)
    issued_at = claim_reading.read_time(claims, "iat")
    if claim_reading.read_not_before(claims, issued_at, expires_at) > now + LEEWAY:
        raise InvalidTokenError(Reason.NOT_YET_VALID)
    if expires_at > now + longest + LEEWAY:
        raise InvalidTokenError(Reason.LIFETIME_TOO_LONG)
    return expires_at


def accepted_until(claims: Mapping[str, object], max_age: int, now: float) -> float:
    """Return until when a token of another issuer is accepted, after `read_expiry` and `max_age`.

    Raises:
        InvalidTokenError: not any more, or not yet, or there is no `iat`.
    """
    expires_at = read_expiry(claims, now)
    issued_at = claim_reading.read_time(claims, "iat")
    if issued_at is None:
        raise InvalidTokenError(Reason.IAT_MISSING)
    too_old_at = issued_at + max_age + LEEWAY
    if now >= too_old_at:
        raise InvalidTokenError(Reason.LIFETIME_TOO_LONG)
    return min(expires_at, too_old_at)


class KnownSubjects:
    """Subjects whose assertions this process has verified: they may use a reserved fetch."""

    def __init__(self) -> None:
        self._subjects: LRUCache[tuple[str, ...], bool] = LRUCache(_CACHED_SUBJECTS)

    def add(self, *subject: str) -> None:
        """Add a subject whose assertion was verified."""
        self._subjects.put(subject, value=True)

    def issued_at(self, unverified_claims: Mapping[str, object], *subject: str) -> float | None:
        """Return the `iat` of an assertion, None if its subject is unknown.

        Without `iat` an assertion is treated as issued now.
        """
        if not self._subjects.get(subject):
            return None
        issued_at = claim_reading.read_time(unverified_claims, "iat")
        return inf if issued_at is None else issued_at


@dataclass(frozen=True, slots=True)
class ReplayCheck:
    """Rejects assertions of one kind that were used before."""

    kind: str
    used: OneTimeUse

    def consume(self, owner: str, claims: Mapping[str, object], expires_at: float, now: float) -> None:
        """Use the required `jti` of `owner` for the first time. RFC 7523, 3, item 7.

        Call this last: after another error the assertion stays unused.

        Raises:
            InvalidTokenError: there is no `jti`.
            AlreadyUsedError: it was used before.
        """
        token_id = claim_reading.read_jti(claims)
        if token_id is None:
            raise InvalidTokenError(Reason.JTI_MISSING)
        # Stored longer than it is valid, because clocks of processes differ.
        self.used.consume(self.kind, owner, token_id, ceil(expires_at) + LEEWAY, now)


@cache
def dummy_key(alg: str) -> VerificationKey:
    """Return a key that verifies nothing, so that rejecting unknown clients takes as long."""
    return parse_key({**_dummy_jwk(alg), "kid": "dummy", "alg": alg}, ALGORITHMS)


def _dummy_jwk(alg: str) -> Mapping[str, object]:
    # Imported here because few processes need a dummy key.
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519

    curves = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
    if alg in curves:
        return to_public_jwk(ec.generate_private_key(curves[alg]).public_key())
    if alg in ED25519_NAMES:
        return to_public_jwk(ed25519.Ed25519PrivateKey.generate().public_key())
    if alg in ML_DSA:
        from cryptography.hazmat.primitives.asymmetric import mldsa

        return to_public_jwk(getattr(mldsa, f"MLDSA{alg[-2:]}PrivateKey").generate().public_key())
    # Generating an RSA key takes too long. Any odd modulus takes the same time to verify with.
    modulus = bytearray(b"".join(sha256(bytes([part])).digest() for part in range(_RSA_BLOCKS)))
    modulus[0] |= 0x80
    modulus[-1] |= 0x01
    return {"kty": "RSA", "n": base64url.encode(bytes(modulus)), "e": "AQAB"}
