"""The native guards of a template or of an account: JWT authorizers, and load balancers that verify JWTs."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .cloudformation import Resolver, TemplateError, checked_types
from .guards import ALGORITHMS, Guard

_CONFIGURATIONS = frozenset({"jwtconfiguration", "jwtvalidationconfig"})


@dataclass(frozen=True)
class NativeGuard:
    """A guard and an issuer that it trusts. An empty set of audiences means any."""

    guard: Guard
    name: str
    issuer: str
    audiences: frozenset[str]
    jwks_endpoint: str = ""
    algorithms: frozenset[str] = frozenset()
    """The signature algorithms of a REST API's authorizer; empty for guards without this setting."""

    def accepts(self, algorithm: str) -> bool:
        """Return whether the guard accepts tokens that are signed with an algorithm."""
        return algorithm in ALGORITHMS[self.guard] and (not self.algorithms or algorithm in self.algorithms)

    def __str__(self) -> str:
        return f"{self.name} ({self.guard})"


def native_guards(document: object, values: Mapping[str, str], imports: Mapping[str, str]) -> list[NativeGuard]:
    """Return the native guards of a template, as resources or in OpenAPI definitions.

    Parameters have their defaults, or `values`, which has pseudo parameters too. `imports` are the exports of stacks.

    Raises:
        TemplateError: it has no resources, or an issuer, audience or key set URL is not known from the template.
    """
    if not isinstance(document, dict) or "Resources" not in document:
        raise TemplateError("there are no Resources")
    sections = {name: document.get(name, {}) for name in ("Parameters", "Conditions", "Mappings", "Resources")}
    for name, section in sections.items():
        if not isinstance(section, dict):
            raise TemplateError(f"{name} is not an object")
    defaults = {
        name: each["Default"]
        for name, each in sections["Parameters"].items()
        if isinstance(each, dict) and "Default" in each
    }
    resolver = Resolver({**defaults, **values}, sections["Conditions"], sections["Mappings"], imports)
    found = [
        guard
        for name, resource in sections["Resources"].items()
        for configuration in _configurations(resource)
        for guard in _read(name, _lower(resolver.resolve(configuration, name)))
    ]
    return list(dict.fromkeys(found))


def deployed_guards(client: Callable[[str], Any]) -> Iterator[NativeGuard]:
    """Yield the native guards of the APIs and load balancers of an account and region.

    `client` returns a boto3 client.
    """
    yield from _authorizers(client("apigateway"), client("apigatewayv2"))
    yield from _load_balancer_rules(client("elbv2"))


def _authorizers(rest: Any, http: Any) -> Iterator[NativeGuard]:
    """Yield the JWT authorizers of REST and HTTP APIs."""
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


def _load_balancer_rules(elb: Any) -> Iterator[NativeGuard]:
    """Yield the rules that verify JWTs, and default actions, which AWS returns as rules, too."""
    for page in elb.get_paginator("describe_load_balancers").paginate():
        for balancer in page["LoadBalancers"]:
            if balancer["Type"] != "application":
                continue
            for listeners in elb.get_paginator("describe_listeners").paginate(
                LoadBalancerArn=balancer["LoadBalancerArn"]
            ):
                for listener in listeners["Listeners"]:
                    name = f"{balancer['LoadBalancerName']}:{listener['Port']}"
                    rules = elb.get_paginator("describe_rules").paginate(ListenerArn=listener["ListenerArn"])
                    for rule in (each for found in rules for each in found["Rules"]):
                        for configuration in _configurations(rule["Actions"]):
                            yield from _read(f"{name} rule {rule['Priority']}", _lower(configuration))


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


def _read(name: str, configuration: Any) -> Iterator[NativeGuard]:
    with checked_types(f"{name}: the JWT configuration is not complete"):
        if "issuers" in configuration:
            algorithms = _texts(configuration.get("defaultalgorithms", []))
            for trusted in configuration["issuers"]:
                issuer, audiences = _text(trusted["issuer"]), _texts(trusted["audiences"])
                yield NativeGuard(Guard.REST_JWT, name, issuer, audiences, algorithms=algorithms)
        elif "jwksendpoint" in configuration:
            claims = configuration.get("additionalclaims", [])
            allowed = [_texts(claim["values"]) for claim in claims if claim["name"] == "aud"]
            endpoint = _text(configuration["jwksendpoint"])
            yield NativeGuard(Guard.ALB, name, _text(configuration["issuer"]), frozenset().union(*allowed), endpoint)
        else:
            issuer = _text(configuration["issuer"])
            yield NativeGuard(Guard.HTTP_JWT, name, issuer, _texts(configuration["audience"]))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a text")
    return value


def _texts(value: object) -> frozenset[str]:
    """Return a list of texts. CloudFormation takes a text as a list of one."""
    if isinstance(value, str):
        return frozenset((value,))
    if not isinstance(value, list):
        raise TypeError(f"{value!r} is not a list")
    return frozenset(map(_text, value))
