"""The token endpoint: authenticate, decide, mint, answer. RFC 6749, 3.2 and 5."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from functions.issue_token.claims import validity
from functions.issue_token.grants import TokenRequest
from functions.shared.tokens.confirmations import token_type
from functions.shared.web.form import read_form
from functions.shared.web.oauth_errors import (
    InvalidRequestError,
    InvalidScopeError,
    InvalidTargetError,
    UnauthorizedClientError,
)
from functions.shared.web.responses import NO_STORE, ProxyResponse, json_response

if TYPE_CHECKING:
    from collections.abc import Mapping

    from functions.issue_token.claims import Validity
    from functions.issue_token.grants import Grant, GrantDecisions
    from functions.issue_token.minting import Mint, MintedToken
    from functions.issue_token.possession import Possession, PossessionProofs
    from functions.shared.authentication.client_authentication import ClientAuthentication
    from functions.shared.clients.client_record import Client, TokenFormat
    from functions.shared.runtime.clock import Clock
    from functions.shared.web.audit_log import AuditEntry
    from functions.shared.web.form import Form
    from functions.shared.web.proxy_request import ProxyRequest

REPEATABLE: Final = frozenset({"resource", "audience"})
"""Parameters that may be sent more than once. RFC 8707, 2; RFC 8693, 2.1."""

_OK: Final = 200
_REFUSALS_BY_RECORD: Final = (
    InvalidRequestError,
    InvalidScopeError,
    InvalidTargetError,
    UnauthorizedClientError,
)
"""Refusals that can depend on the client's record."""


@dataclass(frozen=True, slots=True)
class TokenIssuance:
    """Answers token requests."""

    authentication: ClientAuthentication
    proofs: PossessionProofs
    grants: GrantDecisions
    mints: Mapping[TokenFormat, Mint]
    clock: Clock

    def __call__(self, request: ProxyRequest, entry: AuditEntry) -> ProxyResponse:
        """Answer one token request; raises OAuthError for every refusal."""
        form = read_form(request, repeatable=REPEATABLE)
        since = self.clock()
        client = self.authentication.authenticate(request, form, entry)
        now = self.clock()
        try:
            possession, grant = self._decide(request, form, client, now)
        except _REFUSALS_BY_RECORD:
            changed = self.authentication.changed_since(client, since)
            if changed is None:
                raise
            client = changed
            possession, grant = self._decide(request, form, client, now)
        self.proofs.use(possession, now)
        times = validity(now, client.token_lifetime, grant.not_after)
        token = self.mints[client.token_format].mint(grant, times)
        entry.note(
            grant_type=form.get("grant_type"),
            scopes=grant.scopes,
            audience=grant.audience,
            token_format=client.token_format,
            kid=token.kid,
            expires_at=times.expires_at,
            bound_by=grant.confirmation and grant.confirmation.method,
            subject=grant.subject,
            actor=grant.actor,
        )
        return _answer(token, grant, times, {**NO_STORE, **possession.headers})

    def _decide(
        self, request: ProxyRequest, form: Form, client: Client, now: float
    ) -> tuple[Possession, Grant]:
        possession = self.proofs.check(request, client, now)
        return possession, self.grants.decide(
            TokenRequest(client, form, now, possession.confirmation)
        )


def _answer(
    token: MintedToken, grant: Grant, times: Validity, headers: Mapping[str, str]
) -> ProxyResponse:
    members: dict[str, object] = {"access_token": token.text}
    if grant.scopes:
        members["scope"] = " ".join(grant.scopes)
    members |= {"token_type": token_type(grant.confirmation), "expires_in": times.seconds_left}
    if grant.issued_token_type:
        members["issued_token_type"] = grant.issued_token_type
    return json_response(_OK, members, headers)
