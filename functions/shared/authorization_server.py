"""The parts that the token, introspection and revocation endpoints share, with their settings."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from authorizer import https_client
from authorizer.aws import Aws
from authorizer.clock import Clocks

from .authentication.client_authentication import ClientAuthentication, LazyMethod
from .authentication.client_secret import SecretUseRecorder, secret_methods
from .authentication.credentials import CERTIFICATE, CLIENT_ASSERTION, JWT_SVID, AuthenticationMethod
from .authentication.rate_limit import FailureLimiter
from .clients.client_registry import CachedClients, DynamoDbClients
from .clients.supported import (
    FEDERATED_JWT,
    PRIVATE_KEY_JWT,
    SELF_SIGNED_TLS_CLIENT_AUTH,
    SPIFFE_JWT,
    SPIFFE_X509,
    TLS_CLIENT_AUTH,
)
from .keys.key_ring import CachedKeyRing
from .lambda_function import Clock, EnvironmentSettings, WarmInstance
from .storage.secrets_manager import SecretStore
from .storage.state_table import Counters, JwtDenyList, OneTimeUse, SecretUses

if TYPE_CHECKING:
    from .authentication.federated_jwt import FederatedClients
    from .authentication.remote_jwks import RemoteJwks
    from .authentication.trust_bundles import TrustBundles
    from .clients.trust_store import CachedTrust
    from .tokens.token_lookup import TokenStore


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings(EnvironmentSettings):
    """The issuer, four tables by name, and the key ring by name or ARN.

    `remote_keys` is "loopback" where JWK Sets of clients and issuers may be on this machine.
    """

    issuer: str
    clients_table: str
    trust_table: str
    tokens_table: str
    state_table: str
    key_ring_secret: str
    remote_keys: str = ""


class AuthorizationServer:
    """Composes the parts of one function from its settings."""

    def __init__(self, settings: ServerSettings, aws: Aws, clock: Clock) -> None:
        self._settings = settings
        self._aws = aws
        self._clock = clock
        self.clients = CachedClients(DynamoDbClients(aws, settings.clients_table), clock)
        self.secrets = SecretStore(aws)
        self.key_ring = CachedKeyRing(self.secrets, settings.key_ring_secret, clock)
        self.limiter = FailureLimiter(Counters(aws, settings.state_table))
        # Few clients need these, so each is loaded by the first that does.
        self.remote_jwks = WarmInstance(self._remote_jwks)
        self.trust_bundles = WarmInstance(self._trust_bundles)
        self.trust = WarmInstance(self._trust)

    def authentication(self) -> ClientAuthentication:
        """Return the authentication of clients with all methods.

        All endpoints share counters and used assertions: a guess or an assertion at one endpoint counts at the others.
        """
        issuer, state_table = self._settings.issuer, self._settings.state_table

        @WarmInstance
        def assertion_methods() -> Sequence[AuthenticationMethod[Any]]:
            from .authentication.client_assertion import ReplayCheck
            from .authentication.federated_jwt import FederatedJwt
            from .authentication.private_key_jwt import PrivateKeyJwt

            used = OneTimeUse(self._aws, state_table)
            return (
                PrivateKeyJwt(issuer, self.remote_jwks(), ReplayCheck("client-assertion", used)),
                FederatedJwt(issuer, self.remote_jwks(), ReplayCheck("federated-token", used)),
            )

        @WarmInstance
        def federated_clients() -> FederatedClients:
            from .authentication.federated_jwt import FederatedClients

            return FederatedClients(issuer, self.trust())

        @WarmInstance
        def spiffe_jwt() -> Sequence[AuthenticationMethod[Any]]:
            from .authentication.client_assertion import ReplayCheck
            from .authentication.spiffe_jwt import SpiffeJwt

            replays = ReplayCheck("jwt-svid", OneTimeUse(self._aws, state_table))
            return (SpiffeJwt(issuer, self.trust_bundles(), self.remote_jwks(), replays),)

        @WarmInstance
        def certificate_methods() -> Sequence[AuthenticationMethod[Any]]:
            from .authentication.mutual_tls import SelfSignedTlsClientAuth, SpiffeX509, TlsClientAuth

            return TlsClientAuth(), SelfSignedTlsClientAuth(), SpiffeX509(self.trust_bundles)

        return ClientAuthentication(
            self.clients,
            (
                *secret_methods(SecretUseRecorder(SecretUses(self._aws, state_table))),
                LazyMethod(PRIVATE_KEY_JWT, CLIENT_ASSERTION, assertion_methods),
                LazyMethod(FEDERATED_JWT, CLIENT_ASSERTION, assertion_methods),
                LazyMethod(SPIFFE_JWT, JWT_SVID, spiffe_jwt),
                LazyMethod(TLS_CLIENT_AUTH, CERTIFICATE, certificate_methods),
                LazyMethod(SELF_SIGNED_TLS_CLIENT_AUTH, CERTIFICATE, certificate_methods),
                LazyMethod(SPIFFE_X509, CERTIFICATE, certificate_methods),
            ),
            self._clock,
            self.limiter,
            federated_clients,
        )

    def _trust(self) -> CachedTrust:
        from .clients.trust_store import CachedTrust, DynamoDbTrust

        return CachedTrust(DynamoDbTrust(self._aws, self._settings.trust_table), self._clock)

    def _remote_jwks(self) -> RemoteJwks:
        from .authentication.remote_jwks import RemoteJwks

        send, http = self._fetching()
        return RemoteJwks(send, Clocks(self._clock, time.monotonic), http=http)

    def _trust_bundles(self) -> TrustBundles:
        from .authentication.trust_bundles import TrustBundles

        send, http = self._fetching()
        return TrustBundles(send, Clocks(self._clock, time.monotonic), http=http)

    def _fetching(self) -> tuple[https_client.Send, bool]:
        """Return how keys are fetched, and whether http URLs are allowed."""
        from .authentication import ssrf_guard

        on_loopback = self._settings.remote_keys == ssrf_guard.ON_LOOPBACK
        check_address = ssrf_guard.require_public_or_loopback if on_loopback else ssrf_guard.require_public
        return partial(https_client.send, check_address=check_address), on_loopback

    def token_stores(self) -> tuple[TokenStore, TokenStore]:
        """Return the stores of opaque tokens and of JWTs."""
        # Imported late, because few token requests need them.
        from .tokens.opaque_tokens import OpaqueTokenStore
        from .tokens.token_lookup import IssuedJwts

        denied = JwtDenyList(self._aws, self._settings.state_table)
        return (
            OpaqueTokenStore(self._aws, self._settings.tokens_table),
            IssuedJwts(self._settings.issuer, self.key_ring, denied, self._clock),
        )
