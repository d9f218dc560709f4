from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.cloudformation import TemplateError
from infra.local_stack import API_STAGE, AUTH_STAGE
from local.addresses import LAPTOP
from local.gateway.model import (
    Api,
    Authorizer,
    IdentitySource,
    JwtAuthorizer,
    JwtIssuer,
    RateLimit,
    RequiredClaim,
    Route,
)
from local.gateway.template import Template
from tests.unit.local.gateway.apis import read_template

ROOT = Path(__file__).resolve().parents[4]
AUTHORIZER_URI = (
    "arn:${AWS::Partition}:apigateway:${AWS::Region}:lambda:path/2015-03-31/functions/${Guard.Arn}/invocations"
)

INVOCATION_URI = {"Fn::Sub": AUTHORIZER_URI.replace("Guard", "F")}
API = {"Ref": "Api"}


def function(**properties: object) -> dict[str, Any]:
    return {"Type": "AWS::Serverless::Function", "Properties": {"Handler": "package.module.handle", **properties}}


def part(kind: str, **properties: object) -> dict[str, Any]:
    return {"Type": f"AWS::ApiGatewayV2::{kind}", "Properties": properties}


def event(method: str, path: str, **properties: object) -> dict[str, Any]:
    return {"Type": "Api", "Properties": {"RestApiId": {"Ref": "Api"}, "Method": method, "Path": path, **properties}}


def rest_document(**api: object) -> dict[str, Any]:
    return {
        "Resources": {
            "Api": {"Type": "AWS::Serverless::Api", "Properties": {"StageName": "live", **api}},
            "F": function(Events={"One": event("get", "/one")}),
            "Guard": function(),
        }
    }


def http_document(
    route: dict[str, Any] | None = None, integration: dict[str, Any] | None = None, **more: dict[str, Any]
) -> dict[str, Any]:
    target = {"Fn::Join": ["/", ["integrations", {"Ref": "Integration"}]]}
    invoked = {"IntegrationUri": {"Fn::GetAtt": ["F", "Arn"]}, "PayloadFormatVersion": "2.0", **(integration or {})}
    return {
        "Resources": {
            "Api": part("Api", ProtocolType="HTTP"),
            "Stage": part("Stage", ApiId=API, StageName="$default", AutoDeploy=True),
            "Route": part("Route", **{"ApiId": API, "RouteKey": "GET /one", "Target": target, **(route or {})}),
            "Integration": part("Integration", **{"ApiId": API, "IntegrationType": "AWS_PROXY", **invoked}),
            "F": function(),
            "Guard": function(),
            **more,
        }
    }


def http_authorizer(**properties: object) -> dict[str, Any]:
    declared = {
        "ApiId": API,
        "Name": "guard",
        "AuthorizerType": "REQUEST",
        "AuthorizerUri": {"Fn::Sub": AUTHORIZER_URI},
        "AuthorizerPayloadFormatVersion": "2.0",
    }
    return part("Authorizer", **{**declared, **properties})


def read(document: dict[str, Any]) -> Api:
    return read_template(document).api("Api")


def only_route(document: dict[str, Any]) -> Route:
    (route,) = read(document).routes
    return route


def locked(**properties: object) -> dict[str, Any]:
    """An HTTP API of resources whose route has an authorizer with these properties."""
    route = {"AuthorizationType": "CUSTOM", "AuthorizerId": {"Ref": "Lock"}}
    return http_document(route, Lock=http_authorizer(**properties))


# --- The template of this repository -------------------------------------------------------------


@pytest.fixture(scope="module")
def ours() -> Template:
    return Template.read(ROOT / "template.yaml")


def test_guarded_api_guards_its_routes(ours: Template) -> None:
    api = ours.api("GuardedApi")
    assert (api.kind, api.stage) == ("rest", API_STAGE)
    assert {route.key for route in api.routes} >= {"GET /country", "GET /country/code/{code}"}
    guarded = {route.authorizer for route in api.routes if not route.path.startswith("/.well-known/")}
    assert {route.authorizer for route in api.routes} - guarded == {None}  # metadata about the API
    (authorizer,) = guarded
    assert isinstance(authorizer, Authorizer)
    assert (authorizer.function, authorizer.kind) == ("Authorizer", "REQUEST")
    assert IdentitySource("header", "Authorization") in authorizer.identity_sources
    assert {"LookUpCountry", "Authorizer"} <= api.functions()
    assert api.gateway_responses["UNAUTHORIZED"].headers == {"WWW-Authenticate": "'Bearer'"}


def test_authorization_server_is_an_open_http_api(ours: Template) -> None:
    api = ours.api("AuthServerApi")
    assert (api.kind, api.stage) == ("http", AUTH_STAGE)
    assert ("ANY /oauth2/token", "IssueToken") in {(route.key, route.function) for route in api.routes}
    assert all(route.authorizer is None for route in api.routes)


def test_environment_has_the_laptops_addresses(ours: Template) -> None:
    values = {
        logical_id: logical_id.lower()
        for logical_id, resource in ours.resources.items()
        if resource.type.startswith(("AWS::DynamoDB", "AWS::SecretsManager", "AWS::KMS"))
    }
    found = ours.function("IssueToken", values, {"AuthServerApi": "http://localhost:8085"})
    assert found.environment["ISSUER"] == "http://localhost:8085/ms-auth-server"
    assert found.environment["CLIENTS_TABLE"] == "clientstable"
    assert found.handler == "functions.issue_token.handler.handle"
    assert (found.timeout, found.memory) == (15, 512)


def test_function_needs_the_names_of_its_resources(ours: Template) -> None:
    with pytest.raises(TemplateError, match=r"IssueToken\.Environment.*has no value"):
        ours.function("IssueToken")


def test_resources_are_found_by_type(ours: Template) -> None:
    tables = [resource.logical_id for resource in ours.of_type("AWS::DynamoDB::Table")]
    assert {"ClientsTable", "TokensTable"} <= set(tables)
    properties = ours.properties("ClientsTable", {"DataKey.Arn": "arn:key"})
    assert properties["SSESpecification"]["KMSMasterKeyId"] == "arn:key"


# --- REST APIs -----------------------------------------------------------------------------------


def test_rest_api_has_the_defaults_of_sam() -> None:
    document = rest_document(
        Auth={"DefaultAuthorizer": "Guard", "Authorizers": {"Guard": {"FunctionArn": {"Fn::GetAtt": ["Guard", "Arn"]}}}}
    )
    assert only_route(document) == Route(
        "GET",
        "/one",
        "F",
        Authorizer(
            name="Guard",
            function="Guard",
            kind="TOKEN",
            identity_sources=(IdentitySource("header", "Authorization"),),
            cache_seconds=300,
        ),
    )


def test_event_can_choose_its_authorizer() -> None:
    document = rest_document(
        Auth={
            "DefaultAuthorizer": "Guard",
            "Authorizers": {
                "Guard": {"FunctionArn": {"Fn::GetAtt": "Guard.Arn"}},
                "Other": {
                    "FunctionArn": {"Fn::GetAtt": "Guard.Arn"},
                    "FunctionPayloadType": "REQUEST",
                    "Identity": {
                        "Headers": ["Authorization", "DPoP"],
                        "QueryStrings": ["q"],
                        "Context": ["identity.sourceIp"],
                        "StageVariables": ["v"],
                        "ReauthorizeEvery": 0,
                    },
                },
            },
        },
        Variables={"v": 1},
        BinaryMediaTypes=["image~1png"],
    )
    document["Resources"]["F"]["Properties"]["Events"] = {
        "Open": event("any", "/open/{proxy+}", Auth={"Authorizer": "NONE"}),
        "Default": event("get", "/one"),
        "Other": event("get", "/two", Auth={"Authorizer": "Other"}),
        "Daily": {"Type": "Schedule", "Properties": {"Schedule": "rate(1 day)"}},
    }
    api = read(document)
    chosen = {route.key: route.authorizer and route.authorizer.name for route in api.routes}
    assert chosen == {"ANY /open/{proxy+}": None, "GET /one": "Guard", "GET /two": "Other"}
    other = next(each for each in api.lambda_authorizers() if each.name == "Other")
    assert [(source.location, source.name) for source in other.identity_sources] == [
        ("header", "Authorization"),
        ("header", "DPoP"),
        ("querystring", "q"),
        ("stage_variable", "v"),
        ("context", "identity.sourceIp"),
    ]
    assert other.cache_seconds == 0
    assert api.stage_variables == {"v": "1"}
    assert api.binary_media_types == ("image/png",)


def authorizer(**properties: object) -> dict[str, Any]:
    """The authorization of a REST API with one authorizer, C."""
    declared = {"FunctionArn": {"Fn::GetAtt": "Guard.Arn"}, **properties}
    return {"DefaultAuthorizer": "C", "Authorizers": {"C": declared}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Cors": "'*'"}, "OPTIONS /one: only AWS_PROXY"),
        ({"DefinitionUri": "s3://bucket/key"}, "BodyS3Location is not supported"),
        ({"Auth": {"ApiKeyRequired": True}}, "api_key: only Lambda authorizers"),
        ({"Auth": {"DefaultAuthorizer": "Absent"}}, "no authorizer Absent"),
        ({"Auth": {"DefaultAuthorizer": "AWS_IAM"}}, "no authorizer AWS_IAM"),
        (
            {"Auth": {"DefaultAuthorizer": "C", "Authorizers": {"C": {"UserPoolArn": "arn"}}}},
            "authorizer C: only Lambda authorizers",
        ),
        ({"Auth": authorizer(FunctionPayloadType="COOKIE")}, "invalid 'FunctionPayloadType'"),
        ({"Auth": authorizer(FunctionPayloadType="REQUEST")}, "must specify Identity"),
        ({"Auth": authorizer(FunctionArn="arn:other")}, "arn:other is not one of this template"),
        ({"Auth": {"ResourcePolicy": {"IpRangeBlacklist": ["10.0.0.0/8"]}}}, "amazon-apigateway-policy"),
        ({"GatewayResponses": {"TEAPOT": {}}}, "no such gateway response"),
        (
            {"GatewayResponses": {"UNAUTHORIZED": {"ResponseParameters": {"Paths": {"a": "'b'"}}}}},
            "gatewayresponse.path.a is not supported",
        ),
        ({"GatewayResponses": {"UNAUTHORIZED": {"StatusCode": "4xx"}}}, "must be numeric"),
        ({"MethodSettings": [{"ThrottlingRateLimit": "many"}]}, "not a number"),
        ({"CacheClusterEnabled": True}, "CacheClusterEnabled is not supported"),
        ({"MinimumCompressionSize": 5}, "MinimumCompressionSize is not supported"),
        ({"NoSuchProperty": 5}, "NoSuchProperty"),
    ],
)
def test_unsupported_rest_api_is_an_error(change: dict[str, Any], message: str) -> None:
    with pytest.raises(TemplateError, match=message):
        read(rest_document(**change))


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ({"E": event("get", "/x", RequestModel={"Model": "M", "Required": True})}, "does not define any Models"),
        ({"E": event("get", "/x", Auth={"ApiKeyRequired": True})}, "only Lambda authorizers"),
        ({"E": event("get", "/x", Auth={"Authorizer": "None"})}, "None"),
        ({"E": event("get", "no-slash")}, "is not a path"),
        ({"E": event("get", "/{proxy+}/more")}, "is not a path"),
        ({"E": event("G T", "/x")}, "is not an HTTP method"),
        ({"E": event("get", "/x"), "F": event("GET", "/x")}, "defined multiple times"),
    ],
)
def test_unsupported_event_is_an_error(events: dict[str, Any], message: str) -> None:
    document = rest_document()
    document["Resources"]["F"]["Properties"]["Events"] = events
    with pytest.raises(TemplateError, match=message):
        read(document)


# --- HTTP APIs -----------------------------------------------------------------------------------


def test_http_api_is_read_from_resources() -> None:
    api = read_template(http_document()).api("Api")
    assert (api.kind, api.stage) == ("http", "$default")
    assert api.routes == (Route("GET", "/one", "F", None, "2.0", timeout=30),)


def test_stage_of_an_http_api_limits_its_routes() -> None:
    document = http_document(integration={"TimeoutInMillis": 2500})
    stage = document["Resources"]["Stage"]["Properties"]
    stage["DefaultRouteSettings"] = {"ThrottlingRateLimit": 10, "ThrottlingBurstLimit": 20}
    route = only_route(document)
    assert (route.timeout, route.rate_limit) == (2.5, RateLimit(10, 20))
    stage["RouteSettings"] = {"GET /one": {"ThrottlingRateLimit": 0.5}}
    assert only_route(document).rate_limit == RateLimit(0.5, 20)


@pytest.mark.parametrize(
    ("settings", "limit"),
    [
        ([], None),
        ([{"ResourcePath": "/*", "HttpMethod": "*", "LoggingLevel": "OFF"}], None),
        ([{"ResourcePath": "/*", "HttpMethod": "*", "ThrottlingRateLimit": 5}], RateLimit(5, 5000)),
        (
            [
                {"ResourcePath": "/*", "HttpMethod": "*", "ThrottlingBurstLimit": 5},
                {"ResourcePath": "/~1one", "HttpMethod": "GET", "ThrottlingBurstLimit": 7},
                {"ResourcePath": "/~1two", "HttpMethod": "GET", "ThrottlingBurstLimit": 9},
            ],
            RateLimit(10_000, 7),
        ),
    ],
)
def test_method_settings_of_a_rest_api_limit_its_routes(
    settings: list[dict[str, object]], limit: RateLimit | None
) -> None:
    route = only_route(rest_document(MethodSettings=settings))
    assert (route.timeout, route.rate_limit) == (29, limit)


def test_integration_can_be_an_invocation_uri() -> None:
    route = only_route(http_document({"RouteKey": "$default"}, {"IntegrationUri": INVOCATION_URI}))
    assert (route.method, route.path, route.function) == ("ANY", "$default", "F")


def _alias(function: object) -> dict[str, Any]:
    properties = {"Name": "live", "FunctionName": function, "FunctionVersion": "1"}
    return {"Type": "AWS::Lambda::Alias", "Properties": properties}


def test_integration_can_be_an_alias() -> None:
    document = http_document({}, {"IntegrationUri": {"Ref": "Alias"}}, Alias=_alias({"Ref": "F"}))
    assert only_route(document).function == "F"


@pytest.mark.parametrize("function", ["F", {"Ref": "Stage"}])
def test_alias_needs_a_function_of_the_template(function: object) -> None:
    document = http_document({}, {"IntegrationUri": {"Ref": "Alias"}}, Alias=_alias(function))
    with pytest.raises(TemplateError, match=r"Alias\.FunctionName is not a function"):
        read(document)


def test_http_api_authorizer_is_read() -> None:
    sources = ["$request.header.Authorization", "$request.querystring.q", "$context.routeKey", "$stageVariables.v"]
    document = locked(EnableSimpleResponses=True, AuthorizerResultTtlInSeconds=60, IdentitySource=sources)
    route = only_route(document)
    assert route.authorizer == Authorizer(
        name="Lock",
        function="Guard",
        kind="REQUEST",
        identity_sources=(
            IdentitySource("header", "Authorization"),
            IdentitySource("querystring", "q"),
            IdentitySource("context", "routeKey"),
            IdentitySource("stage_variable", "v"),
        ),
        cache_seconds=60,
        payload_format="2.0",
        simple_responses=True,
    )


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (http_document({"AuthorizationType": "AWS_IAM"}), "AWS_IAM is not supported"),
        (http_document({"AuthorizationType": "JWT"}), "None is not a AWS::ApiGatewayV2::Authorizer"),
        (http_document({"AuthorizationScopes": ["a"]}), "AuthorizationScopes need the authorization JWT"),
        (http_document({"Target": "integrations/Other"}), "Other is no"),
        (http_document({"RouteKey": "GET one"}), "is not a path"),
        (http_document(integration={"IntegrationType": "HTTP_PROXY"}), "AWS_PROXY"),
        (http_document(integration={"PayloadFormatVersion": None}), "payload format"),
        (http_document(integration={"RequestParameters": {}}), "RequestParameters"),
        (locked(AuthorizerType="JWT"), "Lock is not an authorizer for the authorization CUSTOM"),
        (locked(AuthorizerUri="arn:x"), "invocation address"),
        (locked(IdentitySource=["$request.body.x"]), "identity source"),
        (locked(EnableSimpleResponses="yes"), "true or false"),
        (http_document(Second=part("Stage", ApiId={"Ref": "Api"}, StageName="two")), "one stage, not 2"),
        (http_document(Api=part("Api", ProtocolType="WEBSOCKET")), "ProtocolType HTTP"),
        (http_document(Api=part("Api", ProtocolType="HTTP", CorsConfiguration={})), "CorsConfiguration"),
    ],
)
def test_unsupported_http_api_is_an_error(document: dict[str, Any], message: str) -> None:
    with pytest.raises(TemplateError, match=message):
        read(document)


# --- Native JWT authorizers ----------------------------------------------------------------------

RSA = frozenset(("RS256", "RS384", "RS512"))
HEADER = IdentitySource("header", "Authorization")
REST_CONFIGURATION = {
    "defaultAlgorithms": ["RS256", "ES384"],
    "issuers": [
        {
            "issuer": "https://i",
            "audiences": ["a", "b"],
            "additionalClaims": [
                {"claimName": "tenant", "format": "SINGLE_STRING", "required": True, "expectedValues": ["t"]},
                {"claimName": "azp", "format": "SINGLE_STRING"},
            ],
        },
        {"issuer": "http://localhost:8085/ms-auth-server", "audiences": ["a"]},
    ],
}
REST_JWT = JwtAuthorizer(
    "Tokens",
    HEADER,
    (
        JwtIssuer("https://i", frozenset("ab"), (RequiredClaim("tenant", "t", required=True), RequiredClaim("azp"))),
        JwtIssuer("http://localhost:8085/ms-auth-server", frozenset("a")),
    ),
    frozenset(("RS256", "ES384")),
)


def in_pascal_case(value: Any) -> Any:
    """Write names of members as CloudFormation does."""
    if isinstance(value, dict):
        return {name[0].upper() + name[1:]: in_pascal_case(each) for name, each in value.items()}
    return [in_pascal_case(each) for each in value] if isinstance(value, list) else value


def rest_resources(
    configuration: dict[str, Any], method: dict[str, Any] | None = None, **authorizer: object
) -> dict[str, Any]:
    """A REST API with a resource for its method, its path, and its native JWT authorizer."""
    types: dict[str, tuple[str, dict[str, Any]]] = {
        "Api": ("RestApi", {"Name": "own"}),
        "Stage": ("Stage", {"StageName": "live", "DeploymentId": "d"}),
        "Items": ("Resource", {"ParentId": {"Fn::GetAtt": ["Api", "RootResourceId"]}, "PathPart": "items"}),
        "Item": ("Resource", {"ParentId": {"Ref": "Items"}, "PathPart": "{id}"}),
        "Tokens": (
            "Authorizer",
            {
                "Name": "tokens",
                "Type": "JWT",
                "IdentitySource": "method.request.header.Authorization",
                "JwtConfiguration": in_pascal_case(configuration),
                **authorizer,
            },
        ),
        "Method": (
            "Method",
            {
                "ResourceId": {"Ref": "Item"},
                "HttpMethod": "GET",
                "AuthorizationType": "JWT",
                "AuthorizerId": {"Ref": "Tokens"},
                "AuthorizationScopes": ["x.read", "x.admin"],
                "Integration": {"Type": "AWS_PROXY", "IntegrationHttpMethod": "POST", "Uri": INVOCATION_URI},
                **(method or {}),
            },
        ),
    }
    resources = {
        name: {
            "Type": f"AWS::ApiGateway::{kind}",
            "Properties": properties if name == "Api" else {"RestApiId": API, **properties},
        }
        for name, (kind, properties) in types.items()
    }
    return {"Resources": {**resources, "F": function(), "Guard": function()}}


def test_jwt_authorizer_of_a_rest_api_is_read_from_resources() -> None:
    scopes = frozenset(("x.read", "x.admin"))
    assert only_route(rest_resources(REST_CONFIGURATION)) == Route(
        "GET", "/items/{id}", "F", authorizer=REST_JWT, scopes=scopes
    )
    root = {"ResourceId": {"Fn::GetAtt": "Api.RootResourceId"}, "HttpMethod": "ANY", "AuthorizationScopes": []}
    assert only_route(rest_resources(REST_CONFIGURATION, root)) == Route("ANY", "/", "F", authorizer=REST_JWT)


def test_lambda_authorizer_of_a_rest_api_is_read_from_resources() -> None:
    document = rest_resources({}, {"AuthorizationType": "CUSTOM", "AuthorizationScopes": []})
    properties = document["Resources"]["Tokens"]["Properties"]
    del properties["JwtConfiguration"]
    properties |= {
        "Type": "TOKEN",
        "IdentitySource": "method.request.header.Token",
        "AuthorizerUri": {"Fn::Sub": AUTHORIZER_URI},
        "AuthorizerResultTtlInSeconds": 0,
    }
    authorizer = Authorizer("Tokens", "Guard", "TOKEN", (IdentitySource("header", "Token"),), 0)
    assert only_route(document) == Route("GET", "/items/{id}", "F", authorizer)


def test_jwt_authorizer_of_a_rest_api_is_read_from_openapi() -> None:
    integration = {"type": "aws_proxy", "httpMethod": "POST", "uri": INVOCATION_URI}
    authorizer = {
        "type": "jwt",
        "identitySource": "method.request.header.Authorization",
        "jwtConfiguration": REST_CONFIGURATION,
    }
    operation: dict[str, Any] = {"x-amazon-apigateway-integration": integration}
    guarded = {**operation, "security": [{"Tokens": ["x.read"]}]}
    schemes = {"Tokens": {"type": "oauth2", "x-amazon-apigateway-authorizer": authorizer}}
    body = {
        "openapi": "3.0.1",
        "info": {"title": "own", "version": "1"},
        "paths": {"/own": {"get": guarded, "post": operation}},
        "components": {"securitySchemes": schemes},
    }
    document = rest_document(DefinitionBody=body)
    document["Resources"]["F"]["Properties"]["Events"] = {}
    assert set(read(document).routes) == {
        Route("GET", "/own", "F", authorizer=REST_JWT, scopes=frozenset(("x.read",))),
        Route("POST", "/own", "F"),
    }


def jwt_locked(configuration: object = None, **properties: object) -> dict[str, Any]:
    """An HTTP API of resources whose route has a native JWT authorizer."""
    declared = {
        "ApiId": API,
        "Name": "lock",
        "AuthorizerType": "JWT",
        "IdentitySource": ["$request.header.Authorization"],
        "JwtConfiguration": configuration or {"Issuer": "https://i", "Audience": ["a"]},
    }
    route = {"AuthorizationType": "JWT", "AuthorizerId": {"Ref": "Lock"}, "AuthorizationScopes": ["x.read"]}
    return http_document(route, Lock=part("Authorizer", **{**declared, **properties}))


def test_jwt_authorizer_of_an_http_api_is_read_from_resources() -> None:
    route = only_route(jwt_locked())
    assert route.authorizer == JwtAuthorizer("Lock", HEADER, (JwtIssuer("https://i", frozenset("a")),), RSA)
    assert route.scopes == frozenset(("x.read",))
    route = only_route(jwt_locked(IdentitySource=["$request.querystring.token"]))
    assert isinstance(route.authorizer, JwtAuthorizer)
    assert route.authorizer.source == IdentitySource("querystring", "token")


def test_jwt_authorizer_of_sam_is_read() -> None:
    events = {
        "One": http_event(ApiId=API, Method="get", Path="/x"),
        "Two": http_event(ApiId=API, Method="get", Path="/y", Auth={"AuthorizationScopes": ["y.read"]}),
    }
    shared = {"DefaultAuthorizer": "J", "Authorizers": {"J": {**JWT, "AuthorizationScopes": ["x.read"]}}}
    api = read(http_api_document(events, Auth=shared))
    assert {route.path: route.scopes for route in api.routes} == {
        "/x": frozenset(("x.read",)),
        "/y": frozenset(("y.read",)),
    }
    issuers = (JwtIssuer("https://i", frozenset("a")),)
    assert {route.authorizer for route in api.routes} == {JwtAuthorizer("J", HEADER, issuers, RSA)}


def rest_jwt(change: dict[str, Any], **issuer: object) -> dict[str, Any]:
    return rest_resources(
        {"defaultAlgorithms": ["RS256"], "issuers": [{"issuer": "https://i", "audiences": ["a"], **issuer}], **change}
    )


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (rest_jwt({"defaultAlgorithms": ["PS256"]}), "defaultAlgorithms must be some of ES256"),
        (rest_jwt({"defaultAlgorithms": []}), "defaultAlgorithms must be some of"),
        (rest_jwt({"issuers": []}), "needs issuers that differ"),
        (rest_jwt({"issuers": 2 * [{"issuer": "https://i", "audiences": ["a"]}]}), "needs issuers that differ"),
        (rest_jwt({}, audiences=[]), "https://i needs audiences"),
        (rest_jwt({}, audiences=[""]), "https://i needs audiences"),
        (rest_jwt({}, issuer="http://i.example"), "an http URL of a host other than localhost"),
        (rest_jwt({}, issuer="https://u@i.example"), "not an https URL"),
        (rest_jwt({}, issuer="https://i.example/#f"), "not an https URL"),
        (rest_jwt({}, issuer="https://i.example/?q=1"), "has a query"),
        (rest_jwt({}, additionalClaims=[{"claimName": "scp", "format": "SINGLE_STRING"}]), "scp is not an additional"),
        (rest_jwt({}, additionalClaims=[{"claimName": "x", "format": "STRING_ARRAY"}]), "x must be SINGLE_STRING"),
        (
            rest_jwt({}, additionalClaims=2 * [{"claimName": "x", "format": "SINGLE_STRING"}]),
            "an additional claim is declared twice",
        ),
        (rest_resources(REST_CONFIGURATION, IdentitySource="method.request.querystring.token"), "a request header"),
        (rest_resources(REST_CONFIGURATION, IdentitySource=""), "needs one identity source"),
        (rest_resources(REST_CONFIGURATION, AuthorizerResultTtlInSeconds=300), "authorizerResultTtlInSeconds is not"),
        (rest_resources(REST_CONFIGURATION, {"AuthorizationType": "AWS_IAM"}), "AWS_IAM is not supported"),
        (
            rest_resources(REST_CONFIGURATION, {"AuthorizationType": "CUSTOM", "AuthorizationScopes": []}),
            "Tokens is not an authorizer for the authorization CUSTOM",
        ),
        (rest_resources(REST_CONFIGURATION, {"ApiKeyRequired": True}), "ApiKeyRequired is not supported"),
        (rest_resources(REST_CONFIGURATION, {"Integration": {"Type": "MOCK"}}), "only AWS_PROXY"),
        (rest_resources(REST_CONFIGURATION, {"ResourceId": {"Ref": "Stage"}}), "Stage is not a"),
        (
            {"Resources": {**jwt_locked()["Resources"], "Api": part("Api", ProtocolType="HTTP", Body={"paths": {}})}},
            "Route are not part of its document",
        ),
        (jwt_locked({"Issuer": "https://i", "Audience": []}), "https://i needs audiences"),
        (jwt_locked({"Issuer": "i", "Audience": ["a"]}), "not an https URL"),
        (jwt_locked(IdentitySource=["$context.routeKey"]), "a request header"),
        (jwt_locked(EnableSimpleResponses=True), "enableSimpleResponses is not supported"),
    ],
)
def test_invalid_jwt_authorizer_is_an_error(document: dict[str, Any], message: str) -> None:
    with pytest.raises(TemplateError, match=message):
        read(document)


# --- Functions and whole templates ---------------------------------------------------------------


def test_globals_are_function_defaults() -> None:
    document = rest_document()
    document["Globals"] = {"Function": {"Timeout": 7, "Environment": {"Variables": {"A": "1", "B": "1"}}}}
    document["Resources"]["F"]["Properties"]["Environment"] = {"Variables": {"B": 2, "C": True}}
    template = read_template(document)
    assert template.function("F").environment == {"A": "1", "B": "2", "C": "true"}
    assert template.function("F").timeout == 7
    assert template.function("Guard").environment == {"A": "1", "B": "1"}
    assert template.function("Guard").memory == 128
    assert template.function("Guard").name == "gatehouse-Guard"


def test_function_can_have_a_name() -> None:
    document = rest_document()
    named = {"Fn::Sub": "${AWS::StackName}-named"}
    document["Resources"]["F"]["Properties"]["FunctionName"] = named
    document["Resources"]["Guard"]["Properties"]["FunctionName"] = "guard"
    template = read_template(document)
    assert template.function("F").name == "gatehouse-named"
    assert template.function("Guard").arn.endswith(":function:guard")


def test_unsupported_function_is_an_error() -> None:
    document = rest_document()
    document["Resources"]["F"]["Properties"]["ImageUri"] = "image"
    with pytest.raises(TemplateError, match="F is a container image"):
        read_template(document).function("F")


# --- HTTP APIs of SAM ----------------------------------------------------------------------------


def http_event(**properties: object) -> dict[str, Any]:
    return {"Type": "HttpApi", "Properties": properties}


def http_api_document(events: dict[str, Any], **api: object) -> dict[str, Any]:
    return {
        "Resources": {
            "Api": {"Type": "AWS::Serverless::HttpApi", "Properties": api},
            "F": function(Events=events),
            "Guard": function(),
        }
    }


GUARD = {
    "FunctionArn": {"Fn::GetAtt": ["Guard", "Arn"]},
    "AuthorizerPayloadFormatVersion": "2.0",
    "EnableSimpleResponses": True,
    "Identity": {"Headers": ["Authorization"], "Context": ["routeKey"], "ReauthorizeEvery": 60},
}


JWT = {
    "IdentitySource": "$request.header.Authorization",
    "JwtConfiguration": {"issuer": "https://i", "audience": ["a"]},
}


def test_http_api_of_sam_is_read() -> None:
    document = http_api_document(
        {
            "One": http_event(ApiId=API, Method="get", Path="/x/{id}", TimeoutInMillis=2500),
            "Two": http_event(
                ApiId=API,
                Method="ANY",
                Path="/open",
                Auth={"Authorizer": "NONE"},
                PayloadFormatVersion="1.0",
                RouteSettings={"ThrottlingBurstLimit": 2},
            ),
            "Rest": http_event(ApiId=API),
            "Queue": {"Type": "SQS", "Properties": {"Queue": "arn"}},
        },
        StageName="live",
        StageVariables={"a": "b"},
        DefaultRouteSettings={"ThrottlingRateLimit": 5},
        Auth={"DefaultAuthorizer": "Gate", "Authorizers": {"Gate": GUARD}},
    )
    api = read(document)
    gate = Authorizer(
        name="Gate",
        function="Guard",
        kind="REQUEST",
        identity_sources=(IdentitySource("header", "Authorization"), IdentitySource("context", "routeKey")),
        cache_seconds=60,
        payload_format="2.0",
        simple_responses=True,
    )
    assert (api.kind, api.api_id, api.stage, api.stage_variables) == ("http", "api", "live", {"a": "b"})
    limit = RateLimit(5, 5000)
    assert set(api.routes) == {
        Route("GET", "/x/{id}", "F", gate, "2.0", 2.5, limit),
        Route("ANY", "/open", "F", None, "1.0", 30, RateLimit(5, 2)),
        Route("ANY", "$default", "F", gate, "2.0", 30, limit),
    }


def test_http_api_of_sam_calls_the_alias_of_a_function() -> None:
    document = http_api_document({"One": http_event(ApiId=API, Method="get", Path="/x")})
    document["Resources"]["F"]["Properties"]["AutoPublishAlias"] = "live"
    assert only_route(document).function == "F"


def test_sam_adds_apis_for_events_without_one() -> None:
    events = {
        "One": http_event(Method="get", Path="/x"),
        "Two": {"Type": "Api", "Properties": {"Method": "get", "Path": "/y"}},
    }
    template = read_template({"Resources": {"F": function(Events=events)}})
    assert set(template.apis()) == {"ServerlessHttpApi", "ServerlessRestApi"}
    http, rest = template.api("ServerlessHttpApi"), template.api("ServerlessRestApi")
    assert [(http.stage, *http.routes)] == [("$default", Route("GET", "/x", "F", None, "2.0", 30))]
    assert [(rest.stage, *rest.routes)] == [("Prod", Route("GET", "/y", "F"))]


@pytest.mark.parametrize(
    ("api", "message"),
    [
        ({"CorsConfiguration": {"AllowOrigins": ["*"]}}, "x-amazon-apigateway-cors is not"),
        ({"Auth": {"DefaultAuthorizer": "Absent"}}, "no authorizer Absent"),
        ({"Auth": {"EnableIamAuthorizer": True, "DefaultAuthorizer": "AWS_IAM"}}, "AWS_IAM"),
        ({"NoSuchProperty": 1}, "NoSuchProperty"),
    ],
)
def test_unsupported_http_api_of_sam_is_an_error(api: dict[str, Any], message: str) -> None:
    document = http_api_document({"One": http_event(ApiId=API, Method="get", Path="/x")}, **api)
    with pytest.raises(TemplateError, match=message):
        read(document)


def test_other_resource_is_neither_function_nor_api() -> None:
    template = read_template(rest_document())
    for logical_id in ("Absent", "Api"):
        with pytest.raises(TemplateError, match=f"{logical_id} is not a function"):
            template.function(logical_id)
    for logical_id in ("Absent", "F"):
        with pytest.raises(TemplateError, match=f"{logical_id} is not an API"):
            template.api(logical_id)


def test_parameters_can_be_set() -> None:
    document = rest_document(StageName={"Ref": "Stage"})
    document["Parameters"] = {"Stage": {"Type": "String", "Default": "live"}}
    assert read(document).stage == "live"
    assert read_template(document, {"Stage": "test"}).api("Api").stage == "test"
    with pytest.raises(TemplateError, match="no parameter Nothing"):
        read_template(document, {"Nothing": "x"})
    del document["Parameters"]["Stage"]["Default"]
    with pytest.raises(TemplateError, match="parameter Stage has no default"):
        read_template(document)


def test_false_condition_removes_a_resource() -> None:
    document = rest_document()
    document["Conditions"] = {"Never": {"Fn::Equals": ["a", "b"]}}
    document["Resources"]["F"]["Condition"] = "Never"
    template = read_template(document)
    assert "F" not in template.resources
    assert template.api("Api").routes == ()


@pytest.mark.parametrize(
    ("resource", "message"),
    [
        ({"Type": "AWS::ApiGateway::UsagePlan"}, "UsagePlan is not supported"),
        ({"Type": "AWS::Serverless::SimpleTable"}, "SimpleTable is not supported"),
        ({"Type": "AWS::ApiGateway::GatewayResponse"}, "GatewayResponse is not supported"),
        ({}, "has no Type"),
        ({"Type": "AWS::SQS::Queue", "Condition": "Nothing"}, "no condition Nothing"),
    ],
)
def test_unsupported_resources_are_an_error(resource: dict[str, Any], message: str) -> None:
    document = rest_document()
    document["Resources"]["Extra"] = resource
    with pytest.raises(TemplateError, match=message):
        read_template(document)


def test_globals_of_apis_are_applied() -> None:
    document = {**rest_document(), "Globals": {"Api": {"Variables": {"a": "b"}}}}
    assert read(document).stage_variables == {"a": "b"}
    with pytest.raises(TemplateError, match="Globals: SimpleTable"):
        read_template({**document, "Globals": {"SimpleTable": {}}})


def test_account_is_part_of_every_arn() -> None:
    template = read_template(rest_document(), account=replace(LAPTOP, partition="aws-cn", region="cn-north-1"))
    assert template.function("F").arn.startswith("arn:aws-cn:lambda:cn-north-1:")
