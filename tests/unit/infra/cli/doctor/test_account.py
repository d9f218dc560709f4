"""Findings of the doctor in an account, one fault at a time."""

import json
from collections.abc import Callable

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


def take_the_authorizer_away() -> None:
    api = physical_name("GuardedApi")
    (found,) = aws_client("apigateway").get_authorizers(restApiId=api)["items"]
    aws_client("apigateway").delete_authorizer(restApiId=api, authorizerId=found["id"])


def change_the_authorizer(path: str, value: str) -> None:
    api = physical_name("GuardedApi")
    (found,) = aws_client("apigateway").get_authorizers(restApiId=api)["items"]
    operations = [{"op": "replace", "path": path, "value": value}]
    aws_client("apigateway").update_authorizer(restApiId=api, authorizerId=found["id"], patchOperations=operations)


def take_the_target_away() -> None:
    rule = physical_name("RotateKeysSchedule")
    aws_client("events").enable_rule(Name=rule)
    aws_client("events").remove_targets(Rule=rule, Ids=["it"])


ROLE = "arn:aws:iam::123456789012:role/"
WRONGS: dict[str, tuple[str, str, Callable[[], object]]] = {
    "an issuer of another stack": (
        "issuer",
        "IssueToken has the issuer https://other",
        lambda: change_function("IssueToken", Environment={"Variables": {"ISSUER": "https://other"}}),
    ),
    "a role of somebody else": (
        "roles",
        "RotateKeys runs with another, which is not the stack's",
        lambda: change_function("RotateKeys", Role=f"{ROLE}another"),
    ),
    "a role of two functions": (
        "roles",
        "Authorizer, SharedAuthorizer share the role",
        lambda: change_function("SharedAuthorizer", Role=ROLE + physical_name("AuthorizerRole")),
    ),
    "another cache than the stack's": (
        "authorizer cache",
        "API Gateway caches policies for 3600 s, not 300 s",
        lambda: change_the_authorizer("/authorizerResultTtlInSeconds", "3600"),
    ),
    "a cache by another header": (
        "authorizer cache",
        "API Gateway caches policies by method.request.header.X",
        lambda: change_the_authorizer("/identitySource", "method.request.header.X"),
    ),
    "an API without an authorizer": ("authorizer cache", "the guarded API has no authorizer", take_the_authorizer_away),
    "a schedule that is off": (
        "schedule",
        "the schedule of RotateKeys is DISABLED",
        lambda: aws_client("events").disable_rule(Name=physical_name("RotateKeysSchedule")),
    ),
    "a schedule that starts nothing": (
        "schedule",
        "the schedule of RotateKeys does not start it",
        take_the_target_away,
    ),
    "states that are kept for ever": (
        "tables",
        "StateTable never deletes expired items",
        lambda: aws_client("dynamodb").update_time_to_live(
            TableName=physical_name("StateTable"),
            TimeToLiveSpecification={"AttributeName": "expires_at", "Enabled": False},
        ),
    ),
    "clients that cannot be brought back": (
        "tables",
        "no point-in-time recovery",
        lambda: aws_client("dynamodb").update_continuous_backups(
            TableName=physical_name("ClientsTable"),
            PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": False},
        ),
    ),
    "clients that can be deleted": (
        "tables",
        "can be deleted by one call",
        lambda: aws_client("dynamodb").update_table(
            TableName=physical_name("ClientsTable"), DeletionProtectionEnabled=False
        ),
    ),
    "a log without end": (
        "log retention",
        "without retention, or deleted: AuthorizerLog",
        lambda: aws_client("logs").delete_retention_policy(logGroupName="/aws/lambda/Authorizer"),
    ),
    "an access log without end": (
        "log retention",
        "without retention, or deleted: AuthServerAccessLog",
        lambda: (
            aws_client("logs").put_retention_policy(logGroupName="/aws/lambda/Authorizer", retentionInDays=30),
            aws_client("logs").delete_retention_policy(logGroupName="/aws/vendedlogs/apigateway/AuthServer"),
        ),
    ),
    "no rotation": (
        "alarms",
        "RotateKeys has not succeeded for three hours",
        lambda: aws_client("cloudwatch").set_alarm_state(
            AlarmName=f"{STACK}-MissingRotation", StateValue="INSUFFICIENT_DATA", StateReason="test"
        ),
    ),
    "an alarm that is on": (
        "alarms",
        f"the alarm {STACK}-ServerErrors is on: Something is wrong",
        lambda: aws_client("cloudwatch").set_alarm_state(
            AlarmName=f"{STACK}-ServerErrors", StateValue="ALARM", StateReason="test"
        ),
    ),
    "an alarm that is gone": (
        "alarms",
        f"deleted alarms: {STACK}-ServerErrors",
        lambda: aws_client("cloudwatch").delete_alarms(AlarmNames=[f"{STACK}-ServerErrors"]),
    ),
    "a function that is gone": (
        "functions",
        "could not be examined: AWS rejected GetFunctionConfiguration",
        lambda: aws_client("lambda").delete_function(FunctionName=physical_name("PublishJwks")),
    ),
}


def test_a_healthy_account_has_no_findings() -> None:
    deploy_all(ISSUER, GUARDED_API)
    found = findings(checks.CHECKS)
    assert {finding.level for _, finding in found} == {Level.OK}
    assert {name for name, _ in found} == {f"{check.area}: {check.name}" for check in checks.CHECKS}
    seen = {name: finding.seen for name, finding in found}
    assert seen["account: functions"] == "all 10 are active"
    assert seen["account: alarms"] == f"{len(checks.alarm_names(STACK))} alarms, none is on"


def test_faults_in_an_account_are_found() -> None:
    deploy_all(ISSUER, GUARDED_API)
    for wrong, (name, said, make_wrong) in WRONGS.items():
        make_wrong()
        found = account_faults(name)
        assert any(said in finding.seen for finding in found), wrong
        assert all(finding.to_do for finding in found), wrong


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
