"""The transformed template, created by moto's CloudFormation, and our code on what comes of it.

Resources that moto cannot create come from the laptop edition's provisioning.
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
from functions.rotate_keys.handler import Settings as RotateKeysSettings
from functions.shared.clients.client_registry import DynamoDbClients
from functions.shared.lambda_function import SYSTEM_CLOCK
from functions.shared.storage.secrets_manager import SecretStore
from infra import template_checks
from local.emulated_aws import TEMPLATE, create_secret
from local.emulated_aws import names as physical_names
from local.gateway.template import Template
from tests.support.aws import CREDENTIALS, TABLES, AwsAccount
from tests.support.deployed_template import Deployment
from tests.support.proxy_events import basic, form_event, token_event
from tests.support.server import SECRET, client

pytestmark = pytest.mark.slow

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
"""Resources that moto's CloudFormation does not support. The laptop's gateway emulates the APIs of
the template. `local.emulated_aws` creates the secrets and runs the custom resource's code."""

HALF_IN_MOTO = {
    "AWS::ApiGateway::Deployment",  # sees no methods in a REST API's Body
    "AWS::ApiGateway::Stage",  # part of a deployment
    "AWS::CloudFormation::Stack",  # does not pass unsupported values to a nested stack
    "AWS::Lambda::Permission",  # loses a FunctionName that refers to a version's alias
}
"""Resources that moto fails to create."""


@dataclass
class Stack:
    """The transformed template, and what moto made of it."""

    resources: dict[str, Any]
    unknown: set[str] = field(default_factory=set)
    created: dict[str, str] = field(default_factory=dict)
    """Physical ids by logical id."""

    def of_type(self, kind: str) -> dict[str, Any]:
        """The properties of the template's resources of one type, by logical id."""
        return {name: resource["Properties"] for name, resource in self.resources.items() if resource["Type"] == kind}

    def environment(self, function: str) -> dict[str, str]:
        """Return the function's environment, without names of unsupported resources."""
        configured = boto3.client("lambda").get_function_configuration(FunctionName=self.created[function])
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
            Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()],
        )
        # moto retries unsupported resources when it lists the resources.
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
    kept = {name: resource for name, resource in document["Resources"].items() if resource["Type"] not in HALF_IN_MOTO}
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        for name, value in {**CREDENTIALS, "AWS_DEFAULT_REGION": "us-east-1"}.items():
            patch.setenv(name, value)
        _create(stack, {**document, "Resources": kept, "Outputs": {}}, parameters)
        yield stack


def test_supported_resources_are_created(stack: Stack) -> None:
    assert stack.unknown == NOT_IN_MOTO
    expected = {
        name for name, resource in stack.resources.items() if resource["Type"] not in NOT_IN_MOTO | HALF_IN_MOTO
    }
    # moto ignores the condition of a version.
    assert set(stack.created) - {"IssueTokenVersion"} == expected
    kinds = {stack.resources[name]["Type"] for name in expected}
    assert {
        "AWS::DynamoDB::Table",
        "AWS::IAM::Role",
        "AWS::KMS::Key",
        "AWS::Lambda::Function",
        "AWS::Logs::LogGroup",
    } <= kinds


def test_tables_have_the_codes_keys(stack: Stack) -> None:
    dynamodb = boto3.client("dynamodb")
    keys = set()
    for name in stack.of_type("AWS::DynamoDB::Table"):
        table = dynamodb.describe_table(TableName=stack.created[name])["Table"]
        keys.add(tuple(each["AttributeName"] for each in table["KeySchema"]))
        assert table["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
    assert keys == set(TABLES.values())


def test_stored_data_is_encrypted_and_expires(stack: Stack) -> None:
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


def test_each_function_has_its_role_and_log_group(stack: Stack) -> None:
    functions, logs = boto3.client("lambda"), boto3.client("logs")
    groups = {group["logGroupName"]: group["retentionInDays"] for group in
              logs.describe_log_groups()["logGroups"]}  # fmt: skip
    roles = set()
    for name in stack.of_type("AWS::Lambda::Function"):
        configured = functions.get_function_configuration(FunctionName=stack.created[name])
        roles.add(configured["Role"].rpartition("/")[2])
        assert groups[f"/aws/lambda/{STACK}-{name}"] == 30
    assert roles == {stack.created[name] for name in stack.of_type("AWS::IAM::Role")}


def test_created_stack_issues_and_introspects_a_token(stack: Stack) -> None:
    template = Template.read(TEMPLATE)
    names = physical_names()
    aws = AwsAccount()
    secrets = {}
    for logical_id in stack.of_type("AWS::SecretsManager::Secret"):
        properties = {**template.properties(logical_id, names), "KmsKeyId": stack.created["DataKey"]}
        create_secret(aws, names[logical_id], properties)
        secrets[re.sub("(?<!^)(?=[A-Z])", "_", logical_id).upper()] = names[logical_id]

    def environment(function: str) -> dict[str, str]:
        return {**stack.environment(function), "ISSUER": "https://auth.example.com/ms", **secrets}

    store = SecretStore(aws)
    rotation = RotateKeysSettings.from_env(environment("RotateKeys"))
    rotate_keys.build(rotation, clock=SYSTEM_CLOCK, secrets=store).run()
    parts: Any = {"clock": SYSTEM_CLOCK, "aws": aws, "emit": lambda _: None}
    issuing = IssueTokenSettings.from_env(environment("IssueToken"))
    issue = issue_token.build(issuing, **parts)
    introspect = introspect_token.build(IntrospectTokenSettings.from_env(environment("IntrospectToken")), **parts)
    DynamoDbClients(aws, issuing.clients_table).put(client("service"))
    event = token_event({"grant_type": "client_credentials"}, headers=basic("service", SECRET))
    token = json.loads(issue(event)["body"])["access_token"]
    introspection = form_event("/oauth2/introspect", {"token": token}, headers=basic("service", SECRET))
    assert json.loads(introspect(introspection)["body"])["active"] is True
