"""Proof of possession: the caller holds the key that its token is bound to.

By a DPoP proof (RFC 9449, 7) or by the certificate of mutual TLS (RFC 8705, 3). Imported only if
the settings accept bound tokens.
"""

from hashlib import sha256

from . import base64url, dpop
from .claims import CERTIFICATE, DPOP_KEY, VerifiedToken
from .clock import Deadline
from .dpop import VerifiedProof
from .errors import InvalidProofError, InvalidTokenError, Reason
from .event import AuthorizerEvent, PresentedToken
from .state_table import ReplayStore


class ProofOfPossession:
    """Checks the proof of a request.

    `methods` are the accepted confirmation methods. `resource` is the URL of this API for its
    callers; None if it is the event's domain name.
    """

    def __init__(self, methods: frozenset[str], resource: str | None, replays: ReplayStore) -> None:
        self._methods = methods
        self._resource = resource
        self._replays = replays

    @property
    def accepts_dpop(self) -> bool:
        """True if the DPoP scheme is accepted."""
        return DPOP_KEY in self._methods

    def check(
        self, event: AuthorizerEvent, presented: PresentedToken, token: VerifiedToken, now: float
    ) -> VerifiedProof | None:
        """Check that the request proves the key of its token; return a proof to be consumed.

        Raises:
            InvalidTokenError: it does not, or the token's scheme is wrong.
            UnsupportedEventError: the event lacks what a proof is compared with.
        """
        bound = token.confirmation
        if bound is None or (presented.has_dpop_scheme and bound.method != DPOP_KEY):
            raise InvalidTokenError(Reason.TOKEN_NOT_BOUND)
        if bound.method not in self._methods:
            raise InvalidTokenError(Reason.PROOF_REQUIRED)
        if bound.method == CERTIFICATE:
            _check_certificate(event.client_certificate(), bound.thumbprint)
            return None
        if not presented.has_dpop_scheme:
            raise InvalidTokenError(Reason.PROOF_REQUIRED)  # RFC 9449, 7.1
        try:
            return self._check_proof(event, presented.token, bound.thumbprint, now)
        except InvalidTokenError as error:
            raise InvalidProofError(error.reason) from None

    def consume(self, proof: VerifiedProof, now: float, deadline: Deadline) -> None:
        """Consume a proof. This is the last check: no other rejection consumes a proof.

        Raises:
            InvalidTokenError: the proof was used before.
            StateUnavailableError: the replay store is unavailable.
        """
        try:
            self._replays.consume(proof.jkt, proof.jti, proof.replayable_until, now, deadline)
        except InvalidTokenError as error:
            raise InvalidProofError(error.reason) from None

    def _check_proof(self, event: AuthorizerEvent, token: str, thumbprint: str, now: float) -> VerifiedProof:
        proof = dpop.verify_proof(
            event.dpop_proof(),
            event.method(),
            event.url(self._resource),
            now,
            path_was_decoded=event.path_was_decoded(),
        )
        if proof.ath is None:
            raise InvalidTokenError(Reason.ATH_MISSING)
        if proof.ath != dpop.token_hash(token):
            raise InvalidTokenError(Reason.ATH_OTHER)
        if proof.jkt != thumbprint:
            raise InvalidTokenError(Reason.JKT_OTHER)
        return proof


def _check_certificate(pem: str | None, thumbprint: str) -> None:
    """Compare the certificate with the token's. API Gateway has checked that its key is held."""
    if pem is None:
        raise InvalidTokenError(Reason.CERTIFICATE_MISSING)
    try:
        der = base64url.read_pem(pem)
    except ValueError:
        raise InvalidTokenError(Reason.CERTIFICATE_MALFORMED) from None
    if base64url.encode(sha256(der).digest()) != thumbprint:
        raise InvalidTokenError(Reason.CERTIFICATE_OTHER)
