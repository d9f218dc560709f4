import json
from dataclasses import replace

import pytest

from infra.cloudformation import TemplateError
from local.gateway.core import Gateway
from local.gateway.events import RequestIds
from local.gateway.gateway_responses import DEFAULT_RESPONSES, GatewayError, GatewayResponses
from local.gateway.model import GatewayResponse, Response
from local.gateway.template import Template
from tests.support.laptop import ROOT
from tests.unit.local.gateway.apis import (
    BEARER,
    Clock,
    FakeLambda,
    allow,
    bearer,
    deny,
    get,
    policy,
    rest_api,
    unauthorized,
)

AUS = "/ms-system/country/code/AUS"
TEMPLATE = ROOT / "template.yaml"


def refused(responses: dict[str, GatewayResponse], result: object = None) -> Response:
    invoke = FakeLambda({"Authorizer": unauthorized() if result is None else result})
    gateway = Gateway(rest_api(BEARER, responses), invoke, clock=Clock())
    return gateway.handle(get(AUS, bearer()))


def body(template: str) -> dict[str, str]:
    return {"application/json": template}


def test_configured_response_sets_status_headers_and_body() -> None:
    response = refused(
        {
            "UNAUTHORIZED": GatewayResponse(
                status=499,
                headers={"WWW-Authenticate": "'Bearer realm=\"x\"'"},
                templates=body('{"error":"unauthorized"}'),
            )
        }
    )
    assert response.status == 499
    assert response.header("www-authenticate") == 'Bearer realm="x"'
    assert response.header("content-type") == "application/json"
    assert response.header("x-amzn-requestid")
    assert response.body == b'{"error":"unauthorized"}'


def test_response_without_template_has_the_default_body() -> None:
    response = refused({"UNAUTHORIZED": GatewayResponse(headers={"X": "'1'"})})
    assert (response.status, response.body) == (401, b'{"message":"Unauthorized"}')


def test_unconfigured_type_falls_back_to_its_class() -> None:
    responses = {
        "DEFAULT_4XX": GatewayResponse(templates=body('{"e":$context.error.messageString}')),
        "DEFAULT_5XX": GatewayResponse(status=503, headers={"X": "'5'"}),
    }
    unauthorized_answer = refused(responses)
    denied = refused(responses, policy(deny("*")))
    failed = refused(responses, {"nonsense": True})
    assert unauthorized_answer.status == 401
    assert json.loads(unauthorized_answer.body) == {"e": "Unauthorized"}
    assert denied.status == 403
    assert json.loads(denied.body)["e"].endswith("with an explicit deny")
    assert (failed.status, failed.header("x")) == (503, "5")


def test_configured_type_ignores_its_class() -> None:
    response = refused(
        {
            "DEFAULT_4XX": GatewayResponse(status=418, headers={"X": "'4'"}),
            "UNAUTHORIZED": GatewayResponse(headers={"Y": "'1'"}),
        }
    )
    assert (response.status, response.header("x"), response.header("y")) == (401, None, "1")


def test_function_failure_uses_the_configured_response() -> None:
    invoke = FakeLambda({"Authorizer": policy(allow("*")), "LookUpCountry": "nonsense"})
    api = rest_api(BEARER, {"DEFAULT_5XX": GatewayResponse(templates=body('{"error":"server"}'))})
    response = Gateway(api, invoke, clock=Clock()).handle(get(AUS, bearer()))
    assert (response.status, response.body) == (502, b'{"error":"server"}')


def test_templates_and_headers_can_use_the_request() -> None:
    template = (
        "$context.error.responseType $context.error.message $context.requestId $context.stage "
        "$context.httpMethod $context.resourcePath $context.path $context.identity.sourceIp $context.domainName "
        "$method.request.header.X-One $method.request.querystring.q $method.request.path.code "
        "$stageVariables.name [$context.authorizer.none] $unknown $"
    )
    api = replace(
        rest_api(
            BEARER,
            {
                "UNAUTHORIZED": GatewayResponse(
                    headers={
                        "X-Echo": "method.request.header.X-One",
                        "X-Stage": "context.stage",
                        "X-Variable": "stageVariables.name",
                        "X-Missing": "method.request.header.Missing",
                    },
                    templates={"text/plain": template},
                )
            },
        ),
        stage_variables={"name": "value"},
    )
    gateway = Gateway(api, FakeLambda(), clock=Clock())
    response = gateway.handle(get(AUS, ("x-one", "1"), query="q=2"))
    assert response.body.decode() == (
        f"UNAUTHORIZED Unauthorized {response.header('x-amzn-requestid')} ms-system GET /country/code/{{code}} "
        "/ms-system/country/code/AUS 127.0.0.1 localhost 1 2 AUS value [] $unknown $"
    )
    assert response.header("x-echo") == "1"
    assert response.header("x-stage") == "ms-system"
    assert response.header("x-variable") == "value"
    assert response.header("x-missing") is None
    assert response.header("content-type") == "text/plain"


def test_denied_response_can_use_the_authorizer_context() -> None:
    responses = {
        "ACCESS_DENIED": GatewayResponse(
            templates=body('{"who":"$context.authorizer.principalId","n":"$context.authorizer.n"}')
        )
    }
    response = refused(responses, policy(deny("*"), context={"n": 7}))
    assert json.loads(response.body) == {"who": "client", "n": "7"}


def test_configured_header_replaces_the_default() -> None:
    response = refused({"UNAUTHORIZED": GatewayResponse(headers={"content-type": "'x/y'"})})
    assert [value for name, value in response.headers if name.lower() == "content-type"] == ["x/y"]


def test_json_is_preferred_among_several_templates() -> None:
    templates = {"text/html": "<p>", "application/json": "{}"}
    response = refused({"UNAUTHORIZED": GatewayResponse(templates=templates)})
    assert (response.header("content-type"), response.body) == ("application/json", b"{}")


@pytest.mark.parametrize(
    "expression",
    [
        "Bearer",
        "'Bearer",
        "'two\r\nlines'",
        "method.request.body",
        "method.request.cookie.x",
        "context.nonsense",
        "integration.response.header.X",
        "'",
    ],
)
def test_invalid_header_expression_is_an_error(expression: str) -> None:
    responses = {"UNAUTHORIZED": GatewayResponse(headers={"X": expression})}
    with pytest.raises(TemplateError, match="UNAUTHORIZED"):
        GatewayResponses(rest_api(responses=responses))


@pytest.mark.parametrize("template", ["$context.error.messageStrin", "$method.request.body", "$context.erorr.message"])
def test_unknown_template_variable_is_an_error(template: str) -> None:
    responses = {"UNAUTHORIZED": GatewayResponse(templates=body(template))}
    with pytest.raises(TemplateError, match="does not exist"):
        GatewayResponses(rest_api(responses=responses))


NOT_FOUND = (404, "not_found", None)
AUTHORIZER_ERROR = (500, "server_error", None)
# Every response type of API Gateway: status, OAuth error, Retry-After.
EXPECTED = {
    "ACCESS_DENIED": (403, "insufficient_scope", None),
    "API_CONFIGURATION_ERROR": (500, "server_error", None),
    "AUTHORIZER_CONFIGURATION_ERROR": AUTHORIZER_ERROR,
    "AUTHORIZER_FAILURE": AUTHORIZER_ERROR,
    "BAD_REQUEST_BODY": (400, "invalid_request", None),
    "BAD_REQUEST_PARAMETERS": (400, "invalid_request", None),
    "EXPIRED_TOKEN": NOT_FOUND,
    "INTEGRATION_FAILURE": (504, "server_error", None),
    "INTEGRATION_TIMEOUT": (504, "temporarily_unavailable", None),
    "INVALID_API_KEY": (403, "invalid_request", None),
    "INVALID_SIGNATURE": NOT_FOUND,
    "MISSING_AUTHENTICATION_TOKEN": NOT_FOUND,
    "QUOTA_EXCEEDED": (429, "slow_down", None),
    "REQUEST_TOO_LARGE": (413, "invalid_request", None),
    "RESOURCE_NOT_FOUND": NOT_FOUND,
    "THROTTLED": (429, "slow_down", "1"),
    "UNAUTHORIZED": (401, "unauthorized", None),
    "UNSUPPORTED_MEDIA_TYPE": (415, "invalid_request", None),
    "WAF_FILTERED": (403, "access_denied", None),
}


def test_every_response_type_has_an_oauth_error() -> None:
    api = Template.read(TEMPLATE).api("GuardedApi")
    assert {"DEFAULT_4XX", "DEFAULT_5XX"} < set(api.gateway_responses)
    responses = GatewayResponses(api)
    found = {}
    for kind in DEFAULT_RESPONSES:
        response = responses.render(GatewayError(kind), get(AUS), RequestIds("id-1", "id-2"))
        error = json.loads(response.body)
        assert set(error) == {"error", "error_description"}
        found[kind] = (response.status, error["error"], response.header("retry-after"))
    assert found == EXPECTED
