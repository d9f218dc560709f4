"""The token endpoint: authenticate, decide, mint, answer. RFC 6749, 3.2 and 5."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from functions.issue_token.claims import validity
from functions.issue_token.grants import decide
from functions.shared.form import read_form
from functions.shared.responses import NO_STORE, ProxyResponse, json_response

if TYPE_CHECKING:
    from collections.abc import Mapping

    from functions.issue_token.claims import Validity
    from functions.issue_token.grants import Grant
    from functions.issue_token.minting import Mint, MintedToken
    from functions.shared.audit_log import AuditEntry
    from functions.shared.client_authentication import ClientAuthentication
    from functions.shared.client_record import TokenFormat
    from functions.shared.clock import Clock
    from functions.shared.proxy_request import ProxyRequest

_OK: Final = 200


@dataclass(frozen=True, slots=True)
class TokenIssuance:
    """Answers token requests."""

    authentication: ClientAuthentication
    mints: Mapping[TokenFormat, Mint]
    clock: Clock

    def __call__(self, request: ProxyRequest, entry: AuditEntry) -> ProxyResponse:
        """Answer one token request; raises OAuthError for every refusal."""
        form = read_form(request)
        client = self.authentication.authenticate(request, form, entry)
        grant = decide(client, form)
        times = validity(self.clock(), client.token_lifetime)
        token = self.mints[client.token_format].mint(grant, times)
        entry.note(
            grant_type=form.get("grant_type"),
            scopes=grant.scopes,
            token_format=client.token_format,
            kid=token.kid,
            expires_at=times.expires_at,
        )
        return _answer(token, grant, times)


def _answer(token: MintedToken, grant: Grant, times: Validity) -> ProxyResponse:
    members: dict[str, object] = {"access_token": token.text}
    if grant.scopes:
        members["scope"] = " ".join(grant.scopes)
    members |= {"token_type": "Bearer", "expires_in": times.seconds_left}
    return json_response(_OK, members, NO_STORE)
