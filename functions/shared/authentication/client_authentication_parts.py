"""The real parts of client authentication: every endpoint that asks for clients composes the same.

One set of counters and of used assertions for all of them: a guess or an assertion at one endpoint
counts at the others.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Protocol

from authorizer import https_client
from authorizer.clocks import Clocks
from functions.shared.authentication.client_assertion import OneTime
from functions.shared.authentication.client_authentication import ClientAuthentication
from functions.shared.authentication.client_secret_methods import secret_methods
from functions.shared.authentication.failure_throttle import FailureThrottle
from functions.shared.authentication.federated_jwt import FederatedJwt
from functions.shared.authentication.mutual_tls import SelfSignedTlsClientAuth, TlsClientAuth
from functions.shared.authentication.private_key_jwt import PrivateKeyJwt
from functions.shared.authentication.public_addresses import (
    ON_LOOPBACK,
    require_public,
    require_public_or_loopback,
)
from functions.shared.authentication.remote_keys import CachedRemoteKeys
from functions.shared.authentication.secret_use import WarmSecretUses
from functions.shared.storage.state_table import (
    DynamoDbCounters,
    DynamoDbOneTimeUse,
    DynamoDbSecretUses,
)

if TYPE_CHECKING:
    from functions.shared.clients.client_registry import ClientRegistry
    from functions.shared.runtime.aws_clients import AwsClients
    from functions.shared.runtime.clock import Clock


class AuthenticationSettings(Protocol):
    """What client authentication needs of an artifact's settings."""

    @property
    def issuer(self) -> str:
        """This server's identifier: the only audience of an assertion."""

    @property
    def state_table(self) -> str:
        """The table of used assertions, counted failures and uses of secrets."""

    @property
    def remote_keys(self) -> str:
        """Where keys may be fetched: on the public internet, or on the loopback address too."""


def build_client_authentication(
    settings: AuthenticationSettings, *, registry: ClientRegistry, aws: AwsClients, clock: Clock
) -> ClientAuthentication:
    """Compose client authentication with every method that we know."""
    table = settings.state_table
    keys = _remote_keys(settings, clock)
    used = DynamoDbOneTimeUse(aws.dynamodb, table)
    return ClientAuthentication(
        registry,
        (
            *secret_methods(WarmSecretUses(DynamoDbSecretUses(aws.dynamodb, table))),
            PrivateKeyJwt(settings.issuer, keys, OneTime("client-assertion", used)),
            FederatedJwt(settings.issuer, keys, OneTime("federated-token", used)),
            TlsClientAuth(),
            SelfSignedTlsClientAuth(),
        ),
        clock,
        FailureThrottle(DynamoDbCounters(aws.dynamodb, table)),
    )


def _remote_keys(settings: AuthenticationSettings, clock: Clock) -> CachedRemoteKeys:
    on_loopback = settings.remote_keys == ON_LOOPBACK
    admit = require_public_or_loopback if on_loopback else require_public
    send = partial(https_client.send, admit=admit)
    return CachedRemoteKeys(send, Clocks(clock, time.monotonic), http=on_loopback)
