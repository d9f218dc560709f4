"""Read an API of an expanded template: a REST API, or an HTTP API.

SAM writes an OpenAPI document for each of its APIs. `resource_reader` writes one for an API whose methods or routes are
resources.

Sources: API Gateway Developer Guide, "OpenAPI extensions for API Gateway" and "Create a JWT authorizer for a REST API";
the API models of `apigateway` and `apigatewayv2`.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from authorizer.https_client import parse_url
from infra.cloudformation import Resolver, Resource, TemplateError
from infra.guards import ALGORITHMS, Guard
from local.gateway.gateway_responses import DEFAULT_RESPONSES
from local.gateway.model import (
    HTTP_API_TIMEOUT,
    REST_API_TIMEOUT,
    AnyMethod,
    Api,
    Authorizer,
    GatewayResponse,
    IdentitySource,
    JwtAuthorizer,
    JwtIssuer,
    PayloadFormat,
    RateLimit,
    RequiredClaim,
    Route,
)
from local.gateway.resource_reader import ANY_METHOD, REST_API, ResourceReader, authorizer_kind, check_supported

HTTP_API = "AWS::ApiGatewayV2::Api"

Limits = Callable[[str], RateLimit | None]

_CACHE_SECONDS = 300  # API Gateway's default
_LIMITS = {"ThrottlingRateLimit": 10_000.0, "ThrottlingBurstLimit": 5_000.0}

_INVOCATION = re.compile(r"arn:[^:]+:apigateway:[^:]*:lambda:path/[^/]+/functions/(.+)/.+")
_METHOD = re.compile(r"[A-Z]+")
_PATH = re.compile(r"/|(/([^/{}]+|\{[A-Za-z0-9._-]+\}))*(/\{[A-Za-z0-9._-]+\+\})?")
_HTTP_SOURCE = re.compile(r"\$(?:request\.(header|querystring)|(context|stageVariables))\.(.+)")
_REST_SOURCE = re.compile(r"(?:method\.request\.(header|querystring)|(context|stageVariables))\.(.+)")
_RESERVED_CLAIMS = {"iss", "aud", "exp", "nbf", "iat", "scope", "scp"}  # checked by a native JWT authorizer itself
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


class ApiReader:
    """Reads the APIs of a template.

    `function_of` returns the logical id of the function with an ARN. Its second argument names the ARN's location.
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
        parts = ResourceReader(api, self._resources, self._resolver)
        if "Body" in api.properties and (ignored := parts.operations()):
            raise TemplateError(f"{where}: {', '.join(ignored)} are not part of its document")
        document = self._document(api) if "Body" in api.properties else parts.document()
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
        document = self._resolver.resolve(api.properties["Body"], f"{where}.Body")
        if not isinstance(document, dict):
            raise TemplateError(f"{where}: an API needs an OpenAPI document")
        check_supported(document, *_DOCUMENT, where)
        return document

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
            requirements = [each for alternative in operation.get("security", []) for each in alternative.items()]
            names = [name for name, _ in requirements]
            is_open = names in ([], ["NONE"])
            if not is_open and (len(names) != 1 or names[0] not in schemes):
                raise TemplateError(f"{where}: there is no authorizer {', '.join(names)}")
            timeout = integration.get("timeoutInMillis")
            default_timeout = REST_API_TIMEOUT if rest else HTTP_API_TIMEOUT
            authorizer = None if is_open else self._authorizer(names[0], schemes[names[0]], api, rest=rest)
            yield Route(
                method=method,
                path=path,
                function=self._function(integration.get("uri"), where),
                authorizer=authorizer,
                payload_format="1.0" if rest else _payload_format(integration.get("payloadFormatVersion"), where),
                timeout=default_timeout if timeout is None else self._resolver.number(timeout, where) / 1000,
                rate_limit=limits(path if path == "$default" else f"{method} {path}"),
                scopes=frozenset(requirements[0][1] if isinstance(authorizer, JwtAuthorizer) else ()),
            )

    def _authorizer(self, name: str, scheme: Mapping[str, Any], api: str, *, rest: bool) -> Authorizer | JwtAuthorizer:
        where = f"{api}: authorizer {name}"
        declared = scheme.get("x-amazon-apigateway-authorizer", {})
        kind = authorizer_kind(scheme)
        if kind == "JWT":
            return _jwt_authorizer(name, declared, where, rest=rest)
        if kind != "REQUEST" and not (kind == "TOKEN" and rest):
            raise TemplateError(f"{where}: only Lambda authorizers and JWT authorizers are supported")
        check_supported(declared, *_AUTHORIZER_OF_OPENAPI, where)
        identity = _identity_sources(declared, where, rest=rest)
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
        parameters, prefix = declared.get("responseParameters", {}), "gatewayresponse.header."
        for name in parameters:
            if not name.startswith(prefix) or name == prefix:
                raise TemplateError(f"{where}: {name} is not supported on the laptop")
        status = declared.get("statusCode")
        return GatewayResponse(
            status=None if status is None else self._resolver.number(status, where),
            headers={name.removeprefix(prefix): str(value) for name, value in parameters.items()},
            templates={name: str(value) for name, value in declared.get("responseTemplates", {}).items()},
        )


def _operations(document: Mapping[str, Any], where: str) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Yield method, path and operation of each operation of an OpenAPI document."""
    for path, item in document.get("paths", {}).items():
        for name, operation in item.items():
            if name == "parameters":
                continue
            if name == ANY_METHOD:
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


def _payload_format(version: object, where: str) -> PayloadFormat:
    if version not in ("1.0", "2.0"):
        raise TemplateError(f"{where}: the payload format must be '1.0' or '2.0', not {version!r}")
    return version


def _jwt_authorizer(name: str, declared: Mapping[str, Any], where: str, *, rest: bool) -> JwtAuthorizer:
    """Return a native JWT authorizer; raises TemplateError for one that AWS would not create."""
    check_supported(declared, "identitySource jwtConfiguration type", "", where)
    sources = _identity_sources(declared, where, rest=rest)
    locations = ("header",) if rest else ("header", "querystring")
    if len(sources) != 1 or sources[0].location not in locations:
        raise TemplateError(f"{where}: a JWT authorizer needs one identity source, a request header")
    configuration = declared.get("jwtConfiguration", {})
    if rest:
        check_supported(configuration, "defaultAlgorithms issuers", "", where)
        algorithms = frozenset(configuration.get("defaultAlgorithms", []))
        issuers = tuple(_jwt_issuer(each, where) for each in configuration.get("issuers", []))
    else:
        check_supported(configuration, "audience issuer", "", where)
        algorithms = ALGORITHMS[Guard.HTTP_JWT]
        members = {"issuer": configuration.get("issuer"), "audiences": configuration.get("audience")}
        issuers = (_jwt_issuer(members, where),)
    if not algorithms or not algorithms <= ALGORITHMS[Guard.REST_JWT]:
        raise TemplateError(
            f"{where}: defaultAlgorithms must be some of {', '.join(sorted(ALGORITHMS[Guard.REST_JWT]))}"
        )
    if not issuers or len({each.issuer for each in issuers}) < len(issuers):
        raise TemplateError(f"{where}: a JWT authorizer needs issuers that differ")
    return JwtAuthorizer(name, sources[0], issuers, algorithms)


def _jwt_issuer(declared: Mapping[str, Any], where: str) -> JwtIssuer:
    check_supported(declared, "additionalClaims audiences issuer", "", where)
    issuer = str(declared.get("issuer"))
    try:
        parse_url(issuer)  # the laptop accepts http for a loopback host
    except ValueError as error:
        raise TemplateError(f"{where}: the issuer {issuer} is {error}") from error
    if "?" in issuer:
        raise TemplateError(f"{where}: the issuer {issuer} has a query")
    audiences = frozenset(declared.get("audiences") or [])
    if not audiences or not all(audiences):
        raise TemplateError(f"{where}: the issuer {issuer} needs audiences")
    claims = tuple(_required_claim(each, where) for each in declared.get("additionalClaims", []))
    if len({each.name for each in claims}) < len(claims):
        raise TemplateError(f"{where}: an additional claim is declared twice")
    return JwtIssuer(issuer, audiences, claims)


def _required_claim(declared: Mapping[str, Any], where: str) -> RequiredClaim:
    check_supported(declared, "claimName expectedValues format required", "", where)
    name, values = declared.get("claimName"), declared.get("expectedValues", [])
    if not name or name in _RESERVED_CLAIMS:
        raise TemplateError(f"{where}: {name} is not an additional claim")
    if declared.get("format") != "SINGLE_STRING":
        raise TemplateError(f"{where}: the format of {name} must be SINGLE_STRING")
    if len(values) > 1:
        raise TemplateError(f"{where}: {name} has several values")
    return RequiredClaim(str(name), values[0] if values else None, declared.get("required", False) in (True, "true"))


def _identity_sources(declared: Mapping[str, Any], where: str, *, rest: bool) -> tuple[IdentitySource, ...]:
    """Return the identity sources of an authorizer; raises TemplateError."""
    sources = declared.get("identitySource", [])
    if isinstance(sources, str):
        sources = [source.strip() for source in sources.split(",") if source.strip()]
    return tuple(_identity_source(_REST_SOURCE if rest else _HTTP_SOURCE, source, where) for source in sources)


def _identity_source(pattern: re.Pattern[str], text: object, where: str) -> IdentitySource:
    match = pattern.fullmatch(str(text))
    if match is None:
        raise TemplateError(f"{where}: {text!r} is not an identity source that is supported")
    if match[1] == "header":
        return IdentitySource("header", match[3])
    if match[1] == "querystring":
        return IdentitySource("querystring", match[3])
    return IdentitySource("stage_variable" if match[2] == "stageVariables" else "context", match[3])
