"""Requests, responses, and the description of an API that is read from a template."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

ApiKind = Literal["rest", "http"]
PayloadFormat = Literal["1.0", "2.0"]
IdentityLocation = Literal["header", "querystring", "stage_variable", "context"]

AnyMethod = "ANY"


@dataclass(frozen=True)
class IdentitySource:
    """One request value that identifies the caller to an authorizer."""

    location: IdentityLocation
    name: str


@dataclass(frozen=True)
class Authorizer:
    """A Lambda authorizer. `cache_seconds` 0 means that results are never reused."""

    name: str
    function: str
    kind: Literal["TOKEN", "REQUEST"]
    identity_sources: tuple[IdentitySource, ...]
    cache_seconds: int
    payload_format: PayloadFormat = "1.0"
    simple_responses: bool = False
    validation_expression: str | None = None


@dataclass(frozen=True)
class RequiredClaim:
    """An additional claim that a native JWT authorizer checks. Without `value`, any text is accepted."""

    name: str
    value: str | None = None
    required: bool = False


@dataclass(frozen=True)
class JwtIssuer:
    """An issuer that a native JWT authorizer trusts."""

    issuer: str
    audiences: frozenset[str]
    claims: tuple[RequiredClaim, ...] = ()


@dataclass(frozen=True)
class JwtAuthorizer:
    """A native JWT authorizer, which API Gateway runs without a function."""

    name: str
    source: IdentitySource
    issuers: tuple[JwtIssuer, ...]
    algorithms: frozenset[str]


@dataclass(frozen=True)
class RateLimit:
    """A token bucket: `burst` requests at once, refilled with `rate` requests a second."""

    rate: float
    burst: float


REST_API_TIMEOUT = 29.0
HTTP_API_TIMEOUT = 30.0
"""Seconds for which API Gateway waits for a function, unless the integration sets another time."""


@dataclass(frozen=True)
class Route:
    """One method on one path template, answered by the function with this logical id.

    `method` is `ANY` for every method; an HTTP API's `$default` route has the path `$default`. API Gateway waits
    `timeout` seconds for the function. A native JWT authorizer requires one of the `scopes` if there are any.
    """

    method: str
    path: str
    function: str
    authorizer: Authorizer | JwtAuthorizer | None = None
    payload_format: PayloadFormat = "1.0"
    timeout: float = REST_API_TIMEOUT
    rate_limit: RateLimit | None = None
    scopes: frozenset[str] = frozenset()

    @property
    def key(self) -> str:
        """The route as an HTTP API names it: `GET /path`, or `$default`."""
        return "$default" if self.path == "$default" else f"{self.method} {self.path}"


@dataclass(frozen=True)
class GatewayResponse:
    """A configured gateway response: header expressions and body templates as declared."""

    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    templates: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Api:
    """One API and its stage. `api_id` is part of host names and ARNs."""

    logical_id: str
    api_id: str
    kind: ApiKind
    stage: str
    routes: tuple[Route, ...]
    gateway_responses: Mapping[str, GatewayResponse] = field(default_factory=dict)
    stage_variables: Mapping[str, str] = field(default_factory=dict)
    binary_media_types: tuple[str, ...] = ()

    @cached_property
    def base_path(self) -> str:
        """The stage in front of each path; empty for the stage `$default`."""
        return "" if self.stage == "$default" else f"/{self.stage}"

    def functions(self) -> frozenset[str]:
        """Logical ids of every function that this API calls, authorizers included."""
        called = {route.function for route in self.routes}
        return frozenset(called.union(each.function for each in self.lambda_authorizers()))

    def lambda_authorizers(self) -> frozenset[Authorizer]:
        """The Lambda authorizers of the routes."""
        return frozenset(each.authorizer for each in self.routes if isinstance(each.authorizer, Authorizer))


@dataclass(frozen=True)
class Function:
    """A Lambda function: `handler` is `package.module.function`, times are in seconds."""

    logical_id: str
    name: str
    arn: str
    handler: str
    environment: Mapping[str, str]
    timeout: int
    memory: int


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """A client's certificate, as in API Gateway's `identity.clientCert`. Times look like `May 28 12:30:02 2019 GMT`."""

    pem: str
    subject: str
    issuer: str
    serial_number: str
    not_before: str
    not_after: str


Limit = Callable[[float, Callable[[], "Response"]], None]
"""Sends a response if none was sent after some seconds."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it was sent: `path` and `query` percent-encoded, headers in order.

    `domain` and `port` are the API's address. They do not come from the Host header, because the caller writes it.
    `limit` sets the server's time limit for the response.
    """

    method: str
    path: str
    query: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    source_ip: str = "127.0.0.1"
    protocol: str = "HTTP/1.1"
    scheme: str = "http"
    client_certificate: ClientCertificate | None = None
    domain: str = "localhost"
    port: int = 80
    limit: Limit | None = None

    def header(self, name: str) -> str | None:
        """The last value of a header, its name compared without case."""
        return _last(self.headers, name)


@dataclass(frozen=True, slots=True)
class Response:
    """One answer. A HEAD request's answer has the body that a GET would have."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    def header(self, name: str) -> str | None:
        """The last value of a header, its name compared without case."""
        return _last(self.headers, name)


def _last(headers: tuple[tuple[str, str], ...], name: str) -> str | None:
    wanted = name.lower()
    for found, value in reversed(headers):
        if found.lower() == wanted:
            return value
    return None
