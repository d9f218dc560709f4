"""Which tokens a caller may see, and how much of them. RFC 7662, 4. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from functions.shared.clients.client_record import Client
    from functions.shared.tokens.known_tokens import KnownToken


def visible_part(token: KnownToken, caller: Client) -> KnownToken | None:
    """Return what the caller may see of a token; None if it is not the caller's business.

    The token's own client and an API in its audience see all of it. A resource server that owns
    some of its scopes sees it with those scopes alone: others are not its business.
    """
    if caller.client_id == token.client_id or caller.is_among(token.audience):
        return token
    owned = tuple(scope for scope in token.scopes if scope in caller.resource_scopes)
    return replace(token, scopes=owned) if owned else None
