"""A deployment in moto's account with all that `gatehouse doctor` looks at there."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from functions.shared.keys.key_ring import KeyRing
from infra.cli.context import CommandContext
from infra.cli.doctor.account import FUNCTIONS, OF_SAMPLE_API, alarm_names
from infra.cli.doctor.command import examined
from infra.cli.doctor.context import Check, CheckContext, Finding, Level
from infra.cli.doctor.guards import template_guards
from tests.support.cli import STACK, account_session, aws_client, deploy, physical_name
from tests.support.clock import ManualClock
from tests.support.server import NOW

CREDENTIALS = {"client_id": "authorizer", "client_secret": "of-the-authorizer"}
# moto's CloudFormation creates no alarms. They are created next to an unrelated nested stack.
_NESTED = {"Resources": {"Log": {"Type": "AWS::Logs::LogGroup", "Properties": {}}}}


def deploy_all(
    issuer: str,
    guarded_api: str,
    *,
    kept: KeyRing | None = None,
    given: Mapping[str, str] | None = None,
    authorizer: Mapping[str, str] | None = None,
    left_out: frozenset[str] = frozenset(),
    sample_api: bool = True,
) -> None:
    """Create the stack; `authorizer` are further variables of the authorizers' environment."""
    s3 = aws_client("s3")
    s3.create_bucket(Bucket="templates", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    s3.put_object(Bucket="templates", Key="operations", Body=json.dumps(_NESTED).encode())
    secret = aws_client("secretsmanager").create_secret(
        Name=f"{STACK}-IntrospectionCredentials", SecretString=json.dumps(CREDENTIALS)
    )["ARN"]
    environ = {
        "ISSUER": issuer,
        "INTROSPECTION_URI": f"{issuer}/oauth2/introspect",
        "INTROSPECTION_SECRET_ARN": secret,
        **(authorizer or {}),
    }
    resources: dict[str, Any] = {
        "RotateKeysSchedule": {
            "Type": "AWS::Events::Rule",
            "Properties": {
                "ScheduleExpression": "rate(1 hour)",
                "State": "ENABLED",
                "Targets": [{"Id": "it", "Arn": {"Fn::GetAtt": ["RotateKeys", "Arn"]}}],
            },
        },
        "GuardedApi": {"Type": "AWS::ApiGateway::RestApi", "Properties": {"Name": "guarded"}},
        "Operations": {
            "Type": "AWS::CloudFormation::Stack",
            "Properties": {"TemplateURL": "https://templates.s3.amazonaws.com/operations"},
        },
    }
    shared = {**environ, "API_RULES": f"/gatehouse/{STACK}/apis"}
    for of_rules in ("AUDIENCE", "SCOPE_MAP"):  # each API's rules have their own
        shared.pop(of_rules, None)
    environments = {"Authorizer": environ, "SharedAuthorizer": shared}
    for api in ("AuthServer", "GuardedApi"):
        group = {"LogGroupName": f"/aws/vendedlogs/apigateway/{api}", "RetentionInDays": 30}
        resources[f"{api}AccessLog"] = {"Type": "AWS::Logs::LogGroup", "Properties": group}
    for name in FUNCTIONS:
        resources |= _function(name, environments.get(name, {"ISSUER": issuer}))
    if not sample_api:
        left_out |= OF_SAMPLE_API | {"GuardedApi", "GuardedApiAccessLog"}
    more = {name: each for name, each in resources.items() if name not in left_out}
    values = {"AuthorizerCacheSeconds": "300", **(given or {})}
    address = guarded_api if sample_api else None
    deploy(kept=kept, issuer=issuer, guarded_api=address, given=values, more=more)
    _finish(sample_api=sample_api)


def _function(name: str, environ: Mapping[str, str]) -> dict[str, Any]:
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
        ],
    }
    return {
        f"{name}Role": {"Type": "AWS::IAM::Role", "Properties": {"AssumeRolePolicyDocument": trust}},
        name: {
            "Type": "AWS::Lambda::Function",
            "Properties": {
                "Runtime": "python3.13",
                "Handler": "index.handle",
                "Code": {"ZipFile": "def handle(event, context): pass"},
                "Role": {"Fn::GetAtt": [f"{name}Role", "Arn"]},
                "Environment": {"Variables": dict(environ)},
            },
        },
        f"{name}Log": {
            "Type": "AWS::Logs::LogGroup",
            "Properties": {"LogGroupName": f"/aws/lambda/{name}", "RetentionInDays": 30},
        },
    }


def guard_route(method: str, path: str) -> None:
    """Add a guarded route to the sample API."""
    api = {"restApiId": physical_name("GuardedApi")}
    gateway = aws_client("apigateway")
    known = {each["path"]: each["id"] for each in gateway.get_resources(**api)["items"]}
    parent = ""
    for part in path.strip("/").split("/"):
        if f"{parent}/{part}" not in known:
            made = gateway.create_resource(**api, parentId=known[parent or "/"], pathPart=part)
            known[f"{parent}/{part}"] = made["id"]
        parent += f"/{part}"
    gateway.put_method(**api, resourceId=known[path], httpMethod=method, authorizationType="CUSTOM")


def _finish(*, sample_api: bool) -> None:
    """Do what moto's CloudFormation leaves undone."""
    if sample_api:
        for path in ("/country", "/country/code/{code}"):
            guard_route("GET", path)
        aws_client("apigateway").create_authorizer(
            restApiId=physical_name("GuardedApi"),
            name="BearerToken",
            type="REQUEST",
            identitySource="method.request.header.Authorization",
            authorizerResultTtlInSeconds=300,
        )
    dynamodb = aws_client("dynamodb")
    for table in map(physical_name, ("ClientsTable", "TrustTable")):
        dynamodb.update_continuous_backups(
            TableName=table, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
        )
        dynamodb.update_table(TableName=table, DeletionProtectionEnabled=True)
    for logical_id in ("TokensTable", "StateTable"):
        dynamodb.update_time_to_live(
            TableName=physical_name(logical_id),
            TimeToLiveSpecification={"Enabled": True, "AttributeName": "expires_at"},
        )
    cloudwatch = aws_client("cloudwatch")
    for name in alarm_names(STACK, with_sample_api=sample_api):
        cloudwatch.put_metric_alarm(
            AlarmName=name,
            AlarmDescription="Something is wrong.",
            AlarmActions=["arn:aws:sns:eu-west-1:123456789012:alarms"],
            Namespace="Gatehouse",
            MetricName="Failures",
            ComparisonOperator="GreaterThanOrEqualToThreshold",
            EvaluationPeriods=1,
            Period=300,
            Statistic="Sum",
            Threshold=1,
        )


def check_context(*templates: Path, now: float = NOW) -> CheckContext:
    """Return the deployment for checks that run without the command."""
    command = CommandContext(ManualClock(now), {"GATEHOUSE_STACK": STACK}, account_session)
    guards = [guard for path in templates for guard in template_guards(path, command.deployment)]
    return CheckContext(command, guards)


def findings(checks: Iterable[Check], *templates: Path, now: float = NOW) -> list[tuple[str, Finding]]:
    """Return the findings of some checks, each with its area and name."""
    context = check_context(*templates, now=now)
    return [(f"{check.area}: {check.name}", finding) for check in checks for finding in examined(context, check)]


def faults(checks: Iterable[Check]) -> dict[str, str]:
    """Return the last finding that is not ok of some checks, by area and name."""
    return {name: finding.seen for name, finding in findings(checks) if finding.level is not Level.OK}
