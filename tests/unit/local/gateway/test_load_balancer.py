"""A listener that is read from a template, with functions as targets and an issuer's real HTTP server."""

from collections.abc import Iterator
from typing import Any

import pytest

from infra.cloudformation import TemplateError
from local.gateway.load_balancer import LoadBalancer, Rule, read_rules
from local.gateway.model import Request, Response
from tests.support.answers_server import AnswersServer, Reply, answers_server
from tests.support.clock import ManualClock
from tests.support.tokens import claims, jwks, mint, rsa_jwk
from tests.unit.local.gateway.apis import FakeLambda, bearer, read_template

Document = dict[str, Any]
NOT_FOUND = {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "404", "MessageBody": "no rule"}}
FORWARD = {"Type": "forward", "Order": 2, "TargetGroupArn": {"Ref": "Targets"}}


@pytest.fixture
def server() -> Iterator[AnswersServer]:
    with answers_server() as server:
        server.answers["GET /keys"] = Reply(200, jwks(rsa_jwk()).decode())
        yield server


def resource(kind: str, **properties: object) -> Document:
    return {"Type": f"AWS::ElasticLoadBalancingV2::{kind}", "Properties": properties}


def rule(priority: int, *actions: Document, **conditions: list[str]) -> Document:
    """Write a rule. The conditions are `methods`, `paths` with wildcards, and `expressions`."""
    found: list[Document] = []
    if "methods" in conditions:
        found.append({"Field": "http-request-method", "HttpRequestMethodConfig": {"Values": conditions["methods"]}})
    if "paths" in conditions:
        found.append({"Field": "path-pattern", "PathPatternConfig": {"Values": conditions["paths"]}})
    if "expressions" in conditions:
        found.append({"Field": "path-pattern", "PathPatternConfig": {"RegexValues": conditions["expressions"]}})
    return resource(
        "ListenerRule", ListenerArn={"Ref": "Listener"}, Priority=priority, Conditions=found, Actions=list(actions)
    )


def jwt_validation(url: str = "https://i", *claims: Document, **changes: object) -> Document:
    config = {"Issuer": url, "JwksEndpoint": f"{url}/keys", "AdditionalClaims": list(claims), **changes}
    return {"Type": "jwt-validation", "Order": 1, "JwtValidationConfig": config}


def additional(name: str, form: str, *values: str) -> Document:
    return {"Name": name, "Format": form, "Values": list(values)}


def read(*rules: Document, targets: Document | None = None) -> tuple[Rule, ...]:
    group = targets or {"TargetType": "lambda", "Targets": [{"Id": {"Fn::GetAtt": ["Backend", "Arn"]}}]}
    document: Document = {
        "Resources": {
            "Listener": resource("Listener", DefaultActions=[NOT_FOUND], Certificates=[{"Ref": "Unknown"}]),
            "Targets": resource("TargetGroup", **group),
            "Backend": {"Type": "AWS::Serverless::Function", "Properties": {"Handler": "m.handle"}},
            **{f"Rule{number}": each for number, each in enumerate(rules)},
        }
    }
    template = read_template(document)
    return read_rules(template, template.resources["Listener"])


def request(method: str, path: str, *headers: tuple[str, str], **more: Any) -> Request:
    return Request(method, path, headers=headers, **more)


def test_first_rule_by_priority_decides() -> None:
    fixed = [{**NOT_FOUND, "FixedResponseConfig": {"StatusCode": str(status)}} for status in (201, 202, 203, 204)]
    rules = read(
        rule(9, fixed[3], paths=["/a*"]),
        rule(1, fixed[0], methods=["GET", "PUT"], paths=["/a"]),
        rule(2, fixed[1], paths=["/a/?", "/b.c/*"]),
        rule(3, fixed[2], expressions=["^/x/[^/]+$"]),
    )
    balancer = LoadBalancer(rules, FakeLambda())
    outcomes = {
        "GET /a": 201,
        "POST /a": 204,
        "GET /a/1": 202,
        "GET /a/12": 204,
        "GET /b.c/": 202,
        "GET /bxc/1": 404,
        "GET /x/1": 203,
        "GET /x/1/2": 404,
        "GET /A": 404,
    }
    for each, status in outcomes.items():
        method, path = each.split(" ")
        assert (each, balancer.handle(request(method, path)).status) == (each, status)


def test_rejected_token_ends_the_request(server: AnswersServer) -> None:
    scope = additional("scope", "space-separated-values", "orders.read")
    audience = additional("aud", "single-string", "api")
    checked = jwt_validation(server.url, scope, audience)
    rules = read(rule(1, FORWARD, checked, paths=["/orders"]), rule(2, FORWARD, paths=["/*"]))
    invoke = FakeLambda()
    balancer = LoadBalancer(rules, invoke, clock=ManualClock())

    def status(path: str, **changes: Any) -> int:
        valid = {"iss": server.url, "aud": "api", "scope": "orders.read x"}
        token = mint(claims(**(valid | changes)))
        return balancer.handle(request("GET", path, bearer(token))).status

    assert status("/orders") == 200
    for changes in ({"scope": "orders.write"}, {"scope": ["orders.read"]}, {"aud": ["api"]}, {"iss": "https://other"}):
        rejected: Document = changes
        assert status("/orders", **rejected) == 401
    assert balancer.handle(request("GET", "/orders")).status == 401
    assert status("/open", scope="nothing") == 200
    server.answers["GET /keys"] = Reply(500)
    balancer = LoadBalancer(rules, invoke, clock=ManualClock())
    assert status("/orders") == 500
    assert len(invoke.calls) == 2


def test_function_gets_the_event_of_a_load_balancer() -> None:
    invoke = FakeLambda(
        {"Backend": {"statusCode": 201, "headers": {"A": "b"}, "body": "eA==", "isBase64Encoded": True}}
    )
    balancer = LoadBalancer(read(rule(1, FORWARD)), invoke)
    headers = (("Content-Type", "application/json"), ("X-Forwarded-For", "192.0.2.1"))
    sent = request("POST", "/a%20b", *headers, query="q=a%20b&q=c&e", body=b'{"x": 1}')
    response = balancer.handle(sent)
    assert response == Response(201, (("A", "b"),), b"x")
    (event,) = invoke.events("Backend")
    assert event == {
        "requestContext": {"elb": {"targetGroupArn": "Backend"}},
        "httpMethod": "POST",
        "path": "/a%20b",
        "queryStringParameters": {"q": "c", "e": ""},
        "headers": {
            "content-type": "application/json",
            "x-forwarded-for": "192.0.2.1, 127.0.0.1",
            "x-forwarded-port": "80",
            "x-forwarded-proto": "http",
        },
        "body": '{"x": 1}',
        "isBase64Encoded": False,
    }
    balancer.handle(request("POST", "/", body=b"\xff"))
    assert (invoke.events("Backend")[1]["body"], invoke.events("Backend")[1]["isBase64Encoded"]) == ("/w==", True)


@pytest.mark.parametrize(
    "result",
    [None, {}, {"statusCode": "200"}, {"statusCode": 99}, {"statusCode": 200, "headers": ["a"]},
     {"statusCode": 200, "body": 1}, {"statusCode": 200, "body": "%", "isBase64Encoded": True}],
)  # fmt: skip
def test_malformed_result_is_a_bad_gateway(result: object) -> None:
    balancer = LoadBalancer(read(rule(1, FORWARD)), FakeLambda({"Backend": result}))
    assert balancer.handle(request("GET", "/")).status == 502
    assert balancer.too_large(request("POST", "/")).status == 413


def test_slow_function_is_a_bad_gateway() -> None:
    limits: list[tuple[float, int]] = []
    sent = request("GET", "/", limit=lambda seconds, late: limits.append((seconds, late().status)))
    LoadBalancer(read(rule(1, FORWARD)), FakeLambda(), {"Backend": 7}).handle(sent)
    assert limits == [(7, 502)]


HOST: Document = {"Field": "host-header", "HostHeaderConfig": {"Values": ["a.example"]}}


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ([rule(1, FORWARD), rule(1, FORWARD)], "priority 1 is declared twice"),
        ([rule(1, jwt_validation())], "neither forwards nor has a fixed response"),
        ([rule(1, {"Type": "redirect"})], "the action redirect is not supported"),
        ([rule(1, {**FORWARD, "ForwardConfig": {}})], "ForwardConfig is not supported"),
        ([rule(1, {**FORWARD, "TargetGroupArn": {"Ref": "Listener"}})], "Listener is not a target group"),
        ([rule(1, FORWARD, jwt_validation(Unknown=1))], "Unknown is not supported"),
        ([rule(1, FORWARD, jwt_validation("https://i", additional("exp", "single-string", "1")))], "exp is not valid"),
        ([rule(1, FORWARD, jwt_validation("https://i", additional("a", "text", "1")))], "claim a is not valid"),
        ([rule(1, FORWARD, jwt_validation("https://i", additional("a", "single-string")))], "claim a is not valid"),
        (
            [rule(1, FORWARD, jwt_validation("https://i", additional("a", "space-separated-values", "b c")))],
            "a value of a has a space",
        ),
        (
            [
                rule(
                    1,
                    FORWARD,
                    jwt_validation("https://i", *(additional(str(n), "single-string", "x") for n in range(11))),
                )
            ],
            "more than 10 additional claims",
        ),
    ],
)
def test_unsupported_rule_is_an_error(rules: list[Document], message: str) -> None:
    with pytest.raises(TemplateError, match=message):
        read(*rules)


def test_unsupported_condition_or_target_is_an_error() -> None:
    declared = rule(1, FORWARD)
    declared["Properties"]["Conditions"] = [HOST]
    with pytest.raises(TemplateError, match="the condition host-header is not supported"):
        read(declared)
    for targets in ({"TargetType": "ip", "Targets": [{"Id": "192.0.2.1"}]}, {"TargetType": "lambda"}):
        with pytest.raises(TemplateError, match="only one Lambda function can be the target"):
            read(rule(1, FORWARD), targets=targets)
