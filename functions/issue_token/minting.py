"""Minting: a grant becomes a token, in the format that its client is registered for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from authorizer.jws import MAX_TOKEN_LENGTH
from functions.issue_token.claims import PROFILES
from functions.shared.keys.kms_signer import MessageTooLongError
from functions.shared.tokens.opaque_tokens import OpaqueToken, generate_token
from functions.shared.web.oauth_errors import InvalidScopeError

if TYPE_CHECKING:
    from functions.issue_token.claims import Validity
    from functions.issue_token.grants import Grant
    from functions.shared.keys.signers import SignerSource
    from functions.shared.tokens.opaque_tokens import OpaqueTokenStore


_TOO_LONG: Final = "The token would be too long: ask for fewer scopes."


class MintedToken(NamedTuple):
    """A token, and the key id it was signed with if it was signed."""

    text: str
    kid: str | None = None


class Mint(Protocol):
    """Makes tokens of one format."""

    def mint(self, grant: Grant, times: Validity) -> MintedToken:
        """Make a token for a grant."""


@dataclass(frozen=True, slots=True)
class JwtMint:
    """Makes signed JWTs, which no store needs to know."""

    issuer: str
    signers: SignerSource

    def mint(self, grant: Grant, times: Validity) -> MintedToken:
        """Make a JWT with the claims of the client's profile, signed as its client wants it.

        Raises:
            InvalidScopeError: it would be longer than verifiers read, or than KMS signs.
            UnusableKeyRingError: no key for that algorithm may sign now.
        """
        signer = self.signers.current(times.issued_at, grant.client.signing_algorithm)
        profile = PROFILES[grant.client.token_profile]
        claims = profile.claims(grant, self.issuer, times)
        try:
            token = signer.sign(claims, profile.typ)
        except MessageTooLongError:
            raise InvalidScopeError(_TOO_LONG) from None
        if len(token) > MAX_TOKEN_LENGTH:
            raise InvalidScopeError(_TOO_LONG)
        return MintedToken(token, signer.kid)


@dataclass(frozen=True, slots=True)
class OpaqueMint:
    """Makes random handles and keeps what they stand for."""

    issuer: str
    tokens: OpaqueTokenStore

    def mint(self, grant: Grant, times: Validity) -> MintedToken:
        """Make an opaque token. It is stored before anyone has it."""
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
        )
        self.tokens.put(token, meaning)
        return MintedToken(token)
