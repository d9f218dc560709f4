"""The token endpoint: authenticate, decide, mint, respond. RFC 6749, 3.2 and 5."""

from collections.abc import Mapping
from dataclasses import dataclass

from authorizer.claims import token_type

from ..shared.authentication.client_authentication import ClientAuthentication
from ..shared.clients.client import Client, TokenFormat
from ..shared.lambda_function import Clock
from ..shared.web.audit import AuditEntry
from ..shared.web.form import Form, read_form
from ..shared.web.oauth_errors import (
    InvalidRequestError,
    InvalidScopeError,
    InvalidTargetError,
    UnauthorizedClientError,
)
from ..shared.web.proxy_request import ProxyRequest
from ..shared.web.responses import NO_STORE, ProxyResponse, json_response
from .grants import Grant, GrantDecisions, TokenRequest
from .minting import Mint, MintedToken, Validity, validity
from .proof_of_possession import Possession, PossessionCheck

REPEATABLE = frozenset({"resource", "audience"})
"""Parameters that may be sent more than once. RFC 8707, 2; RFC 8693, 2.1."""

_CLIENT_DEPENDENT_ERRORS = (InvalidRequestError, InvalidScopeError, InvalidTargetError, UnauthorizedClientError)
"""Errors that can be caused by an outdated client record."""


@dataclass(frozen=True, slots=True)
class TokenEndpoint:
    """Responds to token requests."""

    authentication: ClientAuthentication
    possession: PossessionCheck
    grants: GrantDecisions
    mints: Mapping[TokenFormat, Mint]
    clock: Clock

    def __call__(self, request: ProxyRequest, entry: AuditEntry) -> ProxyResponse:
        """Respond to one token request; raises OAuthError for each that is refused."""
        form = read_form(request, repeatable=REPEATABLE)
        since = self.clock()
        client = self.authentication.authenticate(request, form, entry)
        now = self.clock()
        try:
            possession, grant = self._decide(request, form, client, now)
        except _CLIENT_DEPENDENT_ERRORS:
            changed = self.authentication.changed_since(client, since)
            if changed is None:
                raise
            client = changed
            possession, grant = self._decide(request, form, client, now)
        self.possession.use_proof(possession, now)
        times = validity(now, client.token_lifetime, grant.not_after)
        token = self.mints[client.token_format](grant, times)
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
        return _response(token, grant, times, {**NO_STORE, **possession.headers})

    def _decide(self, request: ProxyRequest, form: Form, client: Client, now: float) -> tuple[Possession, Grant]:
        possession = self.possession.check(request, client, now)
        return possession, self.grants.decide(TokenRequest(client, form, now, possession.confirmation))


def _response(token: MintedToken, grant: Grant, times: Validity, headers: Mapping[str, str]) -> ProxyResponse:
    members: dict[str, object] = {"access_token": token.text}
    if grant.scopes:
        members["scope"] = " ".join(grant.scopes)
    members |= {"token_type": token_type(grant.confirmation), "expires_in": times.seconds_left}
    if grant.issued_token_type:
        members["issued_token_type"] = grant.issued_token_type
    return json_response(200, members, headers)
