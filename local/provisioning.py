"""Create in moto what template.yaml declares, and put into it what the walkthrough needs."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import boto3

from functions.rotate_keys.handler import build as build_rotator
from functions.rotate_keys.key_backends import KmsKeys
from functions.rotate_keys.settings import Settings as RotationSettings
from functions.shared.clients.client_registry import DynamoDbClients
from functions.shared.runtime.clock import SYSTEM_CLOCK
from functions.shared.runtime.secret_store import SecretsManagerStore
from infra.local_stack import key_alias, secret_name, table_name
from local.addresses import Addresses
from local.aws_account import LAPTOP
from local.demo_clients import authorizer_client, demo_clients
from local.keyed_clients import keyed_clients

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_kms import KMSClient
    from mypy_boto3_secretsmanager import SecretsManagerClient

    from local.gateway.template import Template

__all__ = ["names", "provision"]

_TABLE = "AWS::DynamoDB::Table"
_SECRET = "AWS::SecretsManager::Secret"
_KEY = "AWS::KMS::Key"


def names(template: Template) -> dict[str, str]:
    """Physical names by logical id, the same in every process: what `Ref` and `.Arn` stand for.

    CloudFormation answers with ids that AWS made up; here names do as well, because the services
    take a secret's name and a key's alias wherever they take an ARN.
    """
    found: dict[str, str] = {}
    for kind, name, arn in (
        (_TABLE, table_name, f"arn:aws:dynamodb:{LAPTOP.region}:{LAPTOP.account_id}:table/"),
        (_SECRET, secret_name, ""),
        (_KEY, key_alias, ""),
    ):
        for resource in template.of_type(kind):
            found[resource.logical_id] = name(resource.logical_id)
            found[f"{resource.logical_id}.Arn"] = arn + found[resource.logical_id]
    return found


class _Account:
    """Makes resources with their CloudFormation properties, in one account."""

    def __init__(
        self, dynamodb: DynamoDBClient, secrets: SecretsManagerClient, kms: KMSClient
    ) -> None:
        self._dynamodb = dynamodb
        self._secrets = secrets
        self._kms = kms

    def create_key(self, alias: str, properties: Mapping[str, Any]) -> None:
        key_id = self._kms.create_key(Description=properties["Description"])["KeyMetadata"]["KeyId"]
        self._kms.create_alias(AliasName=alias, TargetKeyId=key_id)
        if properties.get("EnableKeyRotation"):
            self._kms.enable_key_rotation(KeyId=key_id)

    def create_table(self, name: str, properties: Mapping[str, Any]) -> None:
        self._dynamodb.create_table(
            TableName=name,
            AttributeDefinitions=properties["AttributeDefinitions"],
            KeySchema=properties["KeySchema"],
            BillingMode=properties["BillingMode"],
        )
        if "TimeToLiveSpecification" in properties:
            self._dynamodb.update_time_to_live(
                TableName=name, TimeToLiveSpecification=properties["TimeToLiveSpecification"]
            )

    def create_secret(self, name: str, properties: Mapping[str, Any]) -> None:
        self._secrets.create_secret(
            Name=name, Description=properties["Description"], KmsKeyId=properties["KmsKeyId"]
        )
        generate = properties.get("GenerateSecretString")
        if generate:
            text = self._secrets.get_random_password(
                PasswordLength=generate["PasswordLength"],
                ExcludePunctuation=generate["ExcludePunctuation"],
            )["RandomPassword"]
            if "GenerateStringKey" in generate:
                document = json.loads(generate["SecretStringTemplate"])
                text = json.dumps({**document, generate["GenerateStringKey"]: text})
            self._secrets.put_secret_value(SecretId=name, SecretString=text)


def _make_first_key(template: Template, secrets: SecretsManagerClient, kms: KMSClient) -> None:
    """Do what a deployment does in an account: run rotate_keys."""
    environment = template.function("RotateKeys", names(template)).environment
    settings = RotationSettings.from_env(environment)
    store = SecretsManagerStore(secrets)
    halves = KmsKeys(kms, settings.stack_name)
    build_rotator(settings, clock=SYSTEM_CLOCK, secrets=store, kms_keys=halves).run()


def provision(template: Template) -> None:
    """Create keys, tables and secrets, make the first signing key, and register the clients."""
    known = names(template)
    dynamodb, secrets, kms = (
        boto3.client("dynamodb"),
        boto3.client("secretsmanager"),
        boto3.client("kms"),
    )
    account = _Account(dynamodb, secrets, kms)
    makers: dict[str, Callable[[str, Mapping[str, Any]], None]] = {
        _KEY: account.create_key,  # first, because the others are encrypted with it
        _TABLE: account.create_table,
        _SECRET: account.create_secret,
    }
    for kind, create in makers.items():
        for resource in template.of_type(kind):
            logical_id = resource.logical_id
            create(known[logical_id], template.properties(logical_id, known))
    clients = DynamoDbClients(dynamodb, known["ClientsTable"])
    credentials = secrets.get_secret_value(SecretId=known["IntrospectionCredentials"])
    secret = json.loads(credentials["SecretString"])["client_secret"]
    # By the name that the guarded API publishes (RFC 9728), a client may ask for it, too.
    published = Addresses.from_env(os.environ).guarded_api
    for client in [*demo_clients(published), *keyed_clients(), authorizer_client(secret)]:
        clients.put(client)
    _make_first_key(template, secrets, kms)
