"""The native guards of a template or of an account: JWT authorizers, and load balancers that verify JWTs."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .cloudformation import Resolver, TemplateError
from .guards import Guard

_CONFIGURATIONS = frozenset({"jwtconfiguration", "jwtvalidationconfig"})


@dataclass(frozen=True)
class NativeGuard:
    """A guard and an issuer that it trusts. An empty set of audiences means any."""

    guard: Guard
    name: str
    issuer: str
    audiences: frozenset[str]
    jwks_endpoint: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.guard})"


def native_guards(
    document: Mapping[str, Any], values: Mapping[str, str], imports: Mapping[str, str]
) -> list[NativeGuard]:
    """Return the native guards of a template, as resources or in OpenAPI definitions.

    Parameters have their defaults, or `values`, which has pseudo parameters too. `imports` are the
    exports of stacks.

    Raises:
        TemplateError: it has no resources, or an issuer, audience or key set URL is not known from the template.
    """
    defaults = {name: each["Default"] for name, each in document.get("Parameters", {}).items() if "Default" in each}
    resolver = Resolver({**defaults, **values}, document.get("Conditions", {}), document.get("Mappings", {}), imports)
    resources = document.get("Resources")
    if not isinstance(resources, dict):
        raise TemplateError("there are no Resources")
    found = [
        guard
        for name, resource in resources.items()
        for configuration in _configurations(resource)
        for guard in _read(name, _lower(resolver.resolve(configuration, name)))
    ]
    return list(dict.fromkeys(found))


def deployed_authorizers(client: Callable[[str], Any]) -> Iterator[NativeGuard]:
    """Yield the JWT authorizers of the REST and HTTP APIs of an account and region.

    `client` returns a boto3 client. Load balancers are not read.
    """
    rest, http = client("apigateway"), client("apigatewayv2")
    for page in rest.get_paginator("get_rest_apis").paginate():
        for api in page["items"]:
            for found in rest.get_authorizers(restApiId=api["id"]).get("items", []):
                if "jwtConfiguration" in found:
                    yield from _read(f"{api['name']} {api['id']}", _lower(found["jwtConfiguration"]))
    for page in http.get_paginator("get_apis").paginate():
        for api in page["Items"]:
            if api["ProtocolType"] == "HTTP":
                for found in http.get_authorizers(ApiId=api["ApiId"])["Items"]:
                    if found["AuthorizerType"] == "JWT":
                        yield from _read(f"{api['Name']} {api['ApiId']}", _lower(found["JwtConfiguration"]))


def _configurations(node: object) -> Iterator[object]:
    """Yield each JWT configuration in a resource. CloudFormation and OpenAPI have the same members."""
    if isinstance(node, dict):
        for key, value in node.items():
            if str(key).lower() in _CONFIGURATIONS:
                yield value
            else:
                yield from _configurations(value)
    elif isinstance(node, list):
        for value in node:
            yield from _configurations(value)


def _lower(node: Any) -> Any:
    """Return a configuration with keys in lower case."""
    if isinstance(node, dict):
        return {str(key).lower(): _lower(value) for key, value in node.items()}
    return [_lower(value) for value in node] if isinstance(node, list) else node


def _read(name: str, configuration: Mapping[str, Any]) -> Iterator[NativeGuard]:
    try:
        if "issuers" in configuration:
            for trusted in configuration["issuers"]:
                yield NativeGuard(Guard.REST_JWT, name, trusted["issuer"], frozenset(trusted["audiences"]))
        elif "jwksendpoint" in configuration:
            claims = configuration.get("additionalclaims", [])
            audiences = [value for claim in claims if claim["name"] == "aud" for value in claim["values"]]
            endpoint = configuration["jwksendpoint"]
            yield NativeGuard(Guard.ALB, name, configuration["issuer"], frozenset(audiences), endpoint)
        else:
            yield NativeGuard(Guard.HTTP_JWT, name, configuration["issuer"], frozenset(configuration["audience"]))
    except (KeyError, TypeError) as error:
        raise TemplateError(f"{name}: the JWT configuration is not complete: {error}") from error
