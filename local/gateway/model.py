"""Frozen descriptions of an API, read from the template."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

ApiKind = Literal["rest", "http"]
PayloadFormat = Literal["1.0", "2.0"]
IdentityPlace = Literal["header", "querystring", "stage_variable", "context"]

AnyMethod = "ANY"


@dataclass(frozen=True)
class IdentitySource:
    """One request value that identifies the caller to an authorizer."""

    place: IdentityPlace
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
class RateLimit:
    """A token bucket: `burst` requests at once, refilled with `rate` requests a second."""

    rate: float
    burst: float


@dataclass(frozen=True)
class Route:
    """One method on one path template, answered by the function with this logical id.

    `method` is `ANY` for every method; an HTTP API's `$default` route has the path `$default`.
    `timeout` is in seconds: how long API Gateway waits for the function.
    """

    method: str
    path: str
    function: str
    authorizer: Authorizer | None = None
    payload_format: PayloadFormat = "1.0"
    timeout: float = 29
    rate_limit: RateLimit | None = None

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

    def functions(self) -> frozenset[str]:
        """Logical ids of every function that this API calls, authorizers included."""
        routed = {route.function for route in self.routes}
        return frozenset(
            routed | {route.authorizer.function for route in self.routes if route.authorizer}
        )


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
