"""The gateway's own answers: gateway responses of a REST API, fixed messages of an HTTP API.

Sources: API Gateway Developer Guide, "Gateway response types" and "Gateway responses in API
Gateway": a type that is not configured falls back to DEFAULT_4XX or DEFAULT_5XX, and a body
template substitutes variables but runs no template language.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from infra.cloudformation import TemplateError
from local.gateway.events import query_parameters
from local.gateway.messages import Response

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.gateway.messages import Request
    from local.gateway.model import Api, GatewayResponse

__all__ = ["Answers", "Refusal", "Situation"]

# Type → status, message, x-amzn-ErrorType.
_DEFAULTS: Mapping[str, tuple[int, str | None, str]] = {
    "ACCESS_DENIED": (
        403,
        "User is not authorized to access this resource",
        "AccessDeniedException",
    ),
    "API_CONFIGURATION_ERROR": (500, "Internal server error", "InternalServerErrorException"),
    "AUTHORIZER_CONFIGURATION_ERROR": (500, None, "AuthorizerConfigurationException"),
    "AUTHORIZER_FAILURE": (500, None, "AuthorizerFailureException"),
    "INTEGRATION_FAILURE": (504, "Internal server error", "InternalServerErrorException"),
    "INTEGRATION_TIMEOUT": (504, "Endpoint request timed out", "InternalServerErrorException"),
    "INVALID_SIGNATURE": (403, None, "IncompleteSignatureException"),
    "MISSING_AUTHENTICATION_TOKEN": (
        403,
        "Missing Authentication Token",
        "MissingAuthenticationTokenException",
    ),
    "REQUEST_TOO_LARGE": (413, "Request Too Long", "RequestTooLargeException"),
    "THROTTLED": (429, "Too Many Requests", "TooManyRequestsException"),
    "UNAUTHORIZED": (401, "Unauthorized", "UnauthorizedException"),
}
_HTTP_API_ANSWERS = {
    "ACCESS_DENIED": (403, "Forbidden"),
    "INTEGRATION_TIMEOUT": (503, "Service Unavailable"),
    "MISSING_AUTHENTICATION_TOKEN": (404, "Not Found"),
    "REQUEST_TOO_LARGE": (413, "Request Entity Too Large"),
    "THROTTLED": (429, "Too Many Requests"),
    "UNAUTHORIZED": (401, "Unauthorized"),
}
_VARIABLE = re.compile(r"\$(context|stageVariables|method)((?:\.[A-Za-z0-9_-]+)+)")
_EXPRESSION = re.compile(r"(context|stageVariables|method\.request)((?:\.[A-Za-z0-9_-]+)+)")
_REQUEST_PARTS = {"header", "querystring", "path", "multivalueheader", "multivaluequerystring"}
_CONTEXT = {
    "accountId",
    "apiId",
    "authorizer.*",
    "awsEndpointRequestId",
    "domainName",
    "domainPrefix",
    "error.message",
    "error.messageString",
    "error.responseType",
    "error.validationErrorString",
    "extendedRequestId",
    "httpMethod",
    "identity.*",
    "path",
    "protocol",
    "requestId",
    "requestTime",
    "requestTimeEpoch",
    "resourceId",
    "resourcePath",
    "stage",
    "status",
}


class Refusal(Exception):  # noqa: N818 - an answer that the gateway gives itself, not a mishap
    """The gateway answers by itself, with the gateway response `kind`.

    `authorizer` is what `$context.authorizer` holds in the answer.
    """

    def __init__(self, kind: str, *, status: int | None = None, message: str | None = None) -> None:
        super().__init__(kind)
        self.kind = kind
        default_status, default_message, self.error_type = _DEFAULTS[kind]
        self.status = status or default_status
        self.message = message or default_message
        self.authorizer: Mapping[str, str] = {}


@dataclass(frozen=True)
class Situation:
    """What an answer's variables may speak of; `context` holds `$context` by dotted name."""

    request: Request
    request_id: str
    extended_request_id: str
    context: Mapping[str, str] = field(default_factory=dict)
    path_parameters: Mapping[str, str] = field(default_factory=dict)


class Answers:
    """Renders refusals for one API.

    Raises:
        TemplateError: a configured header or body speaks of something that does not exist.
    """

    def __init__(self, api: Api) -> None:
        self._api = api
        for kind, configured in api.gateway_responses.items():
            where = f"{api.logical_id}.GatewayResponses.{kind}"
            for name, expression in configured.headers.items():
                _check_expression(expression, f"{where}.{name}")
            for content_type, template in configured.templates.items():
                for match in _VARIABLE.finditer(template):
                    _check_variable(match[1], match[2], f"{where}.{content_type}")

    def render(self, refusal: Refusal, situation: Situation) -> Response:
        """The response that the client sees."""
        if self._api.kind == "http":
            return _http_api_answer(refusal, situation)
        configured, status = self._configured(refusal)
        variables = {
            **situation.context,
            "error.message": refusal.message or "",
            "error.messageString": json.dumps(refusal.message),
            "error.responseType": refusal.kind,
            "status": str(status),
        }
        content_type, template = _template(refusal, configured)
        headers = [
            ("Content-Type", content_type),
            ("x-amzn-RequestId", situation.request_id),
            ("x-amz-apigw-id", situation.extended_request_id),
            ("x-amzn-ErrorType", refusal.error_type),
        ]
        if configured is not None:
            for name, expression in configured.headers.items():
                value = self._evaluate(expression, variables, situation)
                if value:
                    headers = [pair for pair in headers if pair[0].lower() != name.lower()]
                    headers.append((name, value))
        body = _VARIABLE.sub(
            lambda match: self._variable(match[1], match[2], variables, situation), template
        )
        return Response(status, tuple(headers), body.encode())

    def _configured(self, refusal: Refusal) -> tuple[GatewayResponse | None, int]:
        responses = self._api.gateway_responses
        if refusal.kind in responses:
            own = responses[refusal.kind]
            return own, own.status or refusal.status
        fallback = responses.get(f"DEFAULT_{refusal.status // 100}XX")
        if fallback is not None:
            return fallback, fallback.status or refusal.status
        return None, refusal.status

    def _evaluate(self, expression: str, variables: Mapping[str, str], situation: Situation) -> str:
        if expression.startswith("'"):
            return expression[1:-1]
        match = _EXPRESSION.fullmatch(expression)
        if match is None:
            raise TemplateError(f"{expression} is no header expression")
        if match[1] == "method.request":
            return self._variable("method", f".request{match[2]}", variables, situation)
        return self._variable(match[1], match[2], variables, situation)

    def _variable(
        self, root: str, path: str, variables: Mapping[str, str], situation: Situation
    ) -> str:
        name = path[1:]
        if root == "context":
            return variables.get(name, "")
        if root == "stageVariables":
            return self._api.stage_variables.get(name, "")
        _, part, key = name.split(".", 2)
        if part in ("header", "multivalueheader"):
            return situation.request.header(key) or ""
        if part == "path":
            return situation.path_parameters.get(key, "")
        return dict(query_parameters(self._api, situation.request)).get(key, "")


def _template(refusal: Refusal, configured: GatewayResponse | None) -> tuple[str, str]:
    if configured is not None and configured.templates:
        for content_type, template in configured.templates.items():
            if content_type == "application/json":
                return content_type, template
        return next(iter(configured.templates.items()))
    if configured is None and refusal.kind == "ACCESS_DENIED":
        return "application/json", '{"Message":$context.error.messageString}'
    return "application/json", '{"message":$context.error.messageString}'


def _http_api_answer(refusal: Refusal, situation: Situation) -> Response:
    status, message = _HTTP_API_ANSWERS.get(refusal.kind, (500, "Internal Server Error"))
    headers = (
        ("Content-Type", "application/json"),
        ("Apigw-Requestid", situation.extended_request_id),
    )
    return Response(status, headers, f'{{"message":"{message}"}}'.encode())


def _check_expression(expression: str, where: str) -> None:
    literal = len(expression) > 1 and expression[0] == expression[-1] == "'"
    if literal and not expression[1:-1].isprintable():
        raise TemplateError(f"{where}: {expression!r} cannot be a header's value")
    if literal:
        return
    match = _EXPRESSION.fullmatch(expression)
    if match is None:
        raise TemplateError(
            f"{where}: {expression!r} is no header expression; a literal stands in single quotes"
        )
    root, path = match[1], match[2]
    if root == "method.request":
        root, path = "method", f".request{path}"
    _check_variable(root, path, where)


def _check_variable(root: str, path: str, where: str) -> None:
    parts = path[1:].split(".")
    if root == "context":
        known = ".".join(parts) in _CONTEXT or f"{parts[0]}.*" in _CONTEXT
    elif root == "method":
        known = len(parts) > 2 and parts[0] == "request" and parts[1] in _REQUEST_PARTS  # noqa: PLR2004 - request.header.Name
    else:
        known = len(parts) == 1
    if not known:
        raise TemplateError(f"{where}: ${root}{path} does not exist")
