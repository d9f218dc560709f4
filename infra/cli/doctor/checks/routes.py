"""Routes of APIs compared with the scope maps of their authorizers."""

from collections.abc import Iterable, Iterator
from typing import Any

from botocore.exceptions import ClientError

from authorizer.scope_map import ScopeMapError, parse_api_rules
from infra.cli.doctor.context import CheckContext
from infra.cli.doctor.results import Check, Finding, either, failure, ok, warning
from infra.explain import route_faults

_GUARDED = "CUSTOM"
_TO_DO = "Name the route in the scope map, or take it out of the API or the map."


def sample_api(context: CheckContext) -> Iterator[Finding]:
    """The scope map names every guarded route of the sample API, and no other."""
    routes = _rest_routes(context, context.deployment.resource("GuardedApi"))
    faults = route_faults(routes, context.authorizer.scope_map)
    yield from either(
        [warning(fault, _TO_DO) for fault in faults],
        f"the scope map fits the {len(routes)} guarded routes",
    )


def apis_with_rules(context: CheckContext) -> Iterator[Finding]:
    """The rules of each API with the shared authorizer name its guarded routes, and no other."""
    path = context.function("SharedAuthorizer")["Environment"]["Variables"].get("API_RULES")
    pages = context.aws("ssm").get_paginator("get_parameters_by_path").paginate(Path=path)
    rules = [each for page in pages for each in page["Parameters"]] if path else []
    if not rules:
        yield ok("no API has rules for the shared authorizer")
    for each in rules:
        api = str(each["Name"]).rpartition("/")[2]
        yield from either(
            _rules_faults(context, api, each["Value"]), f"the rules of the API {api} fit its routes"
        )


def _rules_faults(context: CheckContext, api: str, text: str) -> Iterator[Finding]:
    try:
        rules = parse_api_rules(text.encode())
    except ScopeMapError as error:
        yield failure(
            f"the rules of the API {api} are not valid, and every request is answered 500: {error}",
            "Correct the parameter in Systems Manager.",
        )
        return
    routes = _routes(context, api)
    if routes is None:
        yield warning(f"there are rules for the API {api}, which does not exist", "Delete them.")
        return
    if not rules.audiences:
        yield warning(
            f"the API {api} accepts tokens for any audience, also those for other APIs",
            "Name the API's own audience in its rules.",
        )
    for fault in route_faults(routes, rules.scope_map):
        yield warning(f"API {api}: {fault}", _TO_DO)


def _routes(context: CheckContext, api: str) -> list[str] | None:
    """Return the guarded routes of a REST, HTTP or WebSocket API; None if there is no such API."""
    for read in (_rest_routes, _v2_routes):
        try:
            return read(context, api)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") != "NotFoundException":
                raise
    return None


def _rest_routes(context: CheckContext, api: str) -> list[str]:
    pages = context.aws("apigateway").get_paginator("get_resources")
    return [
        f"{method} {resource['path']}"
        for page in pages.paginate(restApiId=api, embed=["methods"])
        for resource in page["items"]
        for method, found in resource.get("resourceMethods", {}).items()
        if found.get("authorizationType") == _GUARDED
    ]


def _v2_routes(context: CheckContext, api: str) -> list[str]:
    pages: Iterable[dict[str, Any]] = (
        context.aws("apigatewayv2").get_paginator("get_routes").paginate(ApiId=api)
    )
    return [
        route["RouteKey"]
        for page in pages
        for route in page["Items"]
        if route.get("AuthorizationType") == _GUARDED
    ]


CHECKS = (
    Check("routes", "sample API", sample_api, in_account_only=True, of_sample_api=True),
    Check("routes", "APIs with rules", apis_with_rules, in_account_only=True),
)
