"""Small APIs, a Lambda service that answers from a table, and a clock that is set by tests."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from local.addresses import LAPTOP, AwsAccount
from local.gateway.core import Gateway
from local.gateway.lambda_runtime import FunctionError
from local.gateway.model import Api, Authorizer, GatewayResponse, IdentitySource, Request, Response, Route
from local.gateway.template import Template
from tests.support.clock import ManualClock

OK = {"statusCode": 200, "body": "{}"}
ARN = "arn:aws:execute-api:us-east-1:123456789012:guardedapi/ms-system"
BEARER = Authorizer(
    name="BearerToken",
    function="Authorizer",
    kind="REQUEST",
    identity_sources=(IdentitySource("header", "Authorization"),),
    cache_seconds=300,
)


@dataclass
class Clock(ManualClock):
    """A clock with a fraction of a second, which API Gateway truncates."""

    now: float = 1_700_000_001.25


@dataclass
class FakeLambda:
    """Answers invocations by logical id: a value, an exception to raise, or a function to call."""

    answers: dict[str, object] = field(default_factory=dict)
    calls: list[tuple[str, Any]] = field(default_factory=list)

    def __call__(self, function: str, event: object) -> object:
        self.calls.append((function, json.loads(json.dumps(event))))
        answer = self.answers.get(function, OK)
        if callable(answer):
            answer = answer(event)
        if isinstance(answer, Exception):
            raise answer
        return json.loads(json.dumps(answer))

    def events(self, function: str) -> list[Any]:
        """The events that a function was called with."""
        return [event for called, event in self.calls if called == function]


def unauthorized() -> FunctionError:
    """Lambda's error for an authorizer that raises `Exception("Unauthorized")`."""
    return FunctionError("Exception", "Unauthorized")


def policy(*statements: Mapping[str, object], **more: object) -> dict[str, object]:
    """An authorizer's answer."""
    document = {"Version": "2012-10-17", "Statement": list(statements)}
    return {"principalId": "client", "policyDocument": document, **more}


def allow(*resources: str, **more: object) -> dict[str, object]:
    """A statement that allows to invoke."""
    return _statement("Allow", resources, more)


def deny(*resources: str, **more: object) -> dict[str, object]:
    """A statement that denies to invoke."""
    return _statement("Deny", resources, more)


def _statement(effect: str, resources: Sequence[str], more: Mapping[str, object]) -> dict[str, object]:
    return {"Effect": effect, "Action": "execute-api:Invoke", "Resource": list(resources), **more}


def rest_api(
    authorizer: Authorizer | None = None,
    responses: Mapping[str, GatewayResponse] | None = None,
    binary_media_types: tuple[str, ...] = (),
) -> Api:
    """A REST API with a list, an item, and an open greedy route."""
    return Api(
        logical_id="GuardedApi",
        api_id="guardedapi",
        kind="rest",
        stage="ms-system",
        routes=(
            Route("GET", "/country", "LookUpCountry", authorizer),
            Route("GET", "/country/code/{code}", "LookUpCountry", authorizer),
            Route("ANY", "/open/{proxy+}", "Open"),
        ),
        gateway_responses=responses or {},
        binary_media_types=binary_media_types,
    )


def http_api(*routes: Route, stage: str = "ms-auth-server") -> Api:
    """An HTTP API with a token endpoint, or with other routes."""
    return Api(
        logical_id="AuthServerApi",
        api_id="authserverapi",
        kind="http",
        stage=stage,
        routes=routes or (Route("POST", "/oauth2/token", "IssueToken"),),
    )


def get(path: str, *headers: tuple[str, str], **more: Any) -> Request:
    """A GET request."""
    return Request(method="GET", path=path, headers=headers, **more)


def bearer(credentials: str = "token") -> tuple[str, str]:
    """An Authorization header."""
    return ("Authorization", f"Bearer {credentials}")


def read_template(
    document: Mapping[str, Any], parameters: Mapping[str, str] | None = None, account: AwsAccount = LAPTOP
) -> Template:
    """Read a template that is not in a file."""
    with patch("local.gateway.template.load", return_value=document):
        return Template.read(Path("template.yaml"), parameters, account)


def answer(api: Api, invoke: FakeLambda, request: Request, clock: Callable[[], float] | None = None) -> Response:
    """Return the response of a new gateway."""
    return Gateway(api, invoke, clock=clock or Clock()).handle(request)
