"""The introspection endpoint. RFC 7662."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from functions.introspect_token.known_tokens import to_members
from functions.introspect_token.visibility import visible_part
from functions.shared.form import read_form
from functions.shared.responses import NO_STORE, ProxyResponse, json_response

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from functions.introspect_token.known_tokens import KnownToken, TokenReader
    from functions.shared.audit_log import AuditEntry
    from functions.shared.client_authentication import ClientAuthentication
    from functions.shared.client_registry import ClientRegistry
    from functions.shared.clock import Clock
    from functions.shared.proxy_request import ProxyRequest

_OK: Final = 200
_INACTIVE: Final[Mapping[str, object]] = {"active": False}


@dataclass(frozen=True, slots=True)
class TokenIntrospection:
    """Answers introspection requests."""

    authentication: ClientAuthentication
    registry: ClientRegistry
    readers: Sequence[TokenReader]
    clock: Clock

    def __call__(self, request: ProxyRequest, entry: AuditEntry) -> ProxyResponse:
        """Answer one request.

        A token that is unknown, expired, of a disabled client or not the caller's business is
        inactive, and the answer does not say which. RFC 7662, 2.2.

        Raises:
            OAuthError: the caller is not authenticated, or `token` is missing.
        """
        form = read_form(request)
        caller = self.authentication.authenticate(request, form, entry)
        token = self._find(form.require("token"))
        visible = visible_part(token, caller) if token else None
        if visible is None:
            entry.note(active=False)
            return json_response(_OK, _INACTIVE, NO_STORE)
        entry.note(active=True, token_client_id=visible.client_id, scopes=visible.scopes)
        return json_response(_OK, to_members(visible), NO_STORE)

    def _find(self, unverified_token: str) -> KnownToken | None:
        now = self.clock()
        found = (reader.find(unverified_token, now) for reader in self.readers)
        token = next(filter(None, found), None)
        return token if token and self._is_enabled(token.client_id) else None

    def _is_enabled(self, client_id: str) -> bool:
        client = self.registry.find(client_id)
        return client is not None and not client.disabled
