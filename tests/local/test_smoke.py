"""The smoke test of a deployed stack, run on the laptop."""

import json
from dataclasses import replace
from functools import partial

import boto3
import pytest
from moto import mock_aws

from functions.shared.clients.client_registry import DynamoDbClients
from functions.shared.storage.boto3_client import Boto3Clients
from infra.cli.context import Aws, Deployment, find_stack
from infra.local_stack import REGION, physical_names
from local.demo_clients import authorizer_client
from local.smoke import SmokeTest, cache_faults, main
from tests.support.aws import CLIENTS_TABLE, CREDENTIALS, aws_account
from tests.support.laptop import Laptop, aws_client

OTHER_STACK = {"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}}
GUARDED = {
    "Parameters": {"AuthorizerCacheSeconds": {"Type": "Number", "Default": 300}},
    "Resources": {"GuardedApi": {"Type": "AWS::ApiGateway::RestApi", "Properties": {"Name": "guarded"}}},
    "Outputs": {"Issuer": {"Value": "https://issuer"}},
}


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)


def create_stack(name: str, body: object) -> None:
    cloudformation = boto3.client("cloudformation")
    cloudformation.create_stack(StackName=name, TemplateBody=json.dumps(body))


@pytest.mark.parametrize(("with_sample_api", "steps"), [(True, 9), (False, 4)])
def test_walkthrough_deletes_its_clients(laptop: Laptop, *, with_sample_api: bool, steps: int) -> None:
    stack = Deployment(
        name="gatehouse",
        issuer=laptop.addresses.issuer,
        guarded_api=laptop.addresses.guarded_api if with_sample_api else "",
        region=REGION,
        resources=physical_names(),
    )
    client = partial(aws_client, laptop.addresses.aws_port)
    written: list[str] = []
    assert SmokeTest(stack, Boto3Clients(client)).run(written.append) == []
    assert any("client_secret=$SECRET" in text for text in written)
    assert any("--user smoke-opaque" in text for text in written)
    assert not any("Basic" in text for text in written)
    assert sum(text.startswith("\n") for text in written) == steps
    items = client("dynamodb").scan(TableName=stack.resource("ClientsTable"))["Items"]
    ids = {item["client_id"]["S"] for item in items}
    assert not {client_id for client_id in ids if client_id.startswith("smoke-")}
    assert authorizer_client("x").client_id in ids


@pytest.mark.usefixtures("credentials")
@pytest.mark.parametrize(("deployed", "faults"), [(300, 0), (3600, 1)])
def test_policy_cache_is_compared(deployed: int, faults: int) -> None:
    with mock_aws():
        create_stack("gatehouse", GUARDED)
        aws = Aws(boto3.Session())
        stack = find_stack(aws, "gatehouse")
        assert cache_faults(aws, stack) == ["the guarded API has no authorizer"]
        boto3.client("apigateway").create_authorizer(
            restApiId=stack.resources["GuardedApi"],
            name="BearerToken",
            type="REQUEST",
            identitySource="method.request.header.Authorization",
            authorizerResultTtlInSeconds=deployed,
        )
        found = cache_faults(aws, stack)
    assert len(found) == faults
    assert not faults or "caches policies for 3600 s, not 300 s" in found[0]


@pytest.mark.usefixtures("credentials")
@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (None, "There is no stack other in "),
        (OTHER_STACK, "The stack other is not a complete Gatehouse deployment"),
        (OTHER_STACK | {"Outputs": GUARDED["Outputs"]}, "The stack other has no ClientsTable"),
    ],
)
def test_unusable_stack_is_one_sentence(body: object, problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    with mock_aws():
        if body is not None:
            create_stack("other", body)
        assert main(["--stack", "other"]) == 1
    assert f"could not use the stack other: {problem}" in capsys.readouterr().err


def test_authorizer_client_retains_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Operators register it with the scopes and audiences of their APIs (guard-your-api.md)."""
    with aws_account(monkeypatch) as aws:
        aws.secrets_manager.create_secret(
            Name="introspection", SecretString=json.dumps({"client_id": "authorizer", "client_secret": "s" * 43})
        )
        stack = Deployment(
            name="gatehouse",
            issuer="https://issuer",
            guarded_api="",
            region=REGION,
            resources={"ClientsTable": CLIENTS_TABLE, "IntrospectionCredentials": "introspection"},
        )
        smoke = SmokeTest(stack, aws)
        clients = DynamoDbClients(aws, CLIENTS_TABLE)
        smoke._register_authorizer()
        registered = authorizer_client("s" * 43)
        assert clients.find("authorizer") == registered
        changed = replace(
            registered,
            name="Changed",
            resource_scopes=frozenset({"customer.read"}),
            resource_audiences=frozenset({"https://customer.example"}),
        )
        for secrets in (changed.secrets, authorizer_client("lost").secrets):
            clients.put(replace(changed, secrets=secrets))
            smoke._register_authorizer()
            scopes = changed.resource_scopes | registered.resource_scopes
            assert clients.find("authorizer") == replace(changed, resource_scopes=scopes)
