"""A whole authorizer with everything around it in memory, for tests that go by its answers."""

import json
from typing import Any

import pytest

from authorizer.app import build
from authorizer.errors import Unauthorized
from authorizer.https_client import HttpExchangeError, Request, Response
from authorizer.settings import Settings
from tests.support.authorizer_events import decide
from tests.support.tokens import ISSUER, FakeClock, jwks, rsa_jwk


class Sandbox:
    """A whole authorizer with its authorization server, its clock and its log."""

    def __init__(self, **environ: str) -> None:
        self.clock = FakeClock()
        self.log: list[str] = []
        self.requests: list[Request] = []
        self.down = False
        self.introspected: dict[str, Any] = {"active": False}
        self.gate = build(
            Settings.from_env({"ISSUER": ISSUER} | environ),
            clock=self.clock,
            monotonic=self.clock,
            send=self._send,
            emit=self.log.append,
        )

    def _send(self, request: Request) -> Response:
        self.requests.append(request)
        if self.down:
            raise HttpExchangeError("down")
        if request.method == "POST":
            return Response(200, {}, json.dumps(self.introspected).encode())
        return Response(200, {}, jwks(rsa_jwk()))

    def decide(self, event: dict[str, Any]) -> dict[str, Any]:
        return decide(self.gate, event, 1, self.clock)

    def last_line(self) -> dict[str, Any]:
        line = json.loads(self.log[-1])
        assert isinstance(line, dict)
        return line

    def refusal(self, event: dict[str, Any]) -> str:
        """Return why the event's token is refused."""
        with pytest.raises(Unauthorized):
            self.decide(event)
        return str(self.last_line()["reason"])
