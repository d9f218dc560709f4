"""How a client gets a token, told in steps."""

from __future__ import annotations

import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from local.console import tokens
from local.console.clients import kind_of
from local.console.http_calls import send
from local.console.steps import Step, facts, http_exchange, token

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from functions.shared.clients.client import Client
    from local.console.clients import ClientCalls
    from local.console.http_calls import Answer, Call

__all__ = ["TokenStory"]

_HOW = {
    "jwt": "It is signed, so whoever has the key set can check it without asking anyone.",
    "at+jwt": "It is signed, and says for which API it is and by which id it can be revoked.",
    "opaque": "It says nothing by itself: whoever gets it asks the auth server what it means.",
    "mtls": "It is bound to the client's certificate (cnf): the caller's connection must have it.",
    "dpop": "It is bound to the client's key (cnf): who uses it has to prove to have that key.",
}


@dataclass
class TokenStory:
    """One client asking for one token. `token` and `scheme` are set once it got one."""

    calls: ClientCalls
    client: Client
    scopes: Sequence[str]
    token: str | None = None
    scheme: str = "Bearer"

    def tell(self) -> Iterator[Step]:
        """Ask, and yield each step as it happens."""
        call = self.calls.token(self.client, self.scopes)
        answer = send(call)
        nonce = answer.headers.get("dpop-nonce")
        if answer.status != HTTPStatus.OK and nonce:
            yield self._asked(call, answer, "The proof lacks a nonce. The auth server sends one.")
            call = self.calls.token(self.client, self.scopes, nonce)
            answer = send(call)
        if answer.status != HTTPStatus.OK:
            yield self._refused(call, answer)
            return
        yield self._asked(call, answer, self._request_in_words())
        yield self._received(json.loads(answer.body))

    def _request_in_words(self) -> str:
        wanted = ", ".join(self.scopes) or "no scope in particular"
        return f"{self.client.client_id} proves who it is and asks for {wanted}."

    def _asked(self, call: Call, answer: Answer, sentence: str) -> Step:
        return Step(
            "client",
            "auth",
            "POST /oauth2/token",
            sentence,
            chip=str(answer.status),
            tone="good" if answer.status == HTTPStatus.OK else "plain",
            details=(http_exchange(call, answer),),
        )

    def _refused(self, call: Call, answer: Answer) -> Step:
        error = _members(answer.body)
        description = error.get("error_description", "It does not say why.")
        return Step(
            "auth",
            "client",
            "No token",
            f"{error.get('error', answer.reason)}: {description}",
            chip=str(answer.status),
            tone="bad",
            details=(http_exchange(call, answer),),
        )

    def _received(self, members: dict[str, Any]) -> Step:
        text = str(members["access_token"])
        self.token, self.scheme = text, str(members["token_type"])
        known = facts(
            ("scope", str(members.get("scope", "none"))),
            ("token_type", self.scheme),
            ("expires_in", f"{members['expires_in']} seconds"),
        )
        is_jwt = tokens.is_jwt(text)
        shown = token(text, *tokens.decode(text)) if is_jwt else facts(("access_token", text))
        kind = kind_of(self.client)
        title = "A signed token (JWT)" if is_jwt else "An opaque token"
        return Step("auth", "client", title, _HOW[kind], chip=kind, details=(shown, known))


def _members(body: str) -> dict[str, Any]:
    """Read an error answer; API Gateway's own have no members of OAuth's."""
    try:
        members = json.loads(body)
    except ValueError:
        return {}
    return members if isinstance(members, dict) else {}
