"""Minting of opaque tokens. Loaded by the first client that gets them."""

from dataclasses import dataclass

from ..shared.tokens.opaque_tokens import OpaqueToken, OpaqueTokenStore, generate_token
from .grants import Grant
from .minting import MintedToken, Validity


@dataclass(frozen=True, slots=True)
class OpaqueMint:
    """Makes opaque tokens and stores their meaning."""

    issuer: str
    tokens: OpaqueTokenStore

    def mint(self, grant: Grant, times: Validity) -> MintedToken:
        """Make an opaque token. It is stored before it is returned."""
        token = generate_token()
        meaning = OpaqueToken(
            client_id=grant.client.client_id,
            scopes=grant.scopes,
            audience=grant.audience,
            issuer=self.issuer,
            issued_at=times.issued_at,
            expires_at=times.expires_at,
            subject=grant.subject,
            confirmation=grant.confirmation,
            actor=grant.actor,
            claims=grant.claims,
        )
        self.tokens.put(token, meaning)
        return MintedToken(token)
