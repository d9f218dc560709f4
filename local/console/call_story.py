"""How a call to the guarded API fares, told in steps."""

from __future__ import annotations

import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from local.console import tokens
from local.console.authorizer_steps import decided, introspected, keys_found, policy
from local.console.http_calls import send
from local.console.sightings import Sightings, decision_line
from local.console.steps import Step, as_json, facts, http_exchange, lines
from local.console.words import in_words, is_about_the_request

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from local.console.clients import ClientCalls
    from local.console.http_calls import Answer, Call
    from local.console.sightings import Record
    from local.console.stagehand import Stagehand

__all__ = ["CallStory"]

_OF_THE_REQUEST = (
    "The authorizer rejects the request, and not because the token is invalid: {why} The caller "
    "learns no reason, and nothing is cached."
)

# Refusals that come before any key is looked for.
_BEFORE_KEYS = frozenset({"scheme_wrong"})

_ENDINGS: Mapping[int, str] = {
    HTTPStatus.UNAUTHORIZED: (
        "The authorizer rejects the token. The caller learns no reason, and nothing is cached."
    ),
    HTTPStatus.FORBIDDEN: (
        "The token is valid, and none of its scopes opens this route. The function is not called."
    ),
    HTTPStatus.INTERNAL_SERVER_ERROR: (
        "The authorizer could not decide, so the caller gets 500 and may retry. Nothing is cached."
    ),
}


@dataclass(frozen=True)
class CallStory:
    """Calls with tokens. `scope_map` is the authorizer's own, as JSON has it."""

    calls: ClientCalls
    stagehand: Stagehand
    scope_map: Mapping[str, Sequence[str]]

    def tell(self, path: str, token: str, scheme: str) -> Iterator[Step]:
        """Make a call, and yield what went on."""
        since = self.stagehand.records("auth_server")["last"]
        call = self.calls.guarded(path, token, scheme)
        answer = send(call)
        seen = self._sightings(answer, token, scheme, since)
        route = f"GET {path}"
        yield Step(
            "client",
            "api",
            route,
            "The client sends its token along. API Gateway lets nobody in unasked.",
            details=(http_exchange(call),),
        )
        reason = ""
        asked = seen.asked()
        if asked:
            reason = str(decision_line(asked).get("reason"))
            yield from self._authorized(asked, seen, token, route)
        elif (remembered := seen.remembered()) is not None:
            yield self._remembered(remembered, route)
        yield _answered(call, answer, seen.called(), route, reason)

    def _sightings(
        self, answer: Answer, token: str, scheme: str, since: Mapping[str, int]
    ) -> Sightings:
        return Sightings(
            api=self.stagehand.records(self.calls.service(token, scheme)),
            auth=self.stagehand.records("auth_server"),
            auth_since=self.stagehand.records("auth_server", since),
            request_id=answer.headers.get("x-amzn-requestid", ""),
            authorization=f"{scheme} {token}",
        )

    def _authorized(self, asked: Record, seen: Sightings, token: str, route: str) -> Iterator[Step]:
        yield Step(
            "api",
            "authorizer",
            "Who is this?",
            "API Gateway has no policy for this token yet, so it asks a Lambda function.",
            chip="asked",
            details=(lines("The event", as_json(asked["event"])),),
        )
        line = decision_line(asked)
        if not tokens.is_jwt(token):
            yield introspected(seen.introspection())
        elif line.get("reason") not in _BEFORE_KEYS:
            yield keys_found(seen, line, token)
        yield decided(asked, line, self.scope_map, route)

    def _remembered(self, asked: Record, route: str) -> Step:
        return Step(
            "api",
            "api",
            "The policy is at hand",
            f"API Gateway got a policy for this very token {time.time() - asked['at']:.0f} seconds "
            "ago and judges the request by it. The authorizer is not asked.",
            chip="cached",
            details=(policy(asked, self.scope_map, route),),
        )


def _answered(call: Call, answer: Answer, called: Record | None, route: str, reason: str) -> Step:
    sentence = _ENDINGS.get(answer.status, "API Gateway answers by itself.")
    if answer.status == HTTPStatus.UNAUTHORIZED and is_about_the_request(reason):
        sentence = _OF_THE_REQUEST.format(why=in_words(reason))
    if called:
        took = f"{called['milliseconds']:.1f} ms"
        sentence = f"The policy allows {route}, so {called['function']} is called ({took})."
        if answer.status == HTTPStatus.NOT_FOUND:
            sentence += " It knows no such country."
    return Step(
        "api",
        "client",
        f"{answer.status} {answer.reason}",
        sentence,
        chip=str(answer.status),
        tone="good" if answer.status < HTTPStatus.BAD_REQUEST else "bad",
        details=(
            http_exchange(call, answer),
            facts(("the whole call took", f"{answer.milliseconds:.1f} ms")),
        ),
    )
