"""Checks of an account: functions, roles, tables, logs, alarms, settings of API Gateway."""

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from authorizer.scope_map import ScopeMapError, parse_api_rules
from functions.shared.keys.key_ring import IN_KMS

from ...cloudformation import load
from ...deploy import REQUEST_MORE, AccountConcurrency
from ...explain import route_faults
from ..output import counted
from .context import CheckContext, Checks, Finding, Findings, failure, named, ok, warning

FUNCTIONS = (
    "IssueToken",
    "PublishJwks",
    "IntrospectToken",
    "RevokeToken",
    "PublishMetadata",
    "RotateKeys",
    "LookUpCountry",
    "PublishResourceMetadata",
    "Authorizer",
    "SharedAuthorizer",
)
"""The template's functions, compared by a test. Each has its own role and log group."""

OF_SAMPLE_API = frozenset({"LookUpCountry", "PublishResourceMetadata", "Authorizer"})
"""Functions that exist only with the sample API."""

ISSUING = tuple(name for name in FUNCTIONS if name not in {"PublishJwks", "LookUpCountry", "RotateKeys"})
"""Functions whose environment has the issuer."""

_EXPIRING = frozenset({"ENABLED", "ENABLING"})
_DEPLOY = "Deploy again, or import the change into the template."

CHECKS = Checks()


@CHECKS.add("account", "stack", in_account_only=True)
def stack(context: CheckContext) -> Findings:
    """The last deployment is complete."""
    (found,) = context.aws("cloudformation").describe_stacks(StackName=context.deployment.name)["Stacks"]
    status = found["StackStatus"]
    if "FAILED" in status:
        yield failure(f"the stack is {status}", "See its events, and continue the rollback.")
    elif status not in {"CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE"}:
        yield warning(f"the stack is {status}: it may differ from the template", "See its events.")
    return f"the stack is {status}"


@CHECKS.add("account", "functions", in_account_only=True)
def functions(context: CheckContext) -> Findings:
    """Every function exists, is active, and has its last update."""
    configurations = _configurations(context)
    for name, found in configurations.items():
        state, update = found.get("State", "Active"), found.get("LastUpdateStatus", "Successful")
        if state not in {"Active", "Inactive"} or update == "Failed":
            to_do = str(found.get("StateReason") or "Deploy again.")
            yield failure(f"{name} is {state}, its last update {update}", to_do)
    return f"all {len(configurations)} are active"


@CHECKS.add("account", "issuer", in_account_only=True)
def issuers(context: CheckContext) -> Findings:
    """All functions and the stack's output have the same issuer."""
    issuer = context.deployment.issuer
    for name, found in _configurations(context).items():
        own = found.get("Environment", {}).get("Variables", {}).get("ISSUER")
        if name in ISSUING and own != issuer:
            yield failure(f"{name} has the issuer {own}, and the stack has {issuer}", _DEPLOY)
    return f"{issuer}, in every function"


@CHECKS.add("account", "roles", in_account_only=True)
def roles(context: CheckContext) -> Findings:
    """Each function has its own role of the stack."""
    functions: dict[str, list[str]] = {}
    for name, found in _configurations(context).items():
        functions.setdefault(str(found["Role"]).rpartition("/")[2], []).append(name)
    for role, (name, *others) in functions.items():
        if others:
            yield failure(f"{named([name, *others])} share the role {role}", _DEPLOY)
        elif role != context.deployment.resources.get(f"{name}Role", role):
            yield failure(f"{name} runs with {role}, which is not the stack's", _DEPLOY)
    return "each function has its own role of the stack"


@CHECKS.add("account", "concurrency", in_account_only=True)
def concurrency(context: CheckContext) -> Findings:
    """Functions of the account can reserve more concurrency."""
    found = AccountConcurrency.read(context.aws("lambda"))
    limits = f"{found.limit} concurrent executions, {found.unreserved} of them unreserved"
    if not found.reservable:
        yield warning(
            f"the account has {limits}: no more can be reserved or provisioned, and all functions share the rest",
            f"Request a higher limit: {REQUEST_MORE}.",
        )
    return f"{limits}: {found.reservable} more can be reserved"


@CHECKS.add("account", "authorizer cache", in_account_only=True, of_sample_api=True)
def authorizer_cache(context: CheckContext) -> Findings:
    """API Gateway caches policies for `AuthorizerCacheSeconds`, by the Authorization header."""
    found = context.aws("apigateway").get_authorizers(restApiId=context.deployment.resource("GuardedApi"))["items"]
    for fault in authorizer_cache_faults(found, context.cache_seconds):
        yield failure(fault, _DEPLOY)
    return f"policies are cached for {context.cache_seconds} s, by the Authorization header"


def authorizer_cache_faults(authorizers: Iterable[Mapping[str, Any]], seconds: int) -> Iterator[str]:
    """Yield how the authorizers of a REST API differ from the template's parameters.

    `authorizers` are those of GetAuthorizers. API Gateway caches for 300 s where none is given.
    """
    known = list(authorizers)
    if not known:
        yield "the guarded API has no authorizer"
    for each in known:
        found = each.get("authorizerResultTtlInSeconds", 300)
        if found != seconds:
            yield f"API Gateway caches policies for {found} s, not {seconds} s"
        if each.get("identitySource") != "method.request.header.Authorization":
            yield f"API Gateway caches policies by {each.get('identitySource')}"


@CHECKS.add("account", "schedule", in_account_only=True)
def schedule(context: CheckContext) -> Findings:
    """The rotator is started every hour."""
    name = context.deployment.resource("RotateKeysSchedule")
    events = context.aws("events")
    rule = events.describe_rule(Name=name)
    rotator = context.function("RotateKeys")["FunctionArn"]
    started = {target["Arn"] for target in events.list_targets_by_rule(Rule=name)["Targets"]}
    if (state := rule.get("State")) != "ENABLED":
        enable = f"aws events enable-rule --name {name}"
        yield failure(f"the schedule of RotateKeys is {state}: keys are not rotated", enable)
    elif rotator not in started:
        yield failure("the schedule of RotateKeys does not start it: keys are not rotated", _DEPLOY)
    return f"RotateKeys runs at {rule.get('ScheduleExpression')}"


@CHECKS.add("account", "keys in KMS", in_account_only=True)
def kms_keys(context: CheckContext) -> Findings:
    """Signing keys in KMS can be used."""
    keys = [key for key in context.ring.keys if key.backend == IN_KMS]
    signing = [key for key in keys if key.sign_until is None or key.sign_until > context.now]
    for key in signing:
        state = context.aws("kms").describe_key(KeyId=key.signer)["KeyMetadata"]["KeyState"]
        if state != "Enabled":
            to_do = "Cancel its deletion or enable it, or: gatehouse keys emergency."
            yield failure(f"{key.kid} is {state} in KMS", to_do)
    return f"{counted(len(signing), 'key')} in KMS, all enabled"


@CHECKS.add("account", "tables", in_account_only=True)
def tables(context: CheckContext) -> Findings:
    """Clients and trust rules can be restored, and expired items are deleted."""
    dynamodb, deployment = context.aws("dynamodb"), context.deployment
    for logical_id in ("ClientsTable", "TrustTable"):
        name = deployment.resource(logical_id)
        backups = dynamodb.describe_continuous_backups(TableName=name)
        recovery = backups["ContinuousBackupsDescription"].get("PointInTimeRecoveryDescription", {})
        if recovery.get("PointInTimeRecoveryStatus") != "ENABLED":
            yield warning(f"{logical_id} has no point-in-time recovery", _DEPLOY)
        if not dynamodb.describe_table(TableName=name)["Table"].get("DeletionProtectionEnabled"):
            to_do = "Fine in a test stack. Else deploy with DeletionProtection=true."
            yield warning(f"{logical_id} can be deleted by one call", to_do)
    for logical_id in ("TokensTable", "StateTable"):
        name = deployment.resource(logical_id)
        live = dynamodb.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
        status = live.get("TimeToLiveStatus")
        if status not in _EXPIRING or live.get("AttributeName") != "expires_at":
            yield warning(f"{logical_id} never deletes expired items", _DEPLOY)
    return "recovery, protection and expiry are on"


@CHECKS.add("account", "log retention", in_account_only=True)
def logs(context: CheckContext) -> Findings:
    """Every log group of functions and APIs has a retention time."""
    client = context.aws("logs")
    endless = []
    apis = ("AuthServer", "GuardedApi") if context.deployment.guarded_api else ("AuthServer",)
    names = [*(f"{name}Log" for name in _functions(context)), *(f"{n}AccessLog" for n in apis)]
    for name in names:
        group = context.deployment.resource(name)
        found = client.describe_log_groups(logGroupNamePrefix=group)["logGroups"]
        exact = [each for each in found if each["logGroupName"] == group]
        if not exact or "retentionInDays" not in exact[0]:
            endless.append(name)
    if endless:
        yield warning(f"without retention, or deleted: {named(endless)}", _DEPLOY)
    return "every log group has a retention time"


@CHECKS.add("account", "alarms", in_account_only=True)
def alarms(context: CheckContext) -> Findings:
    """All alarms exist, have a recipient, and none is in ALARM."""
    if "Operations" not in context.deployment.resources:
        yield warning("the stack has no alarms (Watch=false)", "Deploy with Watch=true.")
        return ""
    deployment = context.deployment
    expected = alarm_names(deployment.name, with_sample_api=bool(deployment.guarded_api))
    found = context.aws("cloudwatch").describe_alarms(AlarmNames=expected)["MetricAlarms"]
    if gone := set(expected) - {each["AlarmName"] for each in found}:
        yield failure(f"deleted alarms: {named(gone)}", _DEPLOY)
    for each in found:
        if each["StateValue"] == "ALARM":
            seen = f"the alarm {each['AlarmName']} is on: {each.get('AlarmDescription', '')}".rstrip(": ")
            yield failure(seen, "See docs/operate.md, Dashboard and alarms.")
    without_data = {each["AlarmName"] for each in found if each["StateValue"] == "INSUFFICIENT_DATA"}
    if f"{deployment.name}-MissingRotation" in without_data:
        yield warning(
            "RotateKeys has not succeeded for three hours, or the stack is new",
            "In the first hour of a stack wait. Later invoke RotateKeys and read its log line.",
        )
    if not any(each.get("AlarmActions") for each in found):
        yield warning("alarms have no recipient", "Deploy with AlarmTopicArn.")
    elif not all(each.get("ActionsEnabled", True) for each in found):
        yield warning("some alarms are disabled", "aws cloudwatch enable-alarm-actions.")
    return f"{counted(len(found), 'alarm')}, none is on"


def alarm_names(stack: str, *, with_sample_api: bool = True) -> list[str]:
    """Return the names of a stack's alarms, those of infra/operations.yaml."""
    return [
        f"{stack}-{name}"
        for name, resource in _operations().items()
        if resource["Type"] == "AWS::CloudWatch::Alarm"
        and (with_sample_api or resource.get("Condition") != "HasSampleApi")
    ]


@cache
def _operations() -> Mapping[str, Any]:
    return load(Path(__file__).parents[2] / "operations.yaml")["Resources"]  # type: ignore[no-any-return]


def _functions(context: CheckContext) -> list[str]:
    return [name for name in FUNCTIONS if context.deployment.guarded_api or name not in OF_SAMPLE_API]


def _configurations(context: CheckContext) -> dict[str, Mapping[str, Any]]:
    return {name: context.function(name) for name in _functions(context)}


_GUARDED = "CUSTOM"
_TO_DO = "Name the route in the scope map, or take it out of the API or the map."


@CHECKS.add("routes", "sample API", in_account_only=True, of_sample_api=True)
def sample_api(context: CheckContext) -> Findings:
    """The scope map names every guarded route of the sample API, and no other."""
    routes = _rest_routes(context, context.deployment.resource("GuardedApi"))
    for fault in route_faults(routes, context.authorizer.scope_map):
        yield warning(fault, _TO_DO)
    return f"the scope map fits the {len(routes)} guarded routes"


@CHECKS.add("routes", "APIs with rules", in_account_only=True)
def apis_with_rules(context: CheckContext) -> Findings:
    """The rules of each API with the shared authorizer name its guarded routes, and no other."""
    path = context.function("SharedAuthorizer")["Environment"]["Variables"].get("API_RULES")
    for each in context.items("ssm", "get_parameters_by_path", "Parameters", Path=path) if path else ():
        api = str(each["Name"]).rpartition("/")[2]
        yield from list(_rules_faults(context, api, each["Value"])) or [
            ok(f"the rules of the API {api} fit its routes")
        ]
    return "no API has rules for the shared authorizer"


def _rules_faults(context: CheckContext, api: str, text: str) -> Iterator[Finding]:
    try:
        rules = parse_api_rules(text.encode())
    except ScopeMapError as error:
        yield failure(
            f"the rules of the API {api} are not valid, and every request is answered 500: {error}",
            "Correct the parameter in Systems Manager.",
        )
        return
    routes = _routes(context, api)
    if routes is None:
        yield warning(f"there are rules for the API {api}, which does not exist", "Delete them.")
        return
    if not rules.audiences:
        yield warning(
            f"the API {api} accepts tokens for any audience, also those for other APIs",
            "Name the API's own audience in its rules.",
        )
    for fault in route_faults(routes, rules.scope_map):
        yield warning(f"API {api}: {fault}", _TO_DO)


def _routes(context: CheckContext, api: str) -> list[str] | None:
    """Return the guarded routes of a REST, HTTP or WebSocket API; None if there is no such API."""
    for read in (_rest_routes, _v2_routes):
        try:
            return read(context, api)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") != "NotFoundException":
                raise
    return None


def _rest_routes(context: CheckContext, api: str) -> list[str]:
    return [
        f"{method} {resource['path']}"
        for resource in context.items("apigateway", "get_resources", "items", restApiId=api, embed=["methods"])
        for method, found in resource.get("resourceMethods", {}).items()
        if found.get("authorizationType") == _GUARDED
    ]


def _v2_routes(context: CheckContext, api: str) -> list[str]:
    routes = context.items("apigatewayv2", "get_routes", "Items", ApiId=api)
    return [route["RouteKey"] for route in routes if route.get("AuthorizationType") == _GUARDED]
