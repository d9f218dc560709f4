"""Build the events that API Gateway sends to functions and to authorizers.

A REST API passes paths as the client encoded them. An HTTP API passes them decoded. API Gateway Developer Guide: "Input
format of a Lambda function for proxy integration"; "Create AWS Lambda proxy integrations for HTTP APIs"; "Input to an
API Gateway Lambda authorizer".
"""

import base64
import hashlib
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

from local.addresses import AwsAccount
from local.gateway.model import Api, Authorizer, ClientCertificate, JwtAuthorizer, Request, Route
from local.gateway.routing import without_extra_slashes

# Bodies that an HTTP API passes as text. All others, forms included, are base64.
_HTTP_API_TEXT = re.compile(
    r"text/[^;]+|application/(json|javascript|xml)\b.*|application/[^;]+\+(json|xml)\b.*", re.IGNORECASE
)
# Headers that concern one connection, or that the gateway sets itself.
_REPLACED = {
    *"connection content-length expect keep-alive te trailer transfer-encoding upgrade".split(),
    *"x-amzn-trace-id x-forwarded-port x-forwarded-proto".split(),
}
# A REST API drops these as well.
_REST_REPLACED = _REPLACED.union("content-md5 max-forwards proxy-authenticate server www-authenticate".split())
# Set for callers with AWS credentials only.
_IAM_IDENTITY = (
    "accessKey accountId caller cognitoAuthenticationProvider cognitoAuthenticationType "
    "cognitoIdentityId cognitoIdentityPoolId principalOrgId user userArn"
).split()


@dataclass(frozen=True, slots=True)
class RequestIds:
    """The ids that API Gateway gives a request. Those of an HTTP API are equal."""

    request_id: str
    extended_request_id: str


@dataclass(frozen=True, slots=True)
class Call:
    """A request on its way to a route.

    `sent_path` is the path after the stage, with every slash as sent. `requested_at` is in seconds since the epoch.
    """

    api: Api
    account: AwsAccount
    request: Request
    route: Route
    sent_path: str
    parameters: Mapping[str, str]
    ids: RequestIds
    trace_id: str
    requested_at: float

    @property
    def path(self) -> str:
        """The path after the stage in an event. A REST API drops doubled slashes at its start."""
        return f"/{self.sent_path.lstrip('/')}" if self.api.kind == "rest" else self.sent_path

    @property
    def method_arn(self) -> str:
        """The ARN that the authorizer gets. Its path has no extra slashes."""
        return self._arn(without_extra_slashes(self.sent_path))

    @property
    def method_arns(self) -> frozenset[str]:
        """Every ARN that API Gateway may compare with a policy.

        AWS does not document whether that is the path as sent, of the event, or as routed.
        """
        return frozenset({self.method_arn, self._arn(self.path), self._arn(self.sent_path)})

    def _arn(self, path: str) -> str:
        return self.account.execute_api_arn(self.api.api_id, self.api.stage, self.request.method, path)

    @property
    def response_trace_id(self) -> str:
        """The trace ID of the response, which names a parent as well."""
        if ";Parent=" in self.trace_id:
            return self.trace_id
        root, _, sampled = self.trace_id.partition(";")
        return f"{root};Parent={secrets.token_hex(8)};{sampled or 'Sampled=0'}"

    @property
    def stage_path(self) -> str:
        """The path as sent with the stage in front, unless the stage is `$default`."""
        return self.api.base_path + self.sent_path


def proxy_event(call: Call, authorizer: Mapping[str, object] | None) -> dict[str, Any]:
    """Return the event for the route's function, with the context of its authorizer."""
    body, encoded = _body(call)
    if call.api.kind == "http" and call.route.payload_format == "2.0":
        event = _common_2(call)
        if authorizer is not None:
            kind = "jwt" if isinstance(call.route.authorizer, JwtAuthorizer) else "lambda"
            event["requestContext"]["authorizer"] = {kind: dict(authorizer)}
        if body is not None:
            event["body"] = body
        return {**event, "isBase64Encoded": encoded}
    event = {name: value or None for name, value in _common_1(call).items()}
    if authorizer is not None:
        event["requestContext"]["authorizer"] = dict(authorizer)
    elif call.api.kind == "http":
        event["requestContext"]["authorizer"] = {"claims": None, "scopes": None}
    return {**event, "body": body, "isBase64Encoded": encoded}


def authorizer_event(call: Call, authorizer: Authorizer, identity: tuple[str, ...]) -> dict[str, Any]:
    """Return the event for an authorizer, with the values of its identity sources."""
    arn = call.method_arn
    if authorizer.kind == "TOKEN":
        return {"type": "TOKEN", "methodArn": arn, "authorizationToken": identity[0]}
    if call.api.kind == "rest":
        return {"type": "REQUEST", "methodArn": arn, **_common_1(call)}
    if authorizer.payload_format == "2.0":
        return {"type": "REQUEST", "routeArn": arn, "identitySource": list(identity), **_common_2(call)}
    joined = ",".join(identity)
    tokens = {"identitySource": joined, "authorizationToken": joined}
    return {"type": "REQUEST", "methodArn": arn, **tokens, **_common_1(call)}


def _common_1(call: Call) -> dict[str, Any]:
    """Return the members that both events have in a REST API and in payload format 1.0."""
    headers = _headers(call)
    query = query_parameters(call.api, call.request)
    event: dict[str, Any] = {
        "resource": call.route.path,
        "path": call.path if call.api.kind == "rest" else call.stage_path,
        "httpMethod": call.request.method,
        "headers": dict(headers),
        "multiValueHeaders": _grouped(headers),
        "queryStringParameters": dict(query),
        "multiValueQueryStringParameters": _grouped(query),
        "pathParameters": dict(call.parameters),
        "stageVariables": dict(call.api.stage_variables),
        "requestContext": request_context(call),
    }
    return event if call.api.kind == "rest" else {"version": "1.0", **event}


def _common_2(call: Call) -> dict[str, Any]:
    """Return the members that both events have in payload format 2.0. Empty ones are absent."""
    headers: dict[str, str] = {}
    cookies: list[str] = []
    for name, value in _headers(call):
        if name == "cookie":
            cookies.extend(part.strip() for part in value.split(";"))
        else:
            headers[name] = f"{headers[name]},{value}" if name in headers else value
    query = _grouped(query_parameters(call.api, call.request))
    optional = {
        "cookies": cookies,
        "queryStringParameters": {name: ",".join(values) for name, values in query.items()},
        "stageVariables": dict(call.api.stage_variables),
        "pathParameters": dict(call.parameters),
    }
    return {
        "version": "2.0",
        "routeKey": call.route.key,
        "rawPath": call.stage_path,
        "rawQueryString": call.request.query,
        "headers": headers,
        "requestContext": _context_2(call),
        **{name: value for name, value in optional.items() if value},
    }


def _context(call: Call) -> dict[str, Any]:
    """Return what `requestContext` has in both formats."""
    return {
        "accountId": call.account.account_id,
        "apiId": call.api.api_id,
        "domainName": call.request.domain,
        "domainPrefix": call.request.domain.partition(".")[0],
        "requestId": call.ids.request_id,
        "stage": call.api.stage,
    }


def request_context(call: Call) -> dict[str, Any]:
    """Return `requestContext` of REST APIs and of payload format 1.0."""
    request, rest = call.request, call.api.kind == "rest"
    identity: dict[str, Any] = {
        **dict.fromkeys(_IAM_IDENTITY),
        "sourceIp": request.source_ip,
        "userAgent": request.header("user-agent"),
    }
    if request.client_certificate is not None:
        identity["clientCert"] = _certificate(request.client_certificate)
    context = {
        **_context(call),
        "extendedRequestId": call.ids.extended_request_id,
        "httpMethod": request.method,
        "identity": identity,
        "path": call.stage_path,
        "protocol": request.protocol,
        "requestTime": _request_time(int(call.requested_at)),
        "requestTimeEpoch": int(call.requested_at * 1000),
        "resourceId": _short_id(call.route.path) if rest else call.route.key,
        "resourcePath": call.route.path,
    }
    return {**context, "deploymentId": _short_id(call.api.api_id)} if rest else context


def _context_2(call: Call) -> dict[str, Any]:
    """`requestContext` of payload format 2.0."""
    request = call.request
    context: dict[str, Any] = {
        **_context(call),
        "http": {
            "method": request.method,
            "path": call.stage_path,
            "protocol": request.protocol,
            "sourceIp": request.source_ip,
            "userAgent": request.header("user-agent") or "",
        },
        "routeKey": call.route.key,
        "time": _request_time(int(call.requested_at)),
        "timeEpoch": int(call.requested_at * 1000),
    }
    if request.client_certificate is not None:
        context["authentication"] = {"clientCert": _certificate(request.client_certificate)}
    return context


def _certificate(certificate: ClientCertificate) -> dict[str, Any]:
    return {
        "clientCertPem": certificate.pem,
        "subjectDN": certificate.subject,
        "issuerDN": certificate.issuer,
        "serialNumber": certificate.serial_number,
        "validity": {"notBefore": certificate.not_before, "notAfter": certificate.not_after},
    }


def _headers(call: Call) -> list[tuple[str, str]]:
    """Return the headers, with the gateway's. An HTTP API passes names in lower case."""
    request = call.request
    rest = call.api.kind == "rest"
    forwarded: list[str] = []
    headers: list[tuple[str, str]] = []
    for name, value in request.headers:
        lower = name.lower()
        if lower == "x-forwarded-for":
            forwarded.append(value)
        elif not rest and lower not in _REPLACED:
            headers.append((lower, value))
        elif rest and lower not in _REST_REPLACED:
            # Recorded: a REST API changes the spelling of this header only.
            headers.append(("Authorization" if lower == "authorization" else name, value))
    if request.body and not rest:
        headers.append(("content-length", str(len(request.body))))
    added = (
        ("X-Amzn-Trace-Id", call.trace_id),
        ("X-Forwarded-For", ", ".join([*forwarded, request.source_ip])),
        ("X-Forwarded-Port", str(request.port)),
        ("X-Forwarded-Proto", request.scheme),
    )
    headers += added if rest else [(name.lower(), value) for name, value in added]
    return headers


def _body(call: Call) -> tuple[str | None, bool]:
    """Return the body for the event, and True if it is base64."""
    body = call.request.body
    if not body:
        return None, False
    content_type = call.request.header("content-type") or ""
    if call.api.kind == "rest":
        media_type = content_type.partition(";")[0].strip().lower()
        binary = is_binary(media_type, call.api.binary_media_types)
    else:
        binary = _HTTP_API_TEXT.match(content_type.strip()) is None
    if binary:
        return base64.b64encode(body).decode("ascii"), True
    return body.decode("utf-8", "replace"), False


def is_binary(media_type: str, patterns: tuple[str, ...]) -> bool:
    """Return whether a REST API's binary media types include `media_type`."""
    any_subtype = f"{media_type.partition('/')[0]}/*"
    return any(pattern in ("*/*", media_type) or pattern.lower() == any_subtype for pattern in patterns)


def _grouped(pairs: list[tuple[str, str]]) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for name, value in pairs:
        grouped.setdefault(name, []).append(value)
    return grouped


@lru_cache(maxsize=1)
def _request_time(second: int) -> str:
    return time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(second))


@lru_cache(maxsize=1024)
def _short_id(text: str) -> str:
    """Return an id of six characters, as API Gateway generates them, always the same for a text."""
    digest = hashlib.sha256(text.encode()).digest()
    return base64.b32encode(digest)[:6].decode("ascii").lower()


def query_parameters(api: Api, request: Request) -> list[tuple[str, str]]:
    """Return the decoded parameters of the query. A REST API splits at `;` as well."""
    query = request.query.replace(";", "&") if api.kind == "rest" else request.query
    return parse_qsl(query, keep_blank_values=True)
