"""Proof of possession at the resource: that the caller holds the key its token is bound to.

By a DPoP proof (RFC 9449, 7) or by the certificate of mutual TLS (RFC 8705, 3). Only
imported where the settings accept bound tokens.
"""

import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Mapping
from hashlib import sha256
from math import floor

from authorizer import base64url, dpop, request
from authorizer.bearer import PresentedToken
from authorizer.claims import CERTIFICATE, DPOP_KEY, VerifiedToken
from authorizer.dpop import VerifiedProof
from authorizer.errors import InvalidTokenError, Reason
from authorizer.state_table import ReplayStore

_HEADER = "dpop"
_PEM = re.compile(
    r"\s*-----BEGIN CERTIFICATE-----\s([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----\s*"
)


class ProofOfPossession:
    """Checks what a request proves.

    `methods` are the confirmation methods accepted. `resource` is this API's address as its callers
    write it; None if it is the one by which API Gateway knows it.
    """

    def __init__(self, methods: frozenset[str], resource: str | None, used: ReplayStore) -> None:
        self._methods = methods
        self._resource = resource
        self._used = used

    @property
    def takes_proofs(self) -> bool:
        """Tell whether the DPoP scheme is spoken here."""
        return DPOP_KEY in self._methods

    def check(
        self,
        event: Mapping[str, object],
        presented: PresentedToken,
        token: VerifiedToken,
        now: float,
    ) -> VerifiedProof | None:
        """Return if the request proves the key of its token; with the proof that is to be used up.

        Raises:
            InvalidTokenError: it does not, or the token is not presented in the way of its kind.
            UnsupportedEventError: the event does not tell what a proof would have to be for.
        """
        bound = token.confirmation
        if bound is None or (presented.with_proof and bound.method != DPOP_KEY):
            raise InvalidTokenError(Reason.TOKEN_NOT_BOUND)
        if bound.method not in self._methods:
            raise InvalidTokenError(Reason.PROOF_REQUIRED)
        if bound.method == CERTIFICATE:
            _check_certificate(event, bound.thumbprint)
            return None
        if not presented.with_proof:
            raise InvalidTokenError(Reason.PROOF_REQUIRED)  # RFC 9449, 7.1
        return self._check_proof(event, presented.token, bound.thumbprint, now)

    def use(self, proof: VerifiedProof, now: float, seconds: float) -> None:
        """Use a proof up. The last thing to do, so that no other refusal costs a caller its proof.

        Raises:
            InvalidTokenError: it was used before.
            StateUnavailableError: nobody can tell.
        """
        until = floor(proof.issued_at) + dpop.MAX_PROOF_AGE + 1
        self._used.use(proof.jkt, proof.jti, until, now, seconds)

    def _check_proof(
        self, event: Mapping[str, object], token: str, thumbprint: str, now: float
    ) -> VerifiedProof:
        proof = dpop.verify_proof(
            _one_proof(event),
            request.method(event),
            request.url(event, self._resource),
            now,
            path_was_decoded=request.path_was_decoded(event),
        )
        if proof.ath is None:
            raise InvalidTokenError(Reason.ATH_MISSING)
        if proof.ath != _digest(token.encode()):
            raise InvalidTokenError(Reason.ATH_OTHER)
        if proof.jkt != thumbprint:
            raise InvalidTokenError(Reason.JKT_OTHER)
        return proof


def _one_proof(event: Mapping[str, object]) -> str:
    values = request.header_values(event, _HEADER)
    if not values:
        raise InvalidTokenError(Reason.PROOF_MISSING)
    if len(values) > 1 or not isinstance(values[0], str) or "," in values[0]:
        raise InvalidTokenError(Reason.PROOF_SEVERAL)
    return values[0]


def _check_certificate(event: Mapping[str, object], thumbprint: str) -> None:
    """Compare the caller's certificate with the token's; API Gateway has seen to its key."""
    pem = request.client_certificate(event)
    if pem is None:
        raise InvalidTokenError(Reason.CERTIFICATE_MISSING)
    if _digest(_read_pem(pem)) != thumbprint:
        raise InvalidTokenError(Reason.CERTIFICATE_OTHER)


def _read_pem(pem: str) -> bytes:
    """Read one certificate: of two, nobody can tell which one the caller holds the key of."""
    match = _PEM.fullmatch(pem)
    if match is None:
        raise InvalidTokenError(Reason.CERTIFICATE_MALFORMED)
    try:
        return b64decode("".join(match[1].split()), validate=True)
    except Base64Error:
        raise InvalidTokenError(Reason.CERTIFICATE_MALFORMED) from None


def _digest(raw: bytes) -> str:
    return base64url.encode(sha256(raw).digest())
