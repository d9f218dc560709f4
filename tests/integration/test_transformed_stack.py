"""The transformed template, created by moto's CloudFormation, and our code on what comes of it.

What moto cannot create from a template comes from where the laptop edition has it from.
"""

import io
import json
import re
import warnings
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import boto3
import pytest
from moto import mock_aws

from functions.introspect_token import handler as introspect_token
from functions.introspect_token.handler import Settings as IntrospectTokenSettings
from functions.issue_token import handler as issue_token
from functions.issue_token.handler import Settings as IssueTokenSettings
from functions.rotate_keys import handler as rotate_keys
from functions.rotate_keys.settings import Settings as RotateKeysSettings
from functions.shared.clients.client_registry import DynamoDbClients
from functions.shared.runtime.aws_clients import AwsClients
from functions.shared.runtime.clock import SYSTEM_CLOCK
from functions.shared.runtime.secret_store import SecretsManagerStore
from infra import template_checks
from local import provisioning
from local.aws import TEMPLATE
from local.gateway.template import Template
from tests.support.aws import CREDENTIALS, TABLES
from tests.support.deployed_template import Deployment
from tests.support.proxy_events import basic, form_event, token_event
from tests.support.server import SECRET, client

# Creating the stack takes seconds: one worker creates it for all these tests.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("transformed")]

STACK = "gatehouse"

NOT_IN_MOTO = {
    "AWS::ApiGatewayV2::Api",
    "AWS::ApiGatewayV2::Integration",
    "AWS::ApiGatewayV2::Route",
    "AWS::ApiGatewayV2::Stage",
    "AWS::CloudFormation::CustomResource",
    "AWS::Lambda::Alias",
    "AWS::SecretsManager::Secret",
}
"""What moto's CloudFormation says that it does not know. The laptop's gateway plays the APIs from
the template, and `local.provisioning` makes the secrets and runs what the custom resource runs."""

HALF_IN_MOTO = {
    "AWS::ApiGateway::Deployment",  # sees no methods in a REST API's Body
    "AWS::ApiGateway::Stage",  # of a deployment
    "AWS::CloudFormation::Stack",  # hands a nested stack nothing of what it does not know itself
    "AWS::Lambda::Permission",  # loses a FunctionName that refers to a version's alias
}
"""What moto tries and fails at."""


@dataclass
class Stack:
    """The transformed template, and what moto made of it."""

    resources: dict[str, Any]
    unknown: set[str] = field(default_factory=set)
    created: dict[str, str] = field(default_factory=dict)
    """Physical ids by logical id."""

    def of_type(self, kind: str) -> dict[str, Any]:
        """The properties of the template's resources of one type, by logical id."""
        return {
            name: resource["Properties"]
            for name, resource in self.resources.items()
            if resource["Type"] == kind
        }

    def environment(self, function: str) -> dict[str, str]:
        """What the function was created with; names of what moto does not know are not in it."""
        configured = boto3.client("lambda").get_function_configuration(
            FunctionName=self.created[function]
        )
        # CloudFormation makes texts of numbers; moto leaves them.
        return {name: str(value) for name, value in configured["Environment"]["Variables"].items()}


def _create(stack: Stack, document: dict[str, Any], parameters: dict[str, str]) -> None:
    packaged = io.BytesIO()
    with zipfile.ZipFile(packaged, "w") as archive:
        archive.writestr("handler.py", "")
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket="bucket")
    s3.put_object(Bucket="bucket", Key="key", Body=packaged.getvalue())
    cloudformation = boto3.client("cloudformation")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        cloudformation.create_stack(
            StackName=STACK,
            TemplateBody=json.dumps(document),
            Parameters=[
                {"ParameterKey": name, "ParameterValue": value}
                for name, value in parameters.items()
            ],
        )
        # moto tries what it does not know once more when it is asked what there is.
        pages = list(cloudformation.get_paginator("list_stack_resources").paginate(StackName=STACK))
    for warning in caught:
        stack.unknown.update(re.findall(r"Tried to parse (\S+) but", str(warning.message)))
    for page in pages:
        for each in page["StackResourceSummaries"]:
            if each["LogicalResourceId"]:
                stack.created[each["LogicalResourceId"]] = each["PhysicalResourceId"]


@pytest.fixture(scope="module", params=["true", "false"], ids=["with sample", "without"])
def stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    parameters = {"SampleApi": request.param}
    document = template_checks.transformed(TEMPLATE)
    made = Deployment.of(**parameters).resources
    stack = Stack({name: each for name, each in document["Resources"].items() if name in made})
    kept = {
        name: resource
        for name, resource in document["Resources"].items()
        if resource["Type"] not in HALF_IN_MOTO
    }
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        for name, value in {**CREDENTIALS, "AWS_DEFAULT_REGION": "us-east-1"}.items():
            patch.setenv(name, value)
        _create(stack, {**document, "Resources": kept, "Outputs": {}}, parameters)
        yield stack


def test_all_that_moto_knows_is_created(stack: Stack) -> None:
    assert stack.unknown == NOT_IN_MOTO
    expected = {
        name
        for name, resource in stack.resources.items()
        if resource["Type"] not in NOT_IN_MOTO | HALF_IN_MOTO
    }
    # moto publishes a version whatever its condition says.
    assert set(stack.created) - {"IssueTokenVersion"} == expected
    kinds = {stack.resources[name]["Type"] for name in expected}
    assert {
        "AWS::DynamoDB::Table",
        "AWS::IAM::Role",
        "AWS::KMS::Key",
        "AWS::Lambda::Function",
        "AWS::Logs::LogGroup",
    } <= kinds


def test_the_tables_have_the_keys_that_the_code_uses(stack: Stack) -> None:
    dynamodb = boto3.client("dynamodb")
    keys = set()
    for name in stack.of_type("AWS::DynamoDB::Table"):
        table = dynamodb.describe_table(TableName=stack.created[name])["Table"]
        (key,) = table["KeySchema"]
        keys.add(key["AttributeName"])
        assert table["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
    assert keys == set(TABLES.values())


def test_what_is_kept_is_under_the_stacks_own_key_and_what_ends_is_forgotten(stack: Stack) -> None:
    own = {"Fn::GetAtt": ["DataKey", "Arn"]}
    key = {"Fn::If": ["CreatesDataKey", own, {"Ref": "DataKeyArn"}]}
    tables = stack.of_type("AWS::DynamoDB::Table")
    for properties in tables.values():
        encryption = {"SSEEnabled": True, "SSEType": "KMS", "KMSMasterKeyId": key}
        assert properties["SSESpecification"] == encryption
    for name in ("TokensTable", "StateTable"):
        ttl = tables[name]["TimeToLiveSpecification"]
        assert ttl == {"AttributeName": "expires_at", "Enabled": True}
    secrets = stack.of_type("AWS::SecretsManager::Secret")
    assert len(secrets) == 4
    assert all(properties["KmsKeyId"] == key for properties in secrets.values())
    status = boto3.client("kms").get_key_rotation_status(KeyId=stack.created["DataKey"])
    assert status["KeyRotationEnabled"]


def test_every_function_is_created_with_its_own_role_and_keeps_its_logs_for_a_while(
    stack: Stack,
) -> None:
    functions, logs = boto3.client("lambda"), boto3.client("logs")
    groups = {group["logGroupName"]: group["retentionInDays"] for group in
              logs.describe_log_groups()["logGroups"]}  # fmt: skip
    roles = set()
    for name in stack.of_type("AWS::Lambda::Function"):
        configured = functions.get_function_configuration(FunctionName=stack.created[name])
        roles.add(configured["Role"].rpartition("/")[2])
        assert groups[f"/aws/lambda/{STACK}-{name}"] == 30
    assert roles == {stack.created[name] for name in stack.of_type("AWS::IAM::Role")}


def test_a_token_is_issued_and_introspected_with_what_was_created(stack: Stack) -> None:
    template = Template.read(TEMPLATE)
    names = provisioning.names(template)
    aws = AwsClients()
    account = provisioning._Account(aws.dynamodb, aws.secrets_manager, aws.kms)
    secrets = {}
    for logical_id in stack.of_type("AWS::SecretsManager::Secret"):
        properties = {
            **template.properties(logical_id, names),
            "KmsKeyId": stack.created["DataKey"],
        }
        account.create_secret(names[logical_id], properties)
        secrets[re.sub("(?<!^)(?=[A-Z])", "_", logical_id).upper()] = names[logical_id]

    def environment(function: str) -> dict[str, str]:
        return {**stack.environment(function), "ISSUER": "https://auth.example.com/ms", **secrets}

    store = SecretsManagerStore(aws.secrets_manager)
    rotation = RotateKeysSettings.from_env(environment("RotateKeys"))
    rotate_keys.build(rotation, clock=SYSTEM_CLOCK, secrets=store).run()
    parts: Any = {"clock": SYSTEM_CLOCK, "aws": aws, "emit": lambda _: None}
    issuing = IssueTokenSettings.from_env(environment("IssueToken"))
    issue = issue_token.build(issuing, **parts)
    introspect = introspect_token.build(
        IntrospectTokenSettings.from_env(environment("IntrospectToken")), **parts
    )
    DynamoDbClients(aws.dynamodb, issuing.clients_table).put(client("service"))
    event = token_event({"grant_type": "client_credentials"}, headers=basic("service", SECRET))
    token = json.loads(issue(event)["body"])["access_token"]
    asked = form_event("/oauth2/introspect", {"token": token}, headers=basic("service", SECRET))
    assert json.loads(introspect(asked)["body"])["active"] is True
