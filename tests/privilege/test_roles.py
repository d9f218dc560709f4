"""The roles of template.yaml, and what is made of recorded calls."""

from typing import Any

import pytest

from infra.cloudformation import load
from local.emulated_aws import TEMPLATE
from local.gateway.template import Template
from tests.recorder.aws_call_recorder import UNKNOWN
from tests.support import privileges
from tests.support.iam import Request
from tests.support.privileges import EVERYTHING, OF_THE_RUNTIME, TABLE_KEY_ACTIONS, Roles

KEY_ARN = "arn:aws:kms:us-east-1:123456789012:key/"
LOG_ARN = "arn:aws:logs:us-east-1:123456789012:log-group:"
TABLE_ARN = "arn:aws:dynamodb:us-east-1:123456789012:table/"
STACK_TAG = "gatehouse:stack"
THEIRS = {STACK_TAG: "theirs"}
OURS = {STACK_TAG: "gatehouse"}


@pytest.fixture(scope="module")
def roles() -> Roles:
    return Roles.of_the_stack()


def _record(package: str, call: str, leading_key: str | None = None, **parameters: str) -> Any:
    service, _, operation = call.partition(":")
    return {
        "caller": package,
        "function": None,
        "service": service,
        "operation": operation,
        "parameters": parameters,
        "leading_key": leading_key,
        "tags": {},
        "place": "a test",
    }


def _refused(roles: Roles, *records: Any) -> list[str]:
    return [sentence.removesuffix(", as it did in a test") for sentence in
            privileges.refused(records, roles)]  # fmt: skip


def test_calls_that_the_roles_allow_are_not_spoken_of(roles: Roles) -> None:
    ring_arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:key-ring-AbCdEf"
    assert not _refused(
        roles,
        _record("functions.issue_token", "dynamodb:GetItem", TableName="clients"),
        _record("functions.publish_jwks", "secretsmanager:GetSecretValue", SecretId="key-ring"),
        _record("functions.publish_jwks", "secretsmanager:GetSecretValue", SecretId=ring_arn),
        _record("authorizer", "dynamodb:GetItem", "revoked#", TableName="state"),
        _record("authorizer", "dynamodb:GetItem", "proof#", TableName="missing"),
        _record("authorizer", "ssm:GetParameter", Name="/gatehouse/gatehouse/apis/abcdef1234"),
    )


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        (
            _record("functions.issue_token", "dynamodb:PutItem", TableName="clients"),
            f"IssueToken may not dynamodb:PutItem on {TABLE_ARN}gatehouse-ClientsTable",
        ),
        (
            _record("functions.publish_jwks", "secretsmanager:GetSecretValue", SecretId="signing-keys"),
            "PublishJwks may not secretsmanager:GetSecretValue on gatehouse/SigningKeysSecret",
        ),
        (_record("functions.publish_metadata", "kms:ListAliases"), "PublishMetadata may not kms:ListAliases on *"),
        (
            _record("functions.issue_token", "dynamodb:GetItem", TableName="accounts"),
            "dynamodb:GetItem on 'accounts', which is none of the stack's resources",
        ),
        (
            _record("authorizer", "ssm:GetParameter", Name="/gatehouse/another/apis/abcdef1234"),
            (
                "Authorizer or SharedAuthorizer may not ssm:GetParameter on "
                "arn:aws:ssm:us-east-1:123456789012:parameter/gatehouse/another/apis/abcdef1234"
            ),
        ),
        (
            _record("functions.issue_token", "sqs:SendMessage"),
            "the test does not know the permission for sqs:SendMessage",
        ),
        (
            _record("functions.new_slice", "dynamodb:GetItem", TableName="clients"),
            "functions.new_slice is not a function of the template",
        ),
        (_record(UNKNOWN, "dynamodb:GetItem", TableName="clients"), "GetItem was called by an unknown function"),
        (_record("functions.rotate_keys", "kms:DeleteAlias", AliasName="alias/x"), "the alias alias/x was not created"),
    ],
)
def test_a_call_that_no_role_allows_is_named(roles: Roles, record: Any, sentence: str) -> None:
    assert _refused(roles, record) == [sentence]


def test_authorizer_writes_proofs_and_reads_revocations(roles: Roles) -> None:
    (sentence,) = _refused(roles, _record("authorizer", "dynamodb:PutItem", "revoked#", TableName="state"))
    assert sentence.endswith("(dynamodb:LeadingKeys=revoked#)")


def test_functions_with_shared_code_differ_by_process(roles: Roles) -> None:
    record = _record("authorizer", "ssm:GetParameter", Name="/gatehouse/gatehouse/apis/abcdef1234")
    assert not _refused(roles, {**record, "function": "SharedAuthorizer"})
    (sentence,) = _refused(roles, {**record, "function": "Authorizer"})
    assert sentence.startswith("Authorizer may not ssm:GetParameter")


def test_a_services_use_of_the_data_key_is_part_of_a_call() -> None:
    template = Template.read(TEMPLATE, EVERYTHING)
    roles = Roles(template)
    record = _record("functions.publish_jwks", "secretsmanager:GetSecretValue", SecretId="key-ring")
    assert not _refused(roles, record)
    roles.statements["PublishJwks"] = [
        statement for statement in roles.statements["PublishJwks"] if statement.actions != ("kms:Decrypt",)
    ]
    (sentence,) = _refused(roles, record)
    assert sentence.startswith("PublishJwks may not kms:Decrypt on alias/gatehouse-DataKey")


@pytest.mark.parametrize("action", TABLE_KEY_ACTIONS)
def test_table_roles_use_the_data_key_only_through_dynamodb(roles: Roles, action: str) -> None:
    """AWS does not document which actions DynamoDB needs, so a role allows all of them."""
    key = roles.data_key(f"{TABLE_ARN}gatehouse-ClientsTable")
    assert key is not None
    tables = {"kms:ViaService": ("dynamodb.us-east-1.amazonaws.com",)}
    secrets = {"kms:ViaService": ("secretsmanager.us-east-1.amazonaws.com",)}
    for function in ("IssueToken", "IntrospectToken", "RevokeToken", "Authorizer"):
        assert roles.allows(function, Request(action, key, tables))
        assert not roles.allows(function, Request(action, key))
        through_secrets = roles.allows(function, Request(action, key, secrets))
        assert through_secrets is (action == "kms:Decrypt")
    assert not roles.allows("PublishJwks", Request(action, key, tables))


@pytest.mark.parametrize(("tags", "refused"), [(OURS, 0), (THEIRS, 1), ({}, 1)])
def test_a_key_is_judged_by_the_tags_that_it_was_made_with(roles: Roles, tags: dict[str, str], refused: int) -> None:
    key = {"key": "1234", "usage": "SIGN_VERIFY", "tags": tags, "place": "a test"}
    use = _record("functions.issue_token", "kms:Sign", KeyId=f"{KEY_ARN}1234")
    assert len(_refused(roles, key, use)) == refused


def test_a_grant_that_nothing_needs_is_named(roles: Roles) -> None:
    record = _record("functions.publish_jwks", "secretsmanager:GetSecretValue", SecretId="key-ring")
    (before, after) = (
        [text for text in privileges.unused(records, roles) if text.startswith("PublishJwks ")]
        for records in ([], [record])
    )
    assert "PublishJwks may secretsmanager:GetSecretValue on gatehouse/KeyRingSecret" in before[0]
    assert len(before) == 2
    assert after == []


def test_every_optional_grant_is_switched_on() -> None:
    template = Template.read(TEMPLATE, EVERYTHING)
    resolver = template.resolver()
    conditions = {
        branch["Fn::If"][0]
        for resource in load(TEMPLATE)["Resources"].values()
        if resource["Type"] == "AWS::IAM::Role"
        for policy in resource["Properties"]["Policies"]
        for branch in policy["PolicyDocument"]["Statement"]
        if "Fn::If" in branch
    }
    assert conditions
    assert all(resolver.condition(name, "a policy") for name in conditions)


def test_only_resourceless_actions_have_a_wildcard(roles: Roles) -> None:
    """KMS lists aliases and makes keys in an account, and X-Ray has no resources at all."""
    granted = {
        grant.actions
        for statements in roles.statements.values()
        for statement in statements
        for grant in statement.grants()
        if grant.resources == ("*",)
    }
    assert {action for actions in granted for action in actions} == {
        *("kms:ListAliases", "kms:CreateKey", "kms:TagResource"),
        *("xray:PutTraceSegments", "xray:PutTelemetryRecords"),
    }
    wildcards = {
        (action, statement.conditions)
        for statements in roles.statements.values()
        for statement in statements
        for action in statement.actions
        if "*" in action
    }
    via_dynamodb = ("StringLike", "kms:ViaService", ("dynamodb.us-east-1.amazonaws.com*",))
    assert wildcards == {("kms:ReEncrypt*", (via_dynamodb,)), ("kms:GenerateDataKey*", (via_dynamodb,))}


@pytest.mark.parametrize("function", ["IssueToken", "IntrospectToken", "RotateKeys"])
@pytest.mark.parametrize("tags", [{}, {f"aws:ResourceTag/{STACK_TAG}": ("theirs",)}])
def test_no_function_may_use_another_stacks_key(roles: Roles, function: str, tags: dict[str, tuple[str, ...]]) -> None:
    context = {**tags, "kms:KeyUsage": ("SIGN_VERIFY",)}
    for action in ("Sign", "ScheduleKeyDeletion", "DeleteAlias"):
        assert not roles.allows(function, Request(f"kms:{action}", f"{KEY_ARN}other", context))
    assert not roles.allows("RotateKeys", Request("kms:CreateKey", "*"))


def test_new_key_works_before_its_tag_does(roles: Roles) -> None:
    """Which may take five minutes. A run that could not name its key would leave it behind.

    https://docs.aws.amazon.com/kms/latest/developerguide/tag-authorization.html
    """
    new = {"kms:KeyUsage": ("SIGN_VERIFY",)}
    for action in ("CreateAlias", "DescribeKey", "GetPublicKey"):
        assert roles.allows("RotateKeys", Request(f"kms:{action}", f"{KEY_ARN}new", new))
    alias = "arn:aws:kms:us-east-1:123456789012:alias/another-signing/new"
    assert not roles.allows("RotateKeys", Request("kms:CreateAlias", alias))


@pytest.mark.parametrize(("usage", "expected"), [("SIGN_VERIFY", True), ("ENCRYPT_DECRYPT", False)])
def test_no_tag_gives_the_rotator_an_encryption_key(roles: Roles, usage: str, *, expected: bool) -> None:
    """A role that may tag its own keys may tag others: no KMS policy distinguishes them."""
    context = {f"aws:ResourceTag/{STACK_TAG}": ("gatehouse",), "kms:KeyUsage": (usage,)}
    for action in ("ScheduleKeyDeletion", "CreateAlias", "DeleteAlias", "GetPublicKey"):
        request = Request(f"kms:{action}", f"{KEY_ARN}tagged", context)
        assert roles.allows("RotateKeys", request) is expected


def test_only_what_signs_may_sign_and_it_makes_no_keys(roles: Roles) -> None:
    own = {f"aws:ResourceTag/{STACK_TAG}": ("gatehouse",)}
    new = {f"aws:RequestTag/{STACK_TAG}": ("gatehouse",)}
    signs = {
        function for function in roles.statements if roles.allows(function, Request("kms:Sign", f"{KEY_ARN}own", own))
    }
    makes = {function for function in roles.statements if roles.allows(function, Request("kms:CreateKey", "*", new))}
    assert (signs, makes) == ({"IssueToken", "IntrospectToken"}, {"RotateKeys"})


def test_functions_that_call_nothing_may_call_nothing(roles: Roles) -> None:
    for function in ("PublishMetadata", "PublishResourceMetadata", "LookUpCountry"):
        granted = {action for each in roles.statements[function] for action in each.actions}
        assert granted == OF_THE_RUNTIME


def test_a_function_writes_to_its_own_log_and_to_no_other(roles: Roles) -> None:
    functions = roles.statements.keys()
    logs = {name: f"{LOG_ARN}/aws/lambda/gatehouse-{name}:log-stream:a" for name in functions}
    for action in ("logs:CreateLogStream", "logs:PutLogEvents"):
        for name in functions:
            allowed = {other for other in logs if roles.allows(name, Request(action, logs[other]))}
            assert allowed == {name}
    for name in functions:
        assert not roles.allows(name, Request("logs:CreateLogGroup", f"{LOG_ARN}another:*"))
    template = Template.read(TEMPLATE)
    for name, properties in template.function_properties():
        assert properties["LoggingConfig"]["LogGroup"] == {"Ref": f"{name}Log"}
        assert properties["Role"] == {"Fn::GetAtt": [f"{name}Role", "Arn"]}
