"""Responses of the gateway itself: gateway responses of a REST API, fixed ones of an HTTP API.

A type that is not configured falls back to DEFAULT_4XX or DEFAULT_5XX. A body template substitutes variables and has
no template language. Sources: API Gateway Developer Guide, "Gateway response types" and "Gateway responses in API
Gateway".
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from infra.cloudformation import TemplateError
from local.gateway.events import Call, RequestIds, query_parameters, request_context
from local.gateway.model import Api, GatewayResponse, Request, Response

# Type → status, message, x-amzn-ErrorType without its suffix Exception.
DEFAULT_RESPONSES: Mapping[str, tuple[int, str | None, str]] = {
    "ACCESS_DENIED": (403, "User is not authorized to access this resource", "AccessDenied"),
    "API_CONFIGURATION_ERROR": (500, "Internal server error", "InternalServerError"),
    "AUTHORIZER_CONFIGURATION_ERROR": (500, None, "AuthorizerConfiguration"),
    "AUTHORIZER_FAILURE": (500, None, "AuthorizerFailure"),
    "BAD_REQUEST_BODY": (400, "Invalid request body", "BadRequest"),
    "BAD_REQUEST_PARAMETERS": (400, "Missing required request parameters", "BadRequest"),
    "EXPIRED_TOKEN": (403, None, "ExpiredToken"),
    "INTEGRATION_FAILURE": (504, "Internal server error", "InternalServerError"),
    "INTEGRATION_TIMEOUT": (504, "Endpoint request timed out", "InternalServerError"),
    "INVALID_API_KEY": (403, "Forbidden", "Forbidden"),
    "INVALID_SIGNATURE": (403, None, "IncompleteSignature"),
    "MISSING_AUTHENTICATION_TOKEN": (403, "Missing Authentication Token", "MissingAuthenticationToken"),
    "QUOTA_EXCEEDED": (429, "Limit Exceeded", "LimitExceeded"),
    "REQUEST_TOO_LARGE": (413, "Request Too Long", "RequestTooLarge"),
    "RESOURCE_NOT_FOUND": (404, None, "NotFound"),
    "THROTTLED": (429, "Too Many Requests", "TooManyRequests"),
    "UNAUTHORIZED": (401, "Unauthorized", "Unauthorized"),
    "UNSUPPORTED_MEDIA_TYPE": (415, "Unsupported Media Type", "UnsupportedMediaType"),
    "WAF_FILTERED": (403, "Forbidden", "Forbidden"),
}
_HTTP_API_RESPONSES = {
    "ACCESS_DENIED": (403, "Forbidden"),
    "INTEGRATION_TIMEOUT": (503, "Service Unavailable"),
    "MISSING_AUTHENTICATION_TOKEN": (404, "Not Found"),
    "REQUEST_TOO_LARGE": (413, "Request Entity Too Large"),
    "THROTTLED": (429, "Too Many Requests"),
    "UNAUTHORIZED": (401, "Unauthorized"),
}
_VARIABLE = re.compile(r"\$(context|stageVariables|method)((?:\.[A-Za-z0-9_-]+)+)")
_REQUEST_PARTS = {"header", "querystring", "path", "multivalueheader", "multivaluequerystring"}
_CONTEXT = {
    *"accountId apiId authorizer.* awsEndpointRequestId domainName domainPrefix extendedRequestId httpMethod".split(),
    *"error.message error.messageString error.responseType error.validationErrorString identity.* path".split(),
    *"protocol requestId requestTime requestTimeEpoch resourceId resourcePath stage status".split(),
}


class GatewayError(Exception):
    """The gateway answers a request itself, with the gateway response `kind`.

    `authorizer` is `$context.authorizer` in the response. `challenge` is the `www-authenticate` header of an HTTP API;
    a REST API sends only configured headers.
    """

    def __init__(
        self,
        kind: str,
        *,
        status: int | None = None,
        message: str | None = None,
        challenge: str | None = None,
        authorizer: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(kind)
        self.kind = kind
        default_status, default_message, error_type = DEFAULT_RESPONSES[kind]
        self.error_type = f"{error_type}Exception"
        self.status = status or default_status
        self.message = message or default_message
        self.challenge = challenge
        self.authorizer = authorizer or {}


class GatewayResponses:
    """Renders the gateway responses of one API.

    Raises:
        TemplateError: a configured header or body names a variable that does not exist.
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

    def render(self, error: GatewayError, request: Request, ids: RequestIds, call: Call | None = None) -> Response:
        """Return the response for the client. Without a route there is no `call`."""
        if self._api.kind == "http":
            return _http_api_response(error, ids)
        configured = self._api.gateway_responses.get(
            error.kind, self._api.gateway_responses.get(f"DEFAULT_{error.status // 100}XX")
        )
        status = (configured.status if configured else None) or error.status
        described = {"message": error.message, "messageString": json.dumps(error.message), "responseType": error.kind}
        members = {"error": described, "status": status, "authorizer": error.authorizer}
        if call:
            members |= request_context(call)
        variables = dict(_flattened(members))

        def substituted(template: str) -> str:
            return _VARIABLE.sub(lambda match: self._value(match[1], match[2][1:], request, call, variables), template)

        content_type, template = _template(error, configured)
        headers = [
            ("Content-Type", content_type),
            ("x-amzn-RequestId", ids.request_id),
            ("x-amz-apigw-id", ids.extended_request_id),
            ("x-amzn-ErrorType", error.error_type),
        ]
        for name, expression in configured.headers.items() if configured else ():
            value = expression[1:-1] if expression.startswith("'") else substituted(f"${expression}")
            if value:
                headers = [pair for pair in headers if pair[0].lower() != name.lower()]
                headers.append((name, value))
        return Response(status, tuple(headers), substituted(template).encode())

    def _value(self, root: str, name: str, request: Request, call: Call | None, variables: Mapping[str, str]) -> str:
        """Return the value of a variable, empty without one."""
        if root == "context":
            return variables.get(name, "")
        if root == "stageVariables":
            return self._api.stage_variables.get(name, "")
        _, part, key = name.split(".", 2)
        if part in ("header", "multivalueheader"):
            return request.header(key) or ""
        if part == "path":
            return call.parameters.get(key, "") if call else ""
        return dict(query_parameters(self._api, request)).get(key, "")


def _flattened(members: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the variables of `$context`, such as `identity.sourceIp`, and their values."""
    for name, value in members.items():
        if isinstance(value, Mapping):
            yield from _flattened(value, f"{prefix}{name}.")
        elif value is not None:
            yield f"{prefix}{name}", str(value)


def _template(error: GatewayError, configured: GatewayResponse | None) -> tuple[str, str]:
    templates = dict(configured.templates) if configured else {}
    if templates and "application/json" not in templates:
        return next(iter(templates.items()))
    name = "Message" if configured is None and error.kind == "ACCESS_DENIED" else "message"
    default = f'{{"{name}":$context.error.messageString}}'
    return "application/json", templates.get("application/json", default)


def _http_api_response(error: GatewayError, ids: RequestIds) -> Response:
    status, message = _HTTP_API_RESPONSES.get(error.kind, (500, "Internal Server Error"))
    headers = [("Content-Type", "application/json"), ("Apigw-Requestid", ids.extended_request_id)]
    if error.challenge is not None:
        headers.append(("www-authenticate", error.challenge))
    return Response(status, tuple(headers), f'{{"message":"{message}"}}'.encode())


def _check_expression(expression: str, where: str) -> None:
    literal = len(expression) > 1 and expression[0] == expression[-1] == "'"
    if literal and not expression[1:-1].isprintable():
        raise TemplateError(f"{where}: {expression!r} cannot be a header's value")
    if literal:
        return
    match = _VARIABLE.fullmatch(f"${expression}")
    if match is None:
        raise TemplateError(f"{where}: {expression!r} is not a header expression; a literal needs single quotes")
    _check_variable(match[1], match[2], where)


def _check_variable(root: str, path: str, where: str) -> None:
    parts = path[1:].split(".")
    if root == "context":
        known = ".".join(parts) in _CONTEXT or f"{parts[0]}.*" in _CONTEXT
    elif root == "method":
        known = len(parts) > 2 and parts[0] == "request" and parts[1] in _REQUEST_PARTS
    else:
        known = len(parts) == 1
    if not known:
        raise TemplateError(f"{where}: ${root}{path} does not exist")
