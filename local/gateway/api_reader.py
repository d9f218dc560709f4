"""Read an API of an expanded template: a REST API, or an HTTP API.

SAM writes an OpenAPI document for each of its APIs. Any API may have resources instead: methods or
routes, integrations and authorizers.

Sources: API Gateway Developer Guide, "OpenAPI extensions for API Gateway", and the CloudFormation
reference of `AWS::ApiGateway::*` and `AWS::ApiGatewayV2::*`.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from infra.cloudformation import Resolver, Resource, TemplateError
from local.gateway.authorizer_reader import authorizer_kind, check_supported, identity_sources, read_jwt_authorizer
from local.gateway.gateway_responses import DEFAULT_RESPONSES
from local.gateway.model import (
    HTTP_API_TIMEOUT,
    REST_API_TIMEOUT,
    AnyMethod,
    Api,
    Authorizer,
    GatewayResponse,
    IdentitySource,
    PayloadFormat,
    RateLimit,
    Route,
)

REST_API = "AWS::ApiGateway::RestApi"
HTTP_API = "AWS::ApiGatewayV2::Api"
_ROUTE = "AWS::ApiGatewayV2::Route"
_INTEGRATION = "AWS::ApiGatewayV2::Integration"
_AUTHORIZER = "AWS::ApiGatewayV2::Authorizer"
_METHOD_RESOURCE = "AWS::ApiGateway::Method"
_PATH_RESOURCE = "AWS::ApiGateway::Resource"
_REST_AUTHORIZER = "AWS::ApiGateway::Authorizer"
_ANY_METHOD = "x-amazon-apigateway-any-method"

Limits = Callable[[str], RateLimit | None]

_CACHE_SECONDS = 300  # API Gateway's default
_LIMITS = {"ThrottlingRateLimit": 10_000.0, "ThrottlingBurstLimit": 5_000.0}

_INVOCATION = re.compile(r"arn:[^:]+:apigateway:[^:]*:lambda:path/[^/]+/functions/(.+)/.+")
_METHOD = re.compile(r"[A-Z]+")
_PATH = re.compile(r"/|(/([^/{}]+|\{[A-Za-z0-9._-]+\}))*(/\{[A-Za-z0-9._-]+\+\})?")
_GATEWAY_RESPONSES = {"DEFAULT_4XX", "DEFAULT_5XX", *DEFAULT_RESPONSES}

# Members of each part: supported, and ignored because they change no response.
_REST_RESOURCE = (
    "Body",
    (
        "BinaryMediaTypes Description DisableExecuteApiEndpoint EndpointConfiguration Mode Name Parameters "
        "SecurityPolicy Tags"
    ),
)
_REST_STAGE = (
    "MethodSettings RestApiId StageName Variables",
    "AccessLogSetting CanarySetting DeploymentId Description Tags TracingEnabled",
)
_HTTP_RESOURCE = "Body ProtocolType", "Description DisableExecuteApiEndpoint FailOnWarnings IpAddressType Name Tags"
_HTTP_STAGE = (
    "ApiId DefaultRouteSettings RouteSettings StageName StageVariables",
    "AccessLogSettings AutoDeploy Description Tags",
)
_ROUTE_MEMBERS = "ApiId AuthorizationScopes AuthorizationType AuthorizerId RouteKey Target", "OperationName"
_METHOD_MEMBERS = (
    "AuthorizationScopes AuthorizationType AuthorizerId HttpMethod Integration ResourceId RestApiId",
    "MethodResponses OperationName RequestParameters",
)
_METHOD_INTEGRATION = "TimeoutInMillis Type Uri", "Credentials IntegrationHttpMethod PassthroughBehavior"
_REST_AUTHORIZER_MEMBERS = (
    (
        "AuthorizerResultTtlInSeconds AuthorizerUri IdentitySource IdentityValidationExpression JwtConfiguration "
        "RestApiId Type"
    ),
    "AuthType AuthorizerCredentials Name",
)
_INTEGRATION_RESOURCE = (
    "ApiId IntegrationType IntegrationUri PayloadFormatVersion TimeoutInMillis",
    "Description IntegrationMethod",
)
_AUTHORIZER_RESOURCE = (
    (
        "ApiId AuthorizerPayloadFormatVersion AuthorizerResultTtlInSeconds AuthorizerType AuthorizerUri "
        "EnableSimpleResponses IdentitySource JwtConfiguration"
    ),
    "AuthorizerCredentialsArn Name",
)
_DOCUMENT = (
    "components paths securityDefinitions x-amazon-apigateway-binary-media-types x-amazon-apigateway-gateway-responses",
    (
        "basePath definitions host info openapi schemes servers swagger tags "
        "x-amazon-apigateway-endpoint-configuration x-amazon-apigateway-importexport-version"
    ),
)
_OPERATION = (
    "security x-amazon-apigateway-integration",
    "consumes description isDefaultRoute operationId parameters produces requestBody responses summary tags",
)
_INTEGRATION_OF_OPENAPI = (
    "payloadFormatVersion timeoutInMillis type uri",
    "credentials httpMethod passthroughBehavior responses",
)
_AUTHORIZER_OF_OPENAPI = (
    (
        "authorizerPayloadFormatVersion authorizerResultTtlInSeconds authorizerUri enableSimpleResponses "
        "identitySource identityValidationExpression type"
    ),
    "authorizerCredentials",
)


class _Operation(NamedTuple):
    """A method or a route that is a resource: its logical id, its properties and its integration."""

    where: str
    method: str
    path: str
    declared: Mapping[str, Any]
    integration: Mapping[str, Any]


class ApiReader:
    """Reads the APIs of a template.

    `function_of` gives the logical id of the function with an ARN; its second argument names the
    location of the ARN for errors.
    """

    def __init__(
        self, resources: Mapping[str, Resource], resolver: Resolver, function_of: Callable[[str, str], str]
    ) -> None:
        self._resources = resources
        self._resolver = resolver
        self._function_of = function_of

    def read(self, api: Resource) -> Api:
        """Return the API that a resource declares.

        Raises:
            TemplateError: it has something unsupported.
        """
        where, rest = api.logical_id, api.type == REST_API
        check_supported(api.properties, *(_REST_RESOURCE if rest else _HTTP_RESOURCE), where)
        if api.properties.get("ProtocolType", "HTTP") != "HTTP":
            raise TemplateError(f"{where}: only ProtocolType HTTP is supported")
        stage = self._stage(api, "RestApiId" if rest else "ApiId")
        at = stage.logical_id
        check_supported(stage.properties, *(_REST_STAGE if rest else _HTTP_STAGE), at)
        limits = self._method_limits(stage) if rest else self._route_limits(stage)
        if "Body" in api.properties:
            document = self._document(api)
        else:
            document = self._methods_as_openapi(api) if rest else self._routes_as_openapi(api)
        variables = stage.properties.get("Variables" if rest else "StageVariables", {})
        responses = document.get("x-amazon-apigateway-gateway-responses", {}) if rest else {}
        return Api(
            logical_id=where,
            api_id=self._resolver.text({"Ref": where}, where),
            kind="rest" if rest else "http",
            stage=self._resolver.text(stage.properties.get("StageName"), f"{at}.StageName"),
            routes=_checked(self._routes(document, where, limits, rest=rest), where),
            gateway_responses={kind: self._gateway_response(kind, each, where) for kind, each in responses.items()},
            stage_variables={name: self._resolver.text(value, f"{at}.{name}") for name, value in variables.items()},
            binary_media_types=tuple(document.get("x-amazon-apigateway-binary-media-types", [])) if rest else (),
        )

    def _stage(self, api: Resource, reference: str) -> Resource:
        stages = [
            each
            for each in self._resources.values()
            if each.type.endswith("::Stage") and each.properties.get(reference) == {"Ref": api.logical_id}
        ]
        if len(stages) != 1:
            raise TemplateError(f"{api.logical_id} needs one stage, not {len(stages)}")
        return stages[0]

    def _route_limits(self, stage: Resource) -> Limits:
        """Return a function from a route's key to its limit, for the stage of an HTTP API."""
        where = stage.logical_id
        shared, own = (
            self._resolver.resolve(stage.properties.get(name, {}), where)
            for name in ("DefaultRouteSettings", "RouteSettings")
        )
        return lambda key: _rate_limit({**shared, **own.get(key, {})}, where)

    def _method_limits(self, stage: Resource) -> Limits:
        """Return the same for the stage of a REST API. `~1` is a slash in the settings."""
        where = stage.logical_id
        found: dict[tuple[str, str], RateLimit | None] = {}
        for each in self._resolver.resolve(stage.properties.get("MethodSettings", []), where):
            if limit := _rate_limit(each, where):
                path = f"/{str(each.get('ResourcePath', '/*')).replace('~1', '/').lstrip('/')}"
                found[path, str(each.get("HttpMethod", "*"))] = limit

        def limits(key: str) -> RateLimit | None:
            method, _, path = key.partition(" ")
            keys = ((path, method), (path, "*"), ("/*", method), ("/*", "*"))
            return next((found[each] for each in keys if each in found), None)

        return limits

    def _document(self, api: Resource) -> Mapping[str, Any]:
        """Return the API's OpenAPI document, resolved."""
        where = api.logical_id
        document = self._resolver.resolve(api.properties.get("Body"), f"{where}.Body")
        if not isinstance(document, dict):
            raise TemplateError(f"{where}: an API needs an OpenAPI document")
        check_supported(document, *_DOCUMENT, where)
        return document

    # --- APIs that have resources in place of a document -----------------------------------------

    def _routes_as_openapi(self, api: Resource) -> Mapping[str, Any]:
        """Return the OpenAPI document of an HTTP API that has a resource for each route."""
        operations: list[_Operation] = []
        for part in self._parts(_ROUTE, api, "ApiId"):
            where, route = part.logical_id, self._properties(part, *_ROUTE_MEMBERS)
            method, _, path = str(route.get("RouteKey")).rpartition(" ")
            name = str(route.get("Target")).removeprefix("integrations/")
            declared = self._properties(self._part(_INTEGRATION, name, api, "ApiId", where), *_INTEGRATION_RESOURCE)
            integration = {
                "type": declared.get("IntegrationType"),
                "uri": declared.get("IntegrationUri"),
                "payloadFormatVersion": declared.get("PayloadFormatVersion"),
                "timeoutInMillis": declared.get("TimeoutInMillis"),
            }
            operations.append(_Operation(where, method or "ANY", path, route, integration))
        return self._openapi(operations, api, _AUTHORIZER, _AUTHORIZER_RESOURCE)

    def _methods_as_openapi(self, api: Resource) -> Mapping[str, Any]:
        """Return the OpenAPI document of a REST API that has a resource for each method."""
        operations: list[_Operation] = []
        for part in self._parts(_METHOD_RESOURCE, api, "RestApiId"):
            where, method = part.logical_id, self._properties(part, *_METHOD_MEMBERS)
            declared = method.get("Integration", {})
            check_supported(declared, *_METHOD_INTEGRATION, f"{where}.Integration")
            integration = {
                "type": declared.get("Type"),
                "uri": declared.get("Uri"),
                "timeoutInMillis": declared.get("TimeoutInMillis"),
            }
            path = self._path(method.get("ResourceId"), api, where) or "/"
            operations.append(_Operation(where, str(method.get("HttpMethod")), path, method, integration))
        return self._openapi(operations, api, _REST_AUTHORIZER, _REST_AUTHORIZER_MEMBERS)

    def _path(self, resource_id: object, api: Resource, where: str) -> str:
        """Return the path of a resource of a REST API; the root's is empty."""
        if resource_id == self._resolver.resolve({"Fn::GetAtt": [api.logical_id, "RootResourceId"]}, where):
            return ""
        part = self._part(_PATH_RESOURCE, str(resource_id), api, "RestApiId", where)
        declared = self._properties(part, "ParentId PathPart RestApiId", "")
        return f"{self._path(declared.get('ParentId'), api, part.logical_id)}/{declared.get('PathPart')}"

    def _openapi(
        self, operations: Iterable[_Operation], api: Resource, authorizers: str, members: tuple[str, str]
    ) -> Mapping[str, Any]:
        """Return the document of an API whose operations and authorizers are resources."""
        paths: dict[str, dict[str, Any]] = {}
        schemes: dict[str, Any] = {}
        reference = "RestApiId" if api.type == REST_API else "ApiId"
        for where, method, path, declared, integration in operations:
            name = _ANY_METHOD if method == "ANY" else method.lower()
            if name in paths.setdefault(path, {}):
                raise TemplateError(f"{where}: {method} {path} is declared twice")
            paths[path][name] = {"x-amazon-apigateway-integration": integration}
            kind, scopes = declared.get("AuthorizationType", "NONE"), declared.get("AuthorizationScopes", [])
            if kind not in ("NONE", "CUSTOM", "JWT"):
                raise TemplateError(f"{where}: authorization {kind} is not supported")
            if scopes and kind != "JWT":
                raise TemplateError(f"{where}: AuthorizationScopes need the authorization JWT")
            if kind != "NONE":
                authorizer = str(declared.get("AuthorizerId"))
                part = self._part(authorizers, authorizer, api, reference, where)
                schemes[authorizer] = scheme = _security_scheme(self._properties(part, *members))
                if (kind == "JWT") != (authorizer_kind(scheme) == "JWT"):
                    raise TemplateError(f"{where}: {authorizer} is not an authorizer for the authorization {kind}")
                paths[path][name]["security"] = [{authorizer: scopes}]
        return {"paths": paths, "components": {"securitySchemes": schemes}}

    def _parts(self, kind: str, api: Resource, reference: str) -> Iterator[Resource]:
        for part in self._resources.values():
            if part.type == kind and part.properties.get(reference) == {"Ref": api.logical_id}:
                yield part

    def _part(self, kind: str, logical_id: str, api: Resource, reference: str, where: str) -> Resource:
        for part in self._parts(kind, api, reference):
            if part.logical_id == logical_id:
                return part
        raise TemplateError(f"{where}: {logical_id} is not a {kind} of {api.logical_id}")

    def _properties(self, part: Resource, supported: str, ignored: str) -> Mapping[str, Any]:
        """Return the resolved properties of a resource, which must be supported."""
        check_supported(part.properties, supported, ignored, part.logical_id)
        resolved: Mapping[str, Any] = self._resolver.resolve(part.properties, part.logical_id)
        return resolved

    # --- OpenAPI documents -----------------------------------------------------------------------

    def _routes(self, document: Mapping[str, Any], api: str, limits: Limits, *, rest: bool) -> Iterator[Route]:
        components = document.get("components", {})
        check_supported(components, "securitySchemes", "schemas", api)
        schemes = {**document.get("securityDefinitions", {}), **components.get("securitySchemes", {})}
        for method, path, operation in _operations(document, api):
            where = f"{api}: {method} {path}"
            check_supported(operation, *_OPERATION, where)
            integration = operation.get("x-amazon-apigateway-integration", {})
            if str(integration.get("type")).lower() != "aws_proxy":
                raise TemplateError(f"{where}: only AWS_PROXY integrations are supported")
            check_supported(integration, *_INTEGRATION_OF_OPENAPI, where)
            names = [name for each in operation.get("security", []) for name in each]
            is_open = names in ([], ["NONE"])
            if not is_open and (len(names) != 1 or names[0] not in schemes):
                raise TemplateError(f"{where}: there is no authorizer {', '.join(names)}")
            timeout = integration.get("timeoutInMillis")
            default_timeout = REST_API_TIMEOUT if rest else HTTP_API_TIMEOUT
            scheme = {} if is_open else schemes[names[0]]
            is_jwt = authorizer_kind(scheme) == "JWT"
            yield Route(
                method=method,
                path=path,
                function=self._function(integration.get("uri"), where),
                authorizer=None if is_open or is_jwt else self._authorizer(names[0], scheme, api, rest=rest),
                payload_format="1.0" if rest else _payload_format(integration.get("payloadFormatVersion"), where),
                timeout=default_timeout if timeout is None else self._resolver.number(timeout, where) / 1000,
                rate_limit=limits(path if path == "$default" else f"{method} {path}"),
                jwt_authorizer=read_jwt_authorizer(names[0], scheme, api, rest=rest) if is_jwt else None,
                scopes=frozenset(_scopes(operation, names[0])) if is_jwt else frozenset(),
            )

    def _authorizer(self, name: str, scheme: Mapping[str, Any], api: str, *, rest: bool) -> Authorizer:
        where = f"{api}: authorizer {name}"
        declared = scheme.get("x-amazon-apigateway-authorizer", {})
        kind = authorizer_kind(scheme)
        if kind != "REQUEST" and not (kind == "TOKEN" and rest):
            raise TemplateError(f"{where}: only Lambda authorizers and JWT authorizers are supported")
        check_supported(declared, *_AUTHORIZER_OF_OPENAPI, where)
        identity = identity_sources(declared, where, rest=rest)
        if kind == "TOKEN":
            identity = (IdentitySource("header", scheme["name"]),)
        cache_seconds = self._resolver.number(declared.get("authorizerResultTtlInSeconds", _CACHE_SECONDS), where)
        if rest and cache_seconds and not identity:
            raise TemplateError(f"{where}: results cannot be cached without an identity source")
        version = "1.0" if rest else declared.get("authorizerPayloadFormatVersion")
        return Authorizer(
            name=name,
            function=self._function(declared.get("authorizerUri"), where, invocation=True),
            kind="TOKEN" if kind == "TOKEN" else "REQUEST",
            identity_sources=identity,
            cache_seconds=cache_seconds,
            payload_format=_payload_format(version, where),
            simple_responses=self._resolver.flag(declared.get("enableSimpleResponses", False), where),
            validation_expression=declared.get("identityValidationExpression"),
        )

    def _function(self, uri: object, where: str, *, invocation: bool = False) -> str:
        """Return the function that the URI of an integration or of an authorizer invokes."""
        text = str(uri)
        match = _INVOCATION.fullmatch(text)
        if match is None and invocation:
            raise TemplateError(f"{where}: {text} is not a Lambda invocation address")
        return self._function_of(match[1] if match else text, where)

    def _gateway_response(self, kind: str, declared: Mapping[str, Any], api: str) -> GatewayResponse:
        where = f"{api}.GatewayResponses.{kind}"
        if kind not in _GATEWAY_RESPONSES:
            raise TemplateError(f"{where}: there is no such gateway response")
        check_supported(declared, "responseParameters responseTemplates statusCode", "", where)
        headers: dict[str, str] = {}
        for name, value in declared.get("responseParameters", {}).items():
            prefix, _, header = name.partition("gatewayresponse.header.")
            if prefix or not header:
                raise TemplateError(f"{where}: {name} is not supported on the laptop")
            headers[header] = str(value)
        status = declared.get("statusCode")
        return GatewayResponse(
            status=None if status is None else self._resolver.number(status, where),
            headers=headers,
            templates={name: str(value) for name, value in declared.get("responseTemplates", {}).items()},
        )


def _operations(document: Mapping[str, Any], where: str) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Yield method, path and operation of each operation of an OpenAPI document."""
    for path, item in document.get("paths", {}).items():
        for name, operation in item.items():
            if name == "parameters":
                continue
            if name == _ANY_METHOD:
                yield AnyMethod, path, operation
            elif name.startswith("x-"):
                raise TemplateError(f"{where}: {path}: {name} is not supported on the laptop")
            else:
                yield name.upper(), path, operation


def _checked(routes: Iterable[Route], where: str) -> tuple[Route, ...]:
    found: dict[str, Route] = {}
    for route in routes:
        if not _METHOD.fullmatch(route.method):
            raise TemplateError(f"{where}: {route.method!r} is not an HTTP method")
        if route.path != "$default" and not _PATH.fullmatch(route.path):
            raise TemplateError(f"{where}: {route.path!r} is not a path that is supported")
        if route.key in found:
            raise TemplateError(f"{where}: {route.key} is declared twice")
        found[route.key] = route
    return tuple(found.values())


def _rate_limit(settings: Mapping[str, Any], where: str) -> RateLimit | None:
    """Return the rate limit of settings. A missing part is the account's default."""
    if not _LIMITS.keys() & settings.keys():
        return None
    try:
        rate, burst = (float(settings.get(name, default)) for name, default in _LIMITS.items())
    except (TypeError, ValueError) as error:
        raise TemplateError(f"{where}: a rate limit is not a number") from error
    return RateLimit(rate, burst)


def _scopes(operation: Mapping[str, Any], authorizer: str) -> list[str]:
    return [scope for each in operation["security"] for scope in each.get(authorizer, [])]


def _security_scheme(declared: Mapping[str, Any]) -> dict[str, Any]:
    """Return the security scheme of an authorizer that is a resource."""
    outer = ("ApiId", "AuthType", "AuthorizerCredentials", "AuthorizerCredentialsArn", "AuthorizerType", "Name", "Type")
    members = _in_camel_case({name: value for name, value in declared.items() if name not in (*outer, "RestApiId")})
    kind = declared.get("AuthorizerType", declared.get("Type"))
    header = str(declared.get("IdentitySource")).removeprefix("method.request.header.")
    return {"name": header, "x-amazon-apigateway-authorizer": {**members, "type": kind}}


def _in_camel_case(value: Any) -> Any:
    """Write the names of members as OpenAPI does, at every depth."""
    if isinstance(value, dict):
        return {name[0].lower() + name[1:]: _in_camel_case(each) for name, each in value.items()}
    return [_in_camel_case(each) for each in value] if isinstance(value, list) else value


def _payload_format(version: object, where: str) -> PayloadFormat:
    if version == "1.0":
        return "1.0"
    if version == "2.0":
        return "2.0"
    raise TemplateError(f"{where}: the payload format must be '1.0' or '2.0', not {version!r}")
