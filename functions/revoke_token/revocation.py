"""The revocation endpoint. RFC 7009."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from functions.shared.web.form import read_form
from functions.shared.web.oauth_errors import UnauthorizedClientError
from functions.shared.web.responses import NO_STORE, ProxyResponse, json_response

if TYPE_CHECKING:
    from collections.abc import Sequence

    from functions.shared.authentication.client_authentication import ClientAuthentication
    from functions.shared.clients.client_record import Client
    from functions.shared.runtime.clock import Clock
    from functions.shared.tokens.known_tokens import KnownFormat
    from functions.shared.web.audit_log import AuditEntry
    from functions.shared.web.proxy_request import ProxyRequest

_OK: Final = 200


@dataclass(frozen=True, slots=True)
class TokenRevocation:
    """Answers revocation requests."""

    authentication: ClientAuthentication
    formats: Sequence[KnownFormat]
    clock: Clock

    def __call__(self, request: ProxyRequest, entry: AuditEntry) -> ProxyResponse:
        """Answer one request. A token that does not count any more is as good as revoked: 200.

        `token_type_hint` is not read: a token shows what it is. RFC 7009, 2.1 and 2.2.

        Raises:
            UnauthorizedClientError: the token was issued to another client. RFC 7009, 2.1.
            OAuthError: the caller is not authenticated, or `token` is missing.
        """
        form = read_form(request)
        client = self.authentication.authenticate(request, form, entry)
        entry.note(revoked=self._revoke(form.require("token"), client))
        # The status says it all (RFC 7009, 2.2), but some clients insist on JSON, as simple-oauth2.
        return json_response(_OK, {}, NO_STORE)

    def _revoke(self, unverified_token: str, client: Client) -> bool:
        now = self.clock()
        for tokens in self.formats:
            known = tokens.find(unverified_token, now)
            if known is None:
                continue
            if known.client_id != client.client_id:
                raise UnauthorizedClientError("The token was not issued to this client.")
            tokens.revoke(unverified_token, known)
            return True
        return False
