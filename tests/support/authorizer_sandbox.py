"""A whole authorizer with everything around it in memory, for tests of its responses and log."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from authorizer.app import build
from authorizer.errors import AuthorizerError, Unauthorized
from authorizer.https_client import HttpExchangeError, Request, Response
from authorizer.settings import Settings
from tests.support.authorizer_events import decide
from tests.support.clock import ManualClock
from tests.support.tokens import ISSUER, jwks, rest_event, rsa_jwk


class Sandbox:
    """A whole authorizer with its authorization server, its clock and its log.

    `parts` are further arguments of `build`.
    """

    def __init__(self, parts: dict[str, Any] | None = None, /, **environ: str) -> None:
        self.clock = ManualClock()
        self.log: list[str] = []
        self.requests: list[Request] = []
        self.down = False
        self.keys: list[dict[str, Any]] = [rsa_jwk()]
        self.headers: dict[str, str] = {}
        self.introspected: object = {"active": False}
        self.introspection_status = 200
        self.while_sending: Callable[[], object] = lambda: None
        own: dict[str, Any] = {"clock": self.clock, "monotonic": self.clock, "send": self.send, "emit": self.log.append}
        self.gate = build(Settings.from_env({"ISSUER": ISSUER} | environ), **(own | (parts or {})))

    def send(self, request: Request) -> Response:
        """Answer a request for the key set, or for an introspection."""
        self.requests.append(request)
        self.while_sending()
        if self.down:
            raise HttpExchangeError("down")
        if request.method == "POST":
            said = self.introspected
            return Response(
                self.introspection_status, {}, said if isinstance(said, bytes) else json.dumps(said).encode()
            )
        if request.headers.get("If-None-Match", "none") == self.headers.get("etag"):
            return Response(304, self.headers, b"")
        return Response(200, self.headers, jwks(*self.keys))

    def decide(self, event: dict[str, Any]) -> dict[str, Any]:
        return decide(self.gate, event, 1, self.clock)

    def last_line(self) -> dict[str, Any]:
        line = json.loads(self.log[-1])
        assert isinstance(line, dict)
        return line

    def refusal(self, event: dict[str, Any]) -> str:
        """Return the logged reason of a rejection."""
        with pytest.raises(Unauthorized):
            self.decide(event)
        return str(self.last_line()["reason"])

    def outcome(self, event: dict[str, Any] | str) -> str:
        """Return the gateway's status for an event, or a token, and the logged reason."""
        try:
            self.decide(rest_event(event) if isinstance(event, str) else event)
        except Unauthorized:
            return f"401 {self.last_line()['reason']}"
        except AuthorizerError:
            return f"500 {self.last_line()['reason']}"
        return "accepted"
