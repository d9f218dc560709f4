"""What knows the tokens of this server, composed once for every endpoint that asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from functions.shared.storage.state_table import DynamoDbDenyList
from functions.shared.tokens.issued_jwts import IssuedJwts
from functions.shared.tokens.known_tokens import Jwts, OpaqueTokens
from functions.shared.tokens.opaque_tokens import DynamoDbOpaqueTokens

if TYPE_CHECKING:
    from functions.shared.keys.warm_key_ring import WarmKeyRing
    from functions.shared.runtime.aws_clients import AwsClients
    from functions.shared.runtime.clock import Clock
    from functions.shared.tokens.known_tokens import KnownFormat


class TokenSettings(Protocol):
    """What a function that knows tokens reads from its environment."""

    @property
    def issuer(self) -> str:
        """The issuer's address."""

    @property
    def tokens_table(self) -> str:
        """The table of opaque tokens."""

    @property
    def state_table(self) -> str:
        """The table that the deny list is in."""


def build_known_formats(
    settings: TokenSettings, *, key_ring: WarmKeyRing, aws: AwsClients, clock: Clock
) -> tuple[KnownFormat, ...]:
    """Compose both formats: opaque tokens by their table, JWTs by key ring and deny list."""
    return (
        OpaqueTokens(DynamoDbOpaqueTokens(aws.dynamodb, settings.tokens_table)),
        Jwts(
            IssuedJwts(settings.issuer, key_ring, clock),
            DynamoDbDenyList(aws.dynamodb, settings.state_table),
        ),
    )
