"""Key binding: the key to which a new token is bound, and its proof. RFC 9449, 5; RFC 8705, 3."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from authorizer import base64url
from authorizer.claims import CERTIFICATE, DPOP_KEY, Confirmation
from authorizer.errors import InvalidTokenError

from ..shared.clients.client import Client
from ..shared.lambda_function import Clock
from ..shared.storage.errors import StorageCorruptError
from ..shared.storage.secrets_manager import SecretStore
from ..shared.storage.state_table import AlreadyUsedError, OneTimeUse
from ..shared.storage.storage_cache import StorageCache
from ..shared.web.oauth_errors import InvalidDpopProofError, InvalidRequestError, OAuthError, UseDpopNonceError
from ..shared.web.proxy_request import ProxyRequest

if TYPE_CHECKING:
    from authorizer.dpop import VerifiedProof

NONCE_HEADER = "DPoP-Nonce"
_KIND = "dpop"

MINUTES = 5
"""Minutes in which a nonce is valid, including the one in which it was offered."""

FRESH_SECONDS = 300
STALE_SECONDS = 600
"""During an outage of Secrets Manager, the secret is used at least as long as a key ring."""

_MINUTE = 60
_NONCE_BYTES = 18


class DpopNonces:
    """DPoP nonces, derived from a secret and the minute, without storage. RFC 9449, 8.

    All processes that read the secret accept the same nonces.
    """

    def __init__(self, store: SecretStore, secret: str, clock: Clock) -> None:
        self._secret = secret
        self._keys: StorageCache[str, bytes] = StorageCache(
            lambda name: _key(store.read(name)),
            clock=clock,
            fresh_for=FRESH_SECONDS,
            stale_for=STALE_SECONDS,
            max_entries=1,
        )

    def current(self, now: float) -> str:
        """Return the nonce to offer at `now`.

        Raises:
            StorageError: the secret cannot be read.
        """
        return _nonce(self._keys.get(self._secret), int(now // _MINUTE))

    def accepts(self, nonce: str, now: float) -> bool:
        """Return whether a nonce is recent, or the next one, because clocks differ.

        Before a nonce is rejected, the secret is reloaded.

        Raises:
            StorageError: the secret cannot be read.
        """
        return _is_recent(nonce, self._keys.get(self._secret), now) or _is_recent(
            nonce, self._keys.reload(self._secret, now), now
        )


@dataclass(frozen=True, slots=True)
class KeyBinding:
    """The key that a new token is bound to, its proof, and the headers of the response."""

    confirmation: Confirmation | None = None
    proof: VerifiedProof | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


_UNBOUND = KeyBinding()


@dataclass(frozen=True, slots=True)
class KeyBindingCheck:
    """Checks DPoP proofs and client certificates of requests to one endpoint.

    `url` is the endpoint's configured URL, because the caller controls the request's Host header.
    `mtls_url` is its URL with mutual TLS, empty without one.
    """

    url: str
    nonces: DpopNonces
    replays: OneTimeUse
    mtls_url: str = ""

    def check(self, request: ProxyRequest, client: Client, now: float) -> KeyBinding:
        """Return the key whose possession a request proves. `consume_proof` marks the proof as used.

        A client that sends a proof gets a bound token, required by its registration or not.

        Raises:
            InvalidDpopProofError: the proof is not valid for this request.
            UseDpopNonceError: it lacks a required nonce, or its nonce has expired.
            InvalidRequestError: the client must prove a key and does not, or proves two.
        """
        proofs = request.headers.get("dpop", ())
        if client.tls_client_certificate_bound_access_tokens:
            return _by_certificate(request, proofs)
        if not proofs:
            if client.dpop_bound_access_tokens:
                raise self._offering_nonce(InvalidRequestError("This client has to send a DPoP proof."), now)
            return _UNBOUND
        try:
            proof = self._verified(request, client, now)
        except OAuthError as error:
            raise self._offering_nonce(error, now) from None
        confirmation = Confirmation(DPOP_KEY, proof.jkt)
        return KeyBinding(confirmation, proof, {NONCE_HEADER: self.nonces.current(now)})

    def consume_proof(self, binding: KeyBinding, now: float) -> None:
        """Mark the proof as used. Call this last: a request with another error does not use its proof.

        Raises:
            InvalidDpopProofError: it was used before.
        """
        proof = binding.proof
        if proof is None:
            return
        try:
            self.replays.consume(_KIND, proof.jkt, proof.jti, proof.replayable_until, now)
        except AlreadyUsedError:
            error = InvalidDpopProofError(reason="the DPoP proof was used before")
            raise self._offering_nonce(error, now) from None

    def _verified(self, request: ProxyRequest, client: Client, now: float) -> VerifiedProof:
        from authorizer.dpop import verify_proof  # imported here because few clients send proofs

        proofs = request.headers["dpop"]
        if len(proofs) > 1:
            raise InvalidDpopProofError("There is more than one DPoP proof.")
        # API Gateway passes a certificate on only with mutual TLS.
        url = self.mtls_url if self.mtls_url and request.client_certificate else self.url
        try:
            proof = verify_proof(proofs[0], "POST", url, now)
        except InvalidTokenError as refused:
            raise InvalidDpopProofError(reason=refused.reason) from None
        if proof.nonce is None:
            if client.dpop_nonce_required:
                raise UseDpopNonceError
        elif not self.nonces.accepts(proof.nonce, now):
            raise UseDpopNonceError(reason="the proof's nonce is unknown or has expired")
        return proof

    def _offering_nonce(self, error: OAuthError, now: float) -> OAuthError:
        error.headers = {**error.headers, NONCE_HEADER: self.nonces.current(now)}
        return error


def _by_certificate(request: ProxyRequest, proofs: tuple[str, ...]) -> KeyBinding:
    if proofs:
        raise InvalidRequestError("This client's tokens are bound to its certificate, not by DPoP.")
    if request.client_certificate is None:
        raise InvalidRequestError("This client has to use a client certificate.")
    return KeyBinding(Confirmation(CERTIFICATE, request.client_certificate.thumbprint))


def _nonce(key: bytes, minute: int) -> str:
    digest = hmac.digest(key, f"dpop-nonce {minute}".encode(), "sha256")
    return base64url.encode(digest[:_NONCE_BYTES])


def _is_recent(nonce: str, key: bytes, now: float) -> bool:
    minute = int(now // _MINUTE)
    return any(hmac.compare_digest(nonce, _nonce(key, offered)) for offered in range(minute - MINUTES + 1, minute + 2))


def _key(secret: str | None) -> bytes:
    if not secret:
        raise StorageCorruptError(reason="the DPoP nonce secret has no value")
    return secret.encode()
