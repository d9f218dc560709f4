"""Read an AWS::Serverless::Api, and the Api events that belong to it, into an API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, cast

from infra.cloudformation import TemplateError
from local.gateway.declarations import (
    DEFAULT_CACHE_SECONDS,
    checked_routes,
    known,
    milliseconds,
    rate_limit,
)
from local.gateway.model import Api, Authorizer, GatewayResponse, IdentitySource, RateLimit, Route

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from infra.cloudformation import Resource
    from local.gateway.template import Template

__all__ = ["read"]

_GATEWAY_RESPONSES = {
    "ACCESS_DENIED",
    "API_CONFIGURATION_ERROR",
    "AUTHORIZER_CONFIGURATION_ERROR",
    "AUTHORIZER_FAILURE",
    "BAD_REQUEST_BODY",
    "BAD_REQUEST_PARAMETERS",
    "DEFAULT_4XX",
    "DEFAULT_5XX",
    "EXPIRED_TOKEN",
    "INTEGRATION_FAILURE",
    "INTEGRATION_TIMEOUT",
    "INVALID_API_KEY",
    "INVALID_SIGNATURE",
    "MISSING_AUTHENTICATION_TOKEN",
    "QUOTA_EXCEEDED",
    "REQUEST_TOO_LARGE",
    "RESOURCE_NOT_FOUND",
    "THROTTLED",
    "UNAUTHORIZED",
    "UNSUPPORTED_MEDIA_TYPE",
    "WAF_FILTERED",
}
_TIMEOUT = 29.0
# Events that start a function without an API.
_OTHER_EVENTS = {"CloudWatchEvent", "EventBridgeRule", "Schedule", "ScheduleV2"}


def read(template: Template, resource: Resource) -> Api:
    """The REST API that `resource` declares.

    Raises:
        TemplateError: it uses something that cannot be played.
    """
    return _RestReader(template, resource).read()


class _RestReader:
    """Holds what the parts of a REST API are read with."""

    def __init__(self, template: Template, resource: Resource) -> None:
        self._template = template
        self._id = resource.logical_id
        self._properties = resource.properties
        self._resolver = template.resolver()

    def read(self) -> Api:
        properties, where = self._properties, self._id
        known(
            properties,
            [
                "Auth",
                "BinaryMediaTypes",
                "GatewayResponses",
                "MethodSettings",
                "StageName",
                "Variables",
            ],
            [
                "AccessLogSetting",
                "AlwaysDeploy",
                "CanarySetting",
                "Description",
                "DisableExecuteApiEndpoint",
                "Domain",
                "EndpointConfiguration",
                "Mode",
                "Name",
                "OpenApiVersion",
                "PropagateTags",
                "SecurityPolicy",
                "Tags",
                "TracingEnabled",
            ],
            where,
        )
        auth = properties.get("Auth", {})
        known(
            auth,
            ["AddDefaultAuthorizerToCorsPreflight", "Authorizers", "DefaultAuthorizer"],
            ["InvokeRole"],
            f"{where}.Auth",
        )
        authorizers = {
            name: self._authorizer(name, declared)
            for name, declared in auth.get("Authorizers", {}).items()
        }
        default = auth.get("DefaultAuthorizer", "NONE")
        routes = [
            (self._route(function, event, where, authorizers, default), where)
            for function, event, where in self._events()
        ]
        resolver = self._resolver
        return Api(
            logical_id=self._id,
            api_id=resolver.text({"Ref": self._id}, where),
            kind="rest",
            stage=resolver.text(properties.get("StageName"), f"{where}.StageName"),
            routes=checked_routes(routes),
            gateway_responses={
                kind: self._gateway_response(kind, declared)
                for kind, declared in properties.get("GatewayResponses", {}).items()
            },
            stage_variables={
                name: resolver.text(value, f"{where}.Variables.{name}")
                for name, value in properties.get("Variables", {}).items()
            },
            binary_media_types=tuple(
                resolver.text(item, f"{where}.BinaryMediaTypes").replace("~1", "/")
                for item in properties.get("BinaryMediaTypes", [])
            ),
        )

    def _events(self) -> Iterator[tuple[str, Mapping[str, Any], str]]:
        for function, properties in self._template.function_properties():
            for name, event in properties.get("Events", {}).items():
                where = f"{function}.Events.{name}"
                kind = event.get("Type")
                if kind in _OTHER_EVENTS:
                    continue
                if kind != "Api":
                    raise TemplateError(f"{where}: {kind} events cannot be played on the laptop")
                declared = event.get("Properties", {})
                if declared.get("RestApiId") == {"Ref": self._id}:
                    yield function, declared, where
                elif "RestApiId" not in declared:
                    raise TemplateError(f"{where} names no RestApiId")

    def _rate_limit(self, method: str, path: str) -> RateLimit | None:
        """The limit of the most specific settings for the method; `~1` stands for a slash."""
        found: dict[tuple[str, str], RateLimit | None] = {}
        for settings in self._properties.get("MethodSettings", []):
            where = f"{self._id}.MethodSettings"
            resource = self._resolver.text(settings.get("ResourcePath", "/*"), where)
            resource = f"/{resource.replace('~1', '/').lstrip('/')}"
            verb = self._resolver.text(settings.get("HttpMethod", "*"), where)
            found[(resource, verb)] = rate_limit(settings, self._resolver, where)
        keys = ((path, method), (path, "*"), ("/*", method), ("/*", "*"))
        return next((found[key] for key in keys if found.get(key)), None)

    def _route(
        self,
        function: str,
        event: Mapping[str, Any],
        where: str,
        authorizers: Mapping[str, Authorizer],
        default: str,
    ) -> Route:
        known(event, ["Auth", "Method", "Path", "RestApiId", "TimeoutInMillis"], [], where)
        auth = event.get("Auth", {})
        known(auth, ["Authorizer"], [], f"{where}.Auth")
        name = auth.get("Authorizer", default)
        if name != "NONE" and name not in authorizers:
            raise TemplateError(f"{where}: there is no authorizer {name}")
        method = self._resolver.text(event.get("Method"), f"{where}.Method").upper()
        path = self._resolver.text(event.get("Path"), f"{where}.Path")
        return Route(
            method=method,
            path=path,
            function=function,
            authorizer=authorizers.get(name),
            timeout=milliseconds(event, _TIMEOUT, self._resolver, where),
            rate_limit=self._rate_limit(method, path),
        )

    def _authorizer(self, name: str, declared: Mapping[str, Any]) -> Authorizer:
        where = f"{self._id}.Auth.{name}"
        known(
            declared,
            ["FunctionArn", "FunctionPayloadType", "Identity"],
            ["DisableFunctionDefaultPermissions", "FunctionInvokeRole"],
            where,
        )
        kind = declared.get("FunctionPayloadType", "TOKEN")
        if kind not in ("TOKEN", "REQUEST"):
            raise TemplateError(f"{where}: {kind} is neither TOKEN nor REQUEST")
        identity = declared.get("Identity", {})
        arn = self._resolver.text(declared.get("FunctionArn"), f"{where}.FunctionArn")
        cache = identity.get("ReauthorizeEvery", DEFAULT_CACHE_SECONDS)
        authorizer = Authorizer(
            name=name,
            function=self._template.function_by_arn(arn, where),
            kind=cast('Literal["TOKEN", "REQUEST"]', kind),
            identity_sources=self._identity_sources(kind, identity, where),
            cache_seconds=self._resolver.number(cache, f"{where}.ReauthorizeEvery"),
            validation_expression=identity.get("ValidationExpression"),
        )
        if authorizer.cache_seconds and not authorizer.identity_sources:
            raise TemplateError(f"{where}: results cannot be cached without an identity source")
        return authorizer

    @staticmethod
    def _identity_sources(
        kind: str, identity: Mapping[str, Any], where: str
    ) -> tuple[IdentitySource, ...]:
        if kind == "TOKEN":
            known(identity, ["Header", "ReauthorizeEvery", "ValidationExpression"], [], where)
            return (IdentitySource("header", identity.get("Header", "Authorization")),)
        known(
            identity,
            ["Context", "Headers", "QueryStrings", "ReauthorizeEvery", "StageVariables"],
            [],
            where,
        )
        return (
            *(IdentitySource("header", name) for name in identity.get("Headers", [])),
            *(IdentitySource("querystring", name) for name in identity.get("QueryStrings", [])),
            *(IdentitySource("context", name) for name in identity.get("Context", [])),
            *(
                IdentitySource("stage_variable", name)
                for name in identity.get("StageVariables", [])
            ),
        )

    def _gateway_response(self, kind: str, declared: Mapping[str, Any]) -> GatewayResponse:
        where = f"{self._id}.GatewayResponses.{kind}"
        if kind not in _GATEWAY_RESPONSES:
            raise TemplateError(f"{where}: there is no such gateway response")
        known(declared, ["ResponseParameters", "ResponseTemplates", "StatusCode"], [], where)
        parameters = declared.get("ResponseParameters", {})
        known(parameters, ["Headers"], [], f"{where}.ResponseParameters")
        status = declared.get("StatusCode")
        resolver = self._resolver
        return GatewayResponse(
            status=None if status is None else resolver.number(status, f"{where}.StatusCode"),
            headers={
                name: resolver.text(value, f"{where}.{name}")
                for name, value in parameters.get("Headers", {}).items()
            },
            templates={
                content_type: resolver.text(value, f"{where}.{content_type}")
                for content_type, value in declared.get("ResponseTemplates", {}).items()
            },
        )
