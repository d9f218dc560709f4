"""The parts that the token, introspection and revocation endpoints share, with their settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from authorizer.aws import Aws

from .authentication.client_authentication import ClientAuthentication, build_client_authentication
from .clients.client_registry import CachedClients, DynamoDbClients
from .keys.key_ring import CachedKeyRing
from .lambda_function import Clock, EnvironmentSettings
from .storage.secrets_manager import SecretStore
from .storage.state_table import JwtDenyList

if TYPE_CHECKING:
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

    def authentication(self) -> ClientAuthentication:
        """Return the authentication of clients with all methods."""
        return build_client_authentication(
            issuer=self._settings.issuer,
            state_table=self._settings.state_table,
            remote_keys=self._settings.remote_keys,
            registry=self.clients,
            aws=self._aws,
            clock=self._clock,
        )

    def token_stores(self) -> tuple[TokenStore, TokenStore]:
        """Return the stores of opaque tokens and of JWTs."""
        # Imported late, because few token requests need them.
        from .tokens.opaque_tokens import OpaqueTokenStore
        from .tokens.token_lookup import IssuedJwts, OpaqueTokens

        denied = JwtDenyList(self._aws, self._settings.state_table)
        return (
            OpaqueTokens(OpaqueTokenStore(self._aws, self._settings.tokens_table)),
            IssuedJwts(self._settings.issuer, self.key_ring, denied, self._clock),
        )
