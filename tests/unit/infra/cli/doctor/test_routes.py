"""Routes that a scope map opens, closes or names by mistake, as the doctor finds them."""

import json

import pytest

from infra.cli.context import CommandContext
from infra.cli.doctor import account as checks
from infra.cli.doctor.command import examined
from infra.cli.doctor.context import CheckContext, Level
from tests.support.cli import GUARDED_API, ISSUER, STACK, aws_client
from tests.support.cli import _session as own_session
from tests.support.memory_stores import ManualClock
from tests.support.server import NOW
from tests.support.whole_deployment import deploy_all, guard_route

pytestmark = pytest.mark.usefixtures("account")


def _found() -> dict[str, list[str]]:
    command = CommandContext(ManualClock(NOW), {"GATEHOUSE_STACK": STACK}, own_session)
    context = CheckContext(command)
    return {
        check.name: [
            finding.seen
            for finding in examined(context, check)
            if finding.level not in (Level.OK, Level.NOT_APPLICABLE)
        ]
        for check in checks.CHECKS
        if check.area == "routes"
    }


def _rules(api: str, text: str) -> None:
    aws_client("ssm").put_parameter(Name=f"/gatehouse/{STACK}/apis/{api}", Value=text, Type="String", Overwrite=True)


def test_matching_routes_have_no_findings() -> None:
    deploy_all(ISSUER, GUARDED_API)
    assert _found() == {"sample API": [], "APIs with rules": []}


def test_sample_api_route_faults_are_named() -> None:
    scopes = {"r": ["GET /country/code/{code}", "GET /gone"]}
    deploy_all(ISSUER, GUARDED_API, authorizer={"SCOPE_MAP": json.dumps(scopes)})
    guard_route("GET", "/country/code/export-all")
    found = _found()["sample API"]
    assert [each.partition(" is")[0] for each in found] == [
        "GET /country/code/export-all",
        "GET /country",
        "the scope map names GET /gone, which",
    ]
    assert "is open to every scope that opens GET /country/code/{parameter}" in found[0]
    assert "no scope opens it" in found[1]


def test_other_apis_routes_are_compared() -> None:
    deploy_all(ISSUER, GUARDED_API, sample_api=False)
    gateway = aws_client("apigatewayv2")
    api = gateway.create_api(Name="customers", ProtocolType="HTTP")["ApiId"]
    for route in ("GET /customers/{id}", "GET /customers/export-all", "POST /customers"):
        gateway.create_route(ApiId=api, RouteKey=route, AuthorizationType="CUSTOM")
    gateway.create_route(ApiId=api, RouteKey="GET /open", AuthorizationType="NONE")
    _rules(api, '{"scopes": {"r": ["GET /customers/{id}"]}, "audience": ["https://a.example"]}')
    found = _found()["APIs with rules"]
    assert len(found) == 2
    assert f"API {api}: GET /customers/export-all is open to every scope" in found[0]
    assert f"API {api}: POST /customers is guarded and no scope opens it" in found[1]


def test_invalid_or_orphaned_rules_are_named() -> None:
    deploy_all(ISSUER, GUARDED_API)
    _rules("gone", '{"scopes": {"r": ["GET /x"]}, "audience": ["https://a.example"]}')
    _rules("wrong", "{}")
    found = _found()["APIs with rules"]
    assert any("rules for the API gone, which does not exist" in each for each in found)
    assert any("the rules of the API wrong are not valid" in each for each in found)


def test_rules_for_any_audience_are_named() -> None:
    deploy_all(ISSUER, GUARDED_API)
    api = aws_client("apigatewayv2").create_api(Name="customers", ProtocolType="HTTP")["ApiId"]
    warning = f"the API {api} accepts tokens for any audience, also those for other APIs"
    for audience, expected in (("*", [warning]), ("https://a.example", [])):
        _rules(api, json.dumps({"scopes": {}, "audience": audience}))
        assert [each for each in _found()["APIs with rules"] if "audience" in each] == expected
