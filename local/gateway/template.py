"""Read template.yaml into the APIs and functions that the gateway plays."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, cast

from local.gateway.cloudformation import Resolver, Resource, TemplateError, load
from local.gateway.model import (
    Api,
    Authorizer,
    Function,
    GatewayResponse,
    IdentitySource,
    PayloadFormat,
    Route,
)
from local.place import LAPTOP, Place

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

__all__ = ["Template", "TemplateError"]

_FUNCTION = "AWS::Serverless::Function"
_REST_API = "AWS::Serverless::Api"
_HTTP_API = "AWS::ApiGatewayV2::Api"
_HTTP_STAGE = "AWS::ApiGatewayV2::Stage"
_HTTP_ROUTE = "AWS::ApiGatewayV2::Route"
_HTTP_INTEGRATION = "AWS::ApiGatewayV2::Integration"
_HTTP_AUTHORIZER = "AWS::ApiGatewayV2::Authorizer"

_PLAYED = {
    _FUNCTION,
    _REST_API,
    _HTTP_API,
    _HTTP_STAGE,
    _HTTP_ROUTE,
    _HTTP_INTEGRATION,
    _HTTP_AUTHORIZER,
}
# Resources of the services we play that change nothing about how a request is answered.
_HARMLESS = {
    "AWS::ApiGateway::Account",
    "AWS::ApiGateway::BasePathMapping",
    "AWS::ApiGateway::DomainName",
    "AWS::ApiGatewayV2::ApiMapping",
    "AWS::ApiGatewayV2::DomainName",
}
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
# Events that start a function without an API.
_OTHER_EVENTS = {"CloudWatchEvent", "EventBridgeRule", "Schedule", "ScheduleV2"}
_METHOD = re.compile(r"[A-Z]+")
_PATH = re.compile(r"/|(/([^/{}]+|\{[A-Za-z0-9._-]+\}))*(/\{[A-Za-z0-9._-]+\+\})?")
_AUTHORIZER_URI = re.compile(r"arn:[^:]+:apigateway:[^:]*:lambda:path/[^/]+/functions/(.+)/.+")
_HTTP_SOURCE = re.compile(r"\$(?:request\.(header|querystring)|(context|stageVariables))\.(.+)")
_DEFAULT_TIMEOUT = 3
_DEFAULT_MEMORY = 128
_DEFAULT_CACHE_SECONDS = 300


def _known(
    properties: Mapping[str, Any], played: Collection[str], harmless: Collection[str], where: str
) -> None:
    """Refuse properties that are neither played nor known to make no difference here."""
    unknown = sorted(set(properties) - set(played) - set(harmless))
    if unknown:
        raise TemplateError(f"{where}: {', '.join(unknown)} cannot be played on the laptop")


@dataclass(frozen=True)
class Template:
    """A template with values for its parameters.

    Names that the laptop gives by rule: functions are called `<stack>-<logical id>`, an API's id
    is its logical id in lower case. Other resources (tables, secrets, keys) get theirs from
    whoever makes them, through the `values` of the methods below: `Ref` values by logical id,
    attributes as `LogicalId.Arn`.
    """

    path: Path
    document: Mapping[str, Any]
    parameters: Mapping[str, str]
    place: Place = LAPTOP
    resources: Mapping[str, Resource] = field(default_factory=dict)

    @classmethod
    def read(
        cls, path: Path, parameters: Mapping[str, str] | None = None, place: Place = LAPTOP
    ) -> Template:
        """Read the template at `path`; `parameters` override the defaults declared there.

        Raises:
            TemplateError: it cannot be read, or declares something that cannot be played.
        """
        document = load(path)
        given = dict(parameters or {})
        values: dict[str, str] = {}
        for name, declared in document.get("Parameters", {}).items():
            if name in given:
                values[name] = given.pop(name)
            elif "Default" in declared:
                values[name] = str(declared["Default"])
            else:
                raise TemplateError(f"parameter {name} has no default and no value")
        if given:
            raise TemplateError(f"there is no parameter {', '.join(sorted(given))}")
        bare = cls(path, document, values, place)
        return cls(path, document, values, place, {r.logical_id: r for r in bare._read()})

    def _read(self) -> Iterator[Resource]:
        resolver = self.resolver()
        _known(self.document.get("Globals", {}), ["Function"], [], "Globals")
        for logical_id, declared in self.document["Resources"].items():
            kind = declared.get("Type")
            if not isinstance(kind, str):
                raise TemplateError(f"{logical_id} has no Type")
            ours = kind.startswith(("AWS::Serverless::", "AWS::ApiGateway"))
            if ours and kind not in _PLAYED | _HARMLESS:
                raise TemplateError(f"{logical_id}: {kind} cannot be played on the laptop")
            condition = declared.get("Condition")
            if condition is None or resolver.condition(condition, logical_id):
                yield Resource(logical_id, kind, declared.get("Properties", {}))

    def of_type(self, kind: str) -> tuple[Resource, ...]:
        """The resources of a type, such as `AWS::DynamoDB::Table`, in the template's order."""
        return tuple(r for r in self.resources.values() if r.type == kind)

    def resolver(self, values: Mapping[str, str] | None = None) -> Resolver:
        """A resolver that knows pseudo parameters, parameters, functions, APIs and `values`."""
        known: dict[str, Any] = {**self.place.pseudo_parameters(), **self.parameters}
        for resource in self.resources.values():
            if resource.type == _FUNCTION:
                name = self._function_name(resource)
                known[resource.logical_id] = name
                known[f"{resource.logical_id}.Arn"] = self.place.function_arn(name)
            elif resource.type in (_REST_API, _HTTP_API):
                known[resource.logical_id] = self._api_id(resource)
                known[f"{resource.logical_id}.ApiId"] = self._api_id(resource)
            elif resource.type.startswith("AWS::ApiGatewayV2::"):
                known[resource.logical_id] = resource.logical_id
        return Resolver(
            {**known, **(values or {})},
            self.document.get("Conditions", {}),
            self.document.get("Mappings", {}),
        )

    def properties(self, logical_id: str, values: Mapping[str, str]) -> dict[str, Any]:
        """A resource's properties with every intrinsic function resolved."""
        resource = self.resources[logical_id]
        return cast(
            "dict[str, Any]", self.resolver(values).resolve(resource.properties, logical_id)
        )

    def function(
        self,
        logical_id: str,
        values: Mapping[str, str] | None = None,
        origins: Mapping[str, str] | None = None,
    ) -> Function:
        """The function, its environment resolved with `values`.

        `origins` gives APIs other addresses, by logical id: `https://<api>.execute-api…` in the
        environment becomes that origin, for instance `http://localhost:8085`.
        """
        resource = self.resources.get(logical_id)
        if resource is None or resource.type != _FUNCTION:
            raise TemplateError(f"{logical_id} is not a function")
        resolver = self.resolver(values)
        properties = self._function_properties(resource)
        name = self._function_name(resource)
        variables = properties.get("Environment", {}).get("Variables", {})
        return Function(
            logical_id=logical_id,
            name=name,
            arn=self.place.function_arn(name),
            handler=resolver.text(properties.get("Handler"), f"{logical_id}.Handler"),
            environment={
                key: self._relocated(
                    resolver.text(value, f"{logical_id}.Environment.{key}"), origins or {}
                )
                for key, value in variables.items()
            },
            timeout=resolver.number(
                properties.get("Timeout", _DEFAULT_TIMEOUT), f"{logical_id}.Timeout"
            ),
            memory=resolver.number(
                properties.get("MemorySize", _DEFAULT_MEMORY), f"{logical_id}.MemorySize"
            ),
        )

    def api(self, logical_id: str) -> Api:
        """The API with this logical id.

        Raises:
            TemplateError: there is none, or it uses something that cannot be played.
        """
        resource = self.resources.get(logical_id)
        if resource is not None and resource.type == _REST_API:
            return _RestReader(self, resource).read()
        if resource is not None and resource.type == _HTTP_API:
            return _HttpReader(self, resource).read()
        raise TemplateError(f"{logical_id} is not an API")

    def function_by_arn(self, arn: str, where: str) -> str:
        """Logical id of the function with this ARN."""
        for resource in self.of_type(_FUNCTION):
            if self.place.function_arn(self._function_name(resource)) == arn:
                return resource.logical_id
        raise TemplateError(f"{where}: {arn} is none of this template's functions")

    def function_properties(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Logical id and properties, Globals merged in, of every function."""
        for resource in self.of_type(_FUNCTION):
            yield resource.logical_id, self._function_properties(resource)

    def _function_properties(self, resource: Resource) -> dict[str, Any]:
        shared = self.document.get("Globals", {}).get("Function", {})
        merged = {**shared, **resource.properties}
        variables = {
            **shared.get("Environment", {}).get("Variables", {}),
            **resource.properties.get("Environment", {}).get("Variables", {}),
        }
        if variables:
            merged["Environment"] = {"Variables": variables}
        _known(
            merged,
            ["Environment", "Events", "FunctionName", "Handler", "MemorySize", "Timeout"],
            [
                "Architectures",
                "AutoPublishAlias",
                "CodeUri",
                "DeploymentPreference",
                "Description",
                "EphemeralStorage",
                "KmsKeyArn",
                "LoggingConfig",
                "PermissionsBoundary",
                "Policies",
                "ProvisionedConcurrencyConfig",
                "ReservedConcurrentExecutions",
                "Role",
                "Runtime",
                "RuntimeManagementConfig",
                "SnapStart",
                "Tags",
                "Tracing",
            ],
            resource.logical_id,
        )
        return merged

    def _function_name(self, resource: Resource) -> str:
        name = resource.properties.get("FunctionName")
        if isinstance(name, str):
            return name
        if name is None:
            return f"{self.place.stack_name}-{resource.logical_id}"
        known = {**self.place.pseudo_parameters(), **self.parameters}
        return Resolver(known, {}, {}).text(name, f"{resource.logical_id}.FunctionName")

    @staticmethod
    def _api_id(resource: Resource) -> str:
        return resource.logical_id.lower()

    def _relocated(self, text: str, origins: Mapping[str, str]) -> str:
        for logical_id, origin in origins.items():
            if logical_id in self.resources:
                api_id = self._api_id(self.resources[logical_id])
                host = f"{api_id}.execute-api.{self.place.region}.{self.place.url_suffix}"
                text = text.replace(f"https://{host}", origin)
        return text


def _checked_route(route: Route, where: str) -> Route:
    if not _METHOD.fullmatch(route.method):
        raise TemplateError(f"{where}: {route.method!r} is no HTTP method")
    if route.path != "$default" and not _PATH.fullmatch(route.path):
        raise TemplateError(f"{where}: {route.path!r} is no path that can be played")
    return route


def _without_doubles(routes: list[Route], where: str) -> tuple[Route, ...]:
    seen: set[tuple[str, str]] = set()
    for route in routes:
        key = (route.method, route.path)
        if key in seen:
            raise TemplateError(f"{where}: {route.method} {route.path} is declared twice")
        seen.add(key)
    return tuple(routes)


class _RestReader:
    """Reads an AWS::Serverless::Api and the Api events that belong to it."""

    def __init__(self, template: Template, resource: Resource) -> None:
        self._template = template
        self._id = resource.logical_id
        self._properties = resource.properties
        self._resolver = template.resolver()

    def read(self) -> Api:
        properties, where = self._properties, self._id
        _known(
            properties,
            ["Auth", "BinaryMediaTypes", "GatewayResponses", "StageName", "Variables"],
            [
                "AccessLogSetting",
                "CanarySetting",
                "Description",
                "DisableExecuteApiEndpoint",
                "Domain",
                "EndpointConfiguration",
                "MethodSettings",
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
        _known(
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
            _checked_route(self._route(function, event, where, authorizers, default), where)
            for function, event, where in self._events()
        ]
        resolver = self._resolver
        return Api(
            logical_id=self._id,
            api_id=resolver.text({"Ref": self._id}, where),
            kind="rest",
            stage=resolver.text(properties.get("StageName"), f"{where}.StageName"),
            routes=_without_doubles(routes, where),
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

    def _route(
        self,
        function: str,
        event: Mapping[str, Any],
        where: str,
        authorizers: Mapping[str, Authorizer],
        default: str,
    ) -> Route:
        _known(event, ["Auth", "Method", "Path", "RestApiId"], [], where)
        auth = event.get("Auth", {})
        _known(auth, ["Authorizer"], [], f"{where}.Auth")
        name = auth.get("Authorizer", default)
        if name != "NONE" and name not in authorizers:
            raise TemplateError(f"{where}: there is no authorizer {name}")
        return Route(
            method=self._resolver.text(event.get("Method"), f"{where}.Method").upper(),
            path=self._resolver.text(event.get("Path"), f"{where}.Path"),
            function=function,
            authorizer=authorizers.get(name),
        )

    def _authorizer(self, name: str, declared: Mapping[str, Any]) -> Authorizer:
        where = f"{self._id}.Auth.{name}"
        _known(
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
        cache = identity.get("ReauthorizeEvery", _DEFAULT_CACHE_SECONDS)
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
            _known(identity, ["Header", "ReauthorizeEvery", "ValidationExpression"], [], where)
            return (IdentitySource("header", identity.get("Header", "Authorization")),)
        _known(
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
        _known(declared, ["ResponseParameters", "ResponseTemplates", "StatusCode"], [], where)
        parameters = declared.get("ResponseParameters", {})
        _known(parameters, ["Headers"], [], f"{where}.ResponseParameters")
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


class _HttpReader:
    """Reads an AWS::ApiGatewayV2::Api with its stage, routes, integrations and authorizers."""

    def __init__(self, template: Template, resource: Resource) -> None:
        self._template = template
        self._id = resource.logical_id
        self._properties = resource.properties
        self._resolver = template.resolver()

    def read(self) -> Api:
        _known(
            self._properties,
            ["ProtocolType"],
            ["Description", "DisableExecuteApiEndpoint", "IpAddressType", "Name", "Tags"],
            self._id,
        )
        if self._properties.get("ProtocolType") != "HTTP":
            raise TemplateError(f"{self._id}: only ProtocolType HTTP can be played")
        stages = self._parts(_HTTP_STAGE)
        if len(stages) != 1:
            raise TemplateError(f"{self._id} needs one stage, not {len(stages)}")
        (stage,) = stages
        _known(
            stage.properties,
            ["ApiId", "StageName", "StageVariables"],
            [
                "AccessLogSettings",
                "AutoDeploy",
                "DefaultRouteSettings",
                "Description",
                "RouteSettings",
                "Tags",
            ],
            stage.logical_id,
        )
        where = stage.logical_id
        routes = [
            _checked_route(self._route(part), part.logical_id) for part in self._parts(_HTTP_ROUTE)
        ]
        return Api(
            logical_id=self._id,
            api_id=self._resolver.text({"Ref": self._id}, self._id),
            kind="http",
            stage=self._resolver.text(stage.properties.get("StageName"), f"{where}.StageName"),
            routes=_without_doubles(routes, self._id),
            stage_variables={
                name: self._resolver.text(value, f"{where}.{name}")
                for name, value in stage.properties.get("StageVariables", {}).items()
            },
        )

    def _parts(self, kind: str) -> list[Resource]:
        return [
            resource
            for resource in self._template.of_type(kind)
            if resource.properties.get("ApiId") == {"Ref": self._id}
        ]

    def _part(self, kind: str, logical_id: str, where: str) -> Resource:
        for part in self._parts(kind):
            if part.logical_id == logical_id:
                return part
        raise TemplateError(f"{where}: {logical_id} is no {kind} of {self._id}")

    def _route(self, part: Resource) -> Route:
        where, properties = part.logical_id, part.properties
        _known(
            properties,
            ["ApiId", "AuthorizationType", "AuthorizerId", "RouteKey", "Target"],
            ["OperationName"],
            where,
        )
        key = self._resolver.text(properties.get("RouteKey"), f"{where}.RouteKey")
        method, _, path = ("ANY", "", key) if key == "$default" else key.partition(" ")
        target = self._resolver.text(properties.get("Target"), f"{where}.Target")
        function, payload_format = self._integration(target.removeprefix("integrations/"), where)
        return Route(method, path, function, self._route_authorizer(part), payload_format)

    def _route_authorizer(self, part: Resource) -> Authorizer | None:
        kind = part.properties.get("AuthorizationType", "NONE")
        if kind == "NONE":
            return None
        if kind != "CUSTOM":
            raise TemplateError(f"{part.logical_id}: authorization {kind} cannot be played")
        name = self._resolver.text(
            part.properties.get("AuthorizerId"), f"{part.logical_id}.AuthorizerId"
        )
        return self._authorizer(self._part(_HTTP_AUTHORIZER, name, part.logical_id))

    def _integration(self, logical_id: str, where: str) -> tuple[str, PayloadFormat]:
        part = self._part(_HTTP_INTEGRATION, logical_id, where)
        where, properties = part.logical_id, part.properties
        _known(
            properties,
            ["ApiId", "IntegrationType", "IntegrationUri", "PayloadFormatVersion"],
            ["Description", "IntegrationMethod", "TimeoutInMillis"],
            where,
        )
        if properties.get("IntegrationType") != "AWS_PROXY":
            raise TemplateError(f"{where}: only AWS_PROXY integrations can be played")
        uri = self._resolver.text(properties.get("IntegrationUri"), f"{where}.IntegrationUri")
        invocation = _AUTHORIZER_URI.fullmatch(uri)
        arn = invocation[1] if invocation else uri
        version = properties.get("PayloadFormatVersion")
        return self._template.function_by_arn(arn, where), _payload_format(version, where)

    def _authorizer(self, part: Resource) -> Authorizer:
        where, properties = part.logical_id, part.properties
        _known(
            properties,
            [
                "ApiId",
                "AuthorizerPayloadFormatVersion",
                "AuthorizerResultTtlInSeconds",
                "AuthorizerType",
                "AuthorizerUri",
                "EnableSimpleResponses",
                "IdentitySource",
            ],
            ["AuthorizerCredentialsArn", "Name"],
            where,
        )
        if properties.get("AuthorizerType") != "REQUEST":
            raise TemplateError(f"{where}: only REQUEST authorizers can be played")
        uri = self._resolver.text(properties.get("AuthorizerUri"), f"{where}.AuthorizerUri")
        invocation = _AUTHORIZER_URI.fullmatch(uri)
        if invocation is None:
            raise TemplateError(f"{where}: {uri} is no Lambda invocation address")
        cache = properties.get("AuthorizerResultTtlInSeconds", _DEFAULT_CACHE_SECONDS)
        simple = properties.get("EnableSimpleResponses", False)
        return Authorizer(
            name=where,
            function=self._template.function_by_arn(invocation[1], where),
            kind="REQUEST",
            identity_sources=tuple(
                _http_identity_source(self._resolver.text(source, where), where)
                for source in properties.get("IdentitySource", [])
            ),
            cache_seconds=self._resolver.number(cache, where),
            payload_format=_payload_format(properties.get("AuthorizerPayloadFormatVersion"), where),
            simple_responses=self._resolver.flag(simple, f"{where}.EnableSimpleResponses"),
        )


def _payload_format(version: object, where: str) -> PayloadFormat:
    if version == "1.0":
        return "1.0"
    if version == "2.0":
        return "2.0"
    raise TemplateError(f"{where}: the payload format must be '1.0' or '2.0', not {version!r}")


def _http_identity_source(text: str, where: str) -> IdentitySource:
    match = _HTTP_SOURCE.fullmatch(text)
    if match is None:
        raise TemplateError(f"{where}: {text!r} is no identity source that can be played")
    if match[1] == "header":
        return IdentitySource("header", match[3])
    if match[1] == "querystring":
        return IdentitySource("querystring", match[3])
    if match[2] == "stageVariables":
        return IdentitySource("stage_variable", match[3])
    return IdentitySource("context", match[3])
