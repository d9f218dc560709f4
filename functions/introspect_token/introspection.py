"""The introspection endpoint. RFC 7662, and RFC 9701 for answers that are signed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from functions.introspect_token.members import to_members
from functions.introspect_token.signed_answer import wants_signed_answer
from functions.introspect_token.visibility import visible_part
from functions.shared.web.form import read_form
from functions.shared.web.responses import NO_STORE, ProxyResponse, json_response

if TYPE_CHECKING:
    from collections.abc import Mapping

    from functions.introspect_token.signed_answer import AnswerSigner
    from functions.shared.authentication.client_authentication import ClientAuthentication
    from functions.shared.clients.client_record import Client
    from functions.shared.runtime.clock import Clock
    from functions.shared.tokens.known_tokens import KnownToken, KnownTokens
    from functions.shared.web.audit_log import AuditEntry
    from functions.shared.web.form import Form
    from functions.shared.web.proxy_request import ProxyRequest

_OK: Final = 200
_INACTIVE: Final[Mapping[str, object]] = {"active": False}


@dataclass(frozen=True, slots=True)
class TokenIntrospection:
    """Answers introspection requests."""

    authentication: ClientAuthentication
    tokens: KnownTokens
    signer: AnswerSigner
    clock: Clock

    def __call__(self, request: ProxyRequest, entry: AuditEntry) -> ProxyResponse:
        """Answer one request, in JSON or, to who asks for it, as a JWT.

        A token that is unknown, expired, revoked, of a disabled client or not the caller's business
        is inactive, and the answer does not say which. RFC 7662, 2.2.

        Raises:
            OAuthError: the caller is not authenticated, or `token` is missing.
        """
        form = read_form(request)
        since = self.clock()
        caller = self.authentication.authenticate(request, form, entry)
        members = self._members(form, caller, since, entry)
        if wants_signed_answer(request):
            entry.note(signed=True)
            return self.signer.answer(members, caller.client_id, self.clock())
        return json_response(_OK, members, NO_STORE)

    def _members(
        self, form: Form, caller: Client, since: float, entry: AuditEntry
    ) -> Mapping[str, Any]:
        token = self.tokens.find(form.require("token"), self.clock())
        visible = self._visible_part(token, caller, since) if token else None
        if visible is None:
            entry.note(active=False)
            return _INACTIVE
        entry.note(active=True, token_client_id=visible.client_id, scopes=visible.scopes)
        return to_members(visible)

    def _visible_part(self, token: KnownToken, caller: Client, since: float) -> KnownToken | None:
        """Return what the caller may see, by its record as it is now if an older one hides all."""
        visible = visible_part(token, caller)
        if visible:
            return visible
        changed = self.authentication.changed_since(caller, since)
        return visible_part(token, changed) if changed else None
