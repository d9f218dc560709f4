"""What an introspection answer says of an active token. RFC 7662, 2.2."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from functions.shared.tokens.confirmations import to_claim, token_type

if TYPE_CHECKING:
    from functions.shared.tokens.known_tokens import KnownToken


def to_members(token: KnownToken) -> dict[str, Any]:
    """Return an active token's members. What is not known is left out.

    `cnf` and `act` as RFC 8705, 3.2, RFC 9449, 6.2, and RFC 8693, 4.1, have them.
    """
    members = {
        "active": True,
        "scope": " ".join(token.scopes) or None,
        "client_id": token.client_id,
        "token_type": token_type(token.confirmation),
        "exp": token.expires_at,
        "iat": token.issued_at,
        "nbf": token.not_before,
        "sub": token.subject,
        "aud": token.audience[0] if len(token.audience) == 1 else token.audience,
        "iss": token.issuer,
        "jti": token.token_id,
        "cnf": to_claim(token.confirmation),
        "act": token.actor,
    }
    return {name: value for name, value in members.items() if value is not None}
