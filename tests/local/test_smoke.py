"""The smoke test of a deployed stack, run on the laptop."""

import json
from dataclasses import replace
from typing import Any

import boto3
import pytest
from moto import mock_aws

from functions.shared.clients.client_registry import DynamoDbClients
from local.aws import TEMPLATE, names
from local.demo_clients import authorizer_client
from local.gateway.template import Template
from local.smoke import SmokeTest, Stack, main
from tests.support.aws import CLIENTS_TABLE, CREDENTIALS, aws_account
from tests.support.laptop import Laptop, aws_client


def _client(laptop: Laptop, service: str) -> Any:
    return aws_client(laptop.addresses.aws_port, service)


@pytest.mark.parametrize(("with_sample_api", "steps"), [(True, 9), (False, 4)])
def test_walkthrough_deletes_its_clients(
    laptop: Laptop, *, with_sample_api: bool, steps: int
) -> None:
    known = names(Template.read(TEMPLATE))
    stack = Stack(
        issuer=laptop.addresses.issuer,
        guarded_api=laptop.addresses.guarded_api if with_sample_api else "",
        clients_table=known["ClientsTable"],
        introspection_credentials=known["IntrospectionCredentials"],
    )
    dynamodb = _client(laptop, "dynamodb")
    written: list[str] = []
    smoke = SmokeTest(stack, dynamodb, _client(laptop, "secretsmanager"))
    assert smoke.run(written.append) == []
    assert any("client_secret=$SECRET" in text for text in written)
    assert any("--user smoke-opaque" in text for text in written)
    assert not any("Basic" in text for text in written)
    assert sum(text.startswith("\n") for text in written) == steps
    items = dynamodb.scan(TableName=stack.clients_table)["Items"]
    ids = {item["client_id"]["S"] for item in items}
    assert not {client_id for client_id in ids if client_id.startswith("smoke-")}
    assert authorizer_client("x").client_id in ids


def test_stack_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    body = """{"Resources": {
        "ClientsTable": {"Type": "AWS::SNS::Topic"},
        "IntrospectionCredentials": {"Type": "AWS::SNS::Topic"}},
      "Outputs": {"Issuer": {"Value": "https://issuer"}, "GuardedApiUrl": {"Value": "https://api"}}}"""
    with mock_aws():
        boto3.client("cloudformation").create_stack(StackName="gatehouse", TemplateBody=body)
        stack = Stack.find("gatehouse")
    assert (stack.issuer, stack.guarded_api) == ("https://issuer", "https://api")
    assert stack.clients_table.startswith("arn:aws:sns:")


def test_stack_without_sample_api(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    body = """{"Resources": {
        "ClientsTable": {"Type": "AWS::SNS::Topic"},
        "IntrospectionCredentials": {"Type": "AWS::SNS::Topic"}},
      "Outputs": {"Issuer": {"Value": "https://issuer"}}}"""
    with mock_aws():
        boto3.client("cloudformation").create_stack(StackName="gatehouse", TemplateBody=body)
        assert Stack.find("gatehouse").guarded_api == ""


@pytest.mark.parametrize(("deployed", "faults"), [(300, 0), (3600, 1)])
def test_policy_cache_is_compared(
    monkeypatch: pytest.MonkeyPatch, deployed: int, faults: int
) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    body = """{"Parameters": {"AuthorizerCacheSeconds": {"Type": "Number", "Default": 300}},
      "Resources": {
        "ClientsTable": {"Type": "AWS::SNS::Topic"},
        "IntrospectionCredentials": {"Type": "AWS::SNS::Topic"},
        "GuardedApi": {"Type": "AWS::ApiGateway::RestApi", "Properties": {"Name": "guarded"}}},
      "Outputs": {"Issuer": {"Value": "https://issuer"}, "GuardedApiUrl": {"Value": "https://api"}}}"""
    with mock_aws():
        boto3.client("cloudformation").create_stack(StackName="gatehouse", TemplateBody=body)
        stack = Stack.find("gatehouse")
        assert stack.cache_faults() == ["the guarded API has no authorizer"]
        boto3.client("apigateway").create_authorizer(
            restApiId=stack.rest_api,
            name="BearerToken",
            type="REQUEST",
            identitySource="method.request.header.Authorization",
            authorizerResultTtlInSeconds=deployed,
        )
        found = stack.cache_faults()
    assert len(found) == faults
    assert not faults or "caches policies for 3600 s, not 300 s" in found[0]


def test_missing_stack_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with mock_aws():
        assert main(["--stack", "nowhere"]) == 1
    assert "could not use the stack nowhere" in capsys.readouterr().err


def test_authorizer_client_retains_its_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Operators register it with the scopes and audiences of their APIs (guard-your-api.md)."""
    with aws_account(monkeypatch) as aws:
        aws.secrets_manager.create_secret(
            Name="introspection",
            SecretString=json.dumps({"client_id": "authorizer", "client_secret": "s" * 43}),
        )
        stack = Stack("https://issuer", "", CLIENTS_TABLE, "introspection")
        smoke = SmokeTest(stack, aws.dynamodb, aws.secrets_manager)
        clients = DynamoDbClients(aws.dynamodb, CLIENTS_TABLE)
        smoke._register_authorizer()
        registered = authorizer_client("s" * 43)
        assert clients.find("authorizer") == registered
        given = replace(
            registered,
            name="Changed",
            resource_scopes=frozenset({"customer.read"}),
            resource_audiences=frozenset({"https://customer.example"}),
        )
        for secrets in (given.secrets, authorizer_client("lost").secrets):
            clients.put(replace(given, secrets=secrets))
            smoke._register_authorizer()
            scopes = given.resource_scopes | registered.resource_scopes
            assert clients.find("authorizer") == replace(given, resource_scopes=scopes)


@pytest.mark.parametrize("outputs", ["{}", '{"Issuer": {"Value": "https://issuer"}}'])
def test_other_stack_is_one_sentence(
    outputs: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    body = f'{{"Resources": {{"Topic": {{"Type": "AWS::SNS::Topic"}}}}, "Outputs": {outputs}}}'
    with mock_aws():
        boto3.client("cloudformation").create_stack(StackName="other", TemplateBody=body)
        assert main(["--stack", "other"]) == 1
    assert "could not use the stack other: it has no " in capsys.readouterr().err
