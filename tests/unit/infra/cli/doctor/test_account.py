"""Findings of the doctor in an account, one fault at a time."""

import json

import pytest

from functions.shared.keys.key_ring import KeyRing
from infra.cli.doctor import account as checks
from infra.cli.doctor.context import Finding, Level
from infra.cloudformation import load
from local.emulated_aws import TEMPLATE
from tests.support.cli import CONCURRENCY, GUARDED_API, ISSUER, STACK, aws_client, deploy, physical_name
from tests.support.deployed_template import transformed
from tests.support.whole_deployment import check_context, deploy_all, faults, findings, guard_route

pytestmark = pytest.mark.usefixtures("account")


def account_faults(*names: str, area: str = "account") -> list[Finding]:
    chosen = [check for check in checks.CHECKS if check.area == area and (not names or check.name in names)]
    return [each for _, each in findings(chosen) if each.level not in (Level.OK, Level.NOT_APPLICABLE)]


def route_faults(*names: str) -> list[str]:
    return [finding.seen for finding in account_faults(*names, area="routes")]


def change_function(name: str, **changes: object) -> None:
    aws_client("lambda").update_function_configuration(FunctionName=physical_name(name), **changes)


def test_a_healthy_account_has_no_findings() -> None:
    deploy_all(ISSUER, GUARDED_API)
    found = findings(checks.CHECKS)
    assert {finding.level for _, finding in found} == {Level.OK}
    assert {name for name, _ in found} == {f"{check.area}: {check.name}" for check in checks.CHECKS}
    seen = {name: finding.seen for name, finding in found}
    assert seen["account: functions"] == "all 10 are active"
    assert seen["account: alarms"] == f"{len(checks.alarm_names(STACK))} alarms, none is on"


def expect_fault(check: str, text: str) -> None:
    found = account_faults(check)
    assert any(text in each.seen for each in found), (check, text)
    assert all(each.to_do for each in found)


def test_faults_of_functions_and_their_roles_are_found() -> None:
    deploy_all(ISSUER, GUARDED_API)
    role = "arn:aws:iam::123456789012:role/"
    change_function("IssueToken", Environment={"Variables": {"ISSUER": "https://other"}})
    expect_fault("issuer", "IssueToken has the issuer https://other")
    change_function("RotateKeys", Role=f"{role}another")
    expect_fault("roles", "RotateKeys runs with another, which is not the stack's")
    change_function("SharedAuthorizer", Role=role + physical_name("AuthorizerRole"))
    expect_fault("roles", "Authorizer, SharedAuthorizer share the role")
    aws_client("lambda").delete_function(FunctionName=physical_name("PublishJwks"))
    expect_fault("functions", "could not be examined: AWS rejected GetFunctionConfiguration")


def test_faults_of_the_authorizers_cache_are_found() -> None:
    deploy_all(ISSUER, GUARDED_API)
    gateway, api = aws_client("apigateway"), physical_name("GuardedApi")
    (found,) = gateway.get_authorizers(restApiId=api)["items"]
    known = {"restApiId": api, "authorizerId": found["id"]}
    for path, value, text in (
        ("/authorizerResultTtlInSeconds", "3600", "API Gateway caches policies for 3600 s, not 300 s"),
        ("/identitySource", "method.request.header.X", "API Gateway caches policies by method.request.header.X"),
    ):
        gateway.update_authorizer(**known, patchOperations=[{"op": "replace", "path": path, "value": value}])
        expect_fault("authorizer cache", text)
    gateway.delete_authorizer(**known)
    expect_fault("authorizer cache", "the guarded API has no authorizer")


def test_faults_of_schedule_tables_and_logs_are_found() -> None:
    deploy_all(ISSUER, GUARDED_API)
    events, dynamodb, logs = map(aws_client, ("events", "dynamodb", "logs"))
    rule, clients, states = map(physical_name, ("RotateKeysSchedule", "ClientsTable", "StateTable"))
    events.disable_rule(Name=rule)
    expect_fault("schedule", "the schedule of RotateKeys is DISABLED")
    events.enable_rule(Name=rule)
    events.remove_targets(Rule=rule, Ids=["it"])
    expect_fault("schedule", "the schedule of RotateKeys does not start it")
    expiry = {"AttributeName": "expires_at", "Enabled": False}
    dynamodb.update_time_to_live(TableName=states, TimeToLiveSpecification=expiry)
    expect_fault("tables", "StateTable never deletes expired items")
    recovery = {"PointInTimeRecoveryEnabled": False}
    dynamodb.update_continuous_backups(TableName=clients, PointInTimeRecoverySpecification=recovery)
    expect_fault("tables", "ClientsTable has no point-in-time recovery")
    dynamodb.update_table(TableName=clients, DeletionProtectionEnabled=False)
    expect_fault("tables", "ClientsTable can be deleted by one call")
    logs.delete_retention_policy(logGroupName="/aws/lambda/Authorizer")
    logs.delete_retention_policy(logGroupName="/aws/vendedlogs/apigateway/AuthServer")
    expect_fault("log retention", "without retention, or deleted: AuthServerAccessLog, AuthorizerLog")


def test_faults_of_alarms_are_found() -> None:
    deploy_all(ISSUER, GUARDED_API)
    cloudwatch, errors = aws_client("cloudwatch"), f"{STACK}-ServerErrors"
    state = {"StateReason": "test"}
    cloudwatch.set_alarm_state(AlarmName=f"{STACK}-MissingRotation", StateValue="INSUFFICIENT_DATA", **state)
    expect_fault("alarms", "RotateKeys has not succeeded for three hours")
    cloudwatch.set_alarm_state(AlarmName=errors, StateValue="ALARM", **state)
    expect_fault("alarms", f"the alarm {errors} is on: Something is wrong")
    cloudwatch.disable_alarm_actions(AlarmNames=[errors])
    expect_fault("alarms", "some alarms are disabled")
    cloudwatch.delete_alarms(AlarmNames=[errors])
    expect_fault("alarms", f"deleted alarms: {errors}")


def test_a_stack_without_alarms_is_found() -> None:
    deploy_all(ISSUER, GUARDED_API, left_out=frozenset({"Operations"}))
    assert faults(checks.CHECKS) == {"account: alarms": "the stack has no alarms (Watch=false)"}


@pytest.mark.parametrize(
    ("limit", "unreserved", "seen"),
    [
        (1000, 900, "1000 concurrent executions, 900 of them unreserved: 800 more can be reserved"),
        (1000, 100, "no more can be reserved or provisioned"),
        (10, 10, "the account has 10 concurrent executions"),
    ],
)
def test_exhausted_concurrency_is_found(
    monkeypatch: pytest.MonkeyPatch, limit: int, unreserved: int, seen: str
) -> None:
    deploy()
    monkeypatch.setitem(CONCURRENCY, "ConcurrentExecutions", limit)
    monkeypatch.setitem(CONCURRENCY, "UnreservedConcurrentExecutions", unreserved)
    ((_, finding),) = findings(check for check in checks.CHECKS if check.name == "concurrency")
    assert seen in finding.seen
    assert (finding.level is Level.OK) is (unreserved == 900)
    assert unreserved == 900 or "L-B99A9384" in finding.to_do


def test_kms_key_pending_deletion_is_found() -> None:
    deploy(given={"KeyEdition": "kms"}, kept=KeyRing(()))
    check_context().keys.operations.rotate_at_once("RS256")
    assert account_faults("keys in KMS") == []
    (key,) = check_context().ring.keys
    aws_client("kms").schedule_key_deletion(KeyId=key.signer.rpartition("/")[2], PendingWindowInDays=7)
    (finding,) = account_faults("keys in KMS")
    assert finding.seen == f"{key.kid} is PendingDeletion in KMS"


def test_checks_know_the_templates_resources() -> None:
    resources = transformed()["Resources"]
    functions = {name for name, each in resources.items() if each["Type"] == "AWS::Lambda::Function"}
    assert functions == set(checks.FUNCTIONS)
    needed = {f"{name}{kind}" for name in functions for kind in ("Role", "Log")}
    needed |= {"AuthServerAccessLog", "GuardedApiAccessLog"}
    assert needed | {"RotateKeysSchedule", "GuardedApi", "Operations"} <= set(resources)
    operations = load(TEMPLATE.parent / "infra" / "operations.yaml")["Resources"]
    alarms = {f"{STACK}-{name}" for name, each in operations.items() if each["Type"] == "AWS::CloudWatch::Alarm"}
    assert alarms == set(checks.alarm_names(STACK))
    issuing = {name for name in functions if "ISSUER" in resources[name]["Properties"]["Environment"]["Variables"]}
    assert issuing == set(checks.ISSUING)


def _rules(api: str, text: str) -> None:
    aws_client("ssm").put_parameter(Name=f"/gatehouse/{STACK}/apis/{api}", Value=text, Type="String", Overwrite=True)


def test_sample_api_route_faults_are_named() -> None:
    scopes = {"r": ["GET /country/code/{code}", "GET /gone"]}
    deploy_all(ISSUER, GUARDED_API, authorizer={"SCOPE_MAP": json.dumps(scopes)})
    guard_route("GET", "/country/code/export-all")
    found = route_faults("sample API")
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
    found = route_faults("APIs with rules")
    assert len(found) == 2
    assert f"API {api}: GET /customers/export-all is open to every scope" in found[0]
    assert f"API {api}: POST /customers is guarded and no scope opens it" in found[1]


def test_invalid_or_orphaned_rules_are_named() -> None:
    deploy_all(ISSUER, GUARDED_API)
    _rules("gone", '{"scopes": {"r": ["GET /x"]}, "audience": ["https://a.example"]}')
    _rules("wrong", "{}")
    found = route_faults("APIs with rules")
    assert any("rules for the API gone, which does not exist" in each for each in found)
    assert any("the rules of the API wrong are not valid" in each for each in found)


def test_rules_for_any_audience_are_named() -> None:
    deploy_all(ISSUER, GUARDED_API)
    api = aws_client("apigatewayv2").create_api(Name="customers", ProtocolType="HTTP")["ApiId"]
    warning = f"the API {api} accepts tokens for any audience, also those for other APIs"
    for audience, expected in (("*", [warning]), ("https://a.example", [])):
        _rules(api, json.dumps({"scopes": {}, "audience": audience}))
        assert [each for each in route_faults("APIs with rules") if "audience" in each] == expected
