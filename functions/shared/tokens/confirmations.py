"""Tokens bound to a key: how their answers and claims say so. RFC 7800, 8705 and 9449."""

from __future__ import annotations

from typing import TYPE_CHECKING

from authorizer.claims import DPOP_KEY

if TYPE_CHECKING:
    from authorizer.claims import Confirmation


def to_claim(confirmation: Confirmation | None) -> dict[str, str] | None:
    """Return the `cnf` claim of a token that is bound to a key; None for any other token."""
    return {confirmation.method: confirmation.thumbprint} if confirmation else None


def token_type(confirmation: Confirmation | None) -> str:
    """Name how a token is used. RFC 9449, 5; a certificate leaves it a bearer token's way."""
    return "DPoP" if confirmation and confirmation.method == DPOP_KEY else "Bearer"
