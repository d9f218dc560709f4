"""Run the walkthrough on a deployed stack: `python -m local.smoke --stack gatehouse-dev`.

It registers the authorizer's client, which a new stack does not have yet. During the walkthrough
it also registers two clients with random secrets.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from secrets import token_hex
from typing import TYPE_CHECKING, Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from authorizer.aws import check_responses
from functions.shared.clients.client import Client, TokenFormat
from functions.shared.clients.client_registry import DynamoDbClients
from functions.shared.clients.client_secrets import StoredSecret, digest_generated
from infra.cli.doctor.account import authorizer_cache_faults
from local.demo_clients import SCOPES, authorizer_client
from local.walkthrough import DemoCredentials, Walkthrough

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_secretsmanager import SecretsManagerClient


_REQUIRED = frozenset({"Issuer", "ClientsTable", "IntrospectionCredentials"})


class NotDeployedError(Exception):
    """The stack is not a deployed stack of Gatehouse."""


@dataclass(frozen=True, slots=True)
class Stack:
    """Addresses and names of a deployed stack.

    `guarded_api` is empty for a stack without the sample API.
    """

    issuer: str
    guarded_api: str
    clients_table: str
    introspection_credentials: str
    rest_api: str = ""
    cache_seconds: int = 0

    @classmethod
    def find(cls, name: str) -> Stack:
        """Look up a deployed stack in boto3's account and region.

        Raises:
            NotDeployedError: it is not a stack of Gatehouse, or its deployment was not completed.
        """
        cloudformation = boto3.client("cloudformation")
        (stack,) = cloudformation.describe_stacks(StackName=name)["Stacks"]
        outputs: Mapping[str, str] = {
            output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", ())
        }
        pages = cloudformation.get_paginator("list_stack_resources").paginate(StackName=name)
        names = {
            each["LogicalResourceId"]: each["PhysicalResourceId"]
            for page in pages
            for each in page["StackResourceSummaries"]
            if "PhysicalResourceId" in each
        }
        if missing := _REQUIRED - outputs.keys() - names.keys():
            raise NotDeployedError(f"it has no {', '.join(sorted(missing))}")
        return cls(
            issuer=outputs["Issuer"],
            guarded_api=outputs.get("GuardedApiUrl", ""),
            clients_table=names["ClientsTable"],
            introspection_credentials=names["IntrospectionCredentials"],
            rest_api=names.get("GuardedApi", ""),
            cache_seconds=int(_parameter(stack, "AuthorizerCacheSeconds")),
        )

    def cache_faults(self) -> list[str]:
        """Return how API Gateway's policy cache differs from the parameter."""
        if not self.rest_api:
            return []
        found = boto3.client("apigateway").get_authorizers(restApiId=self.rest_api)["items"]
        return list(authorizer_cache_faults(found, self.cache_seconds))


def _parameter(stack: Mapping[str, Any], name: str) -> str:
    """Return a parameter's value; 0 for a stack of an older template without it."""
    values = {each["ParameterKey"]: each["ParameterValue"] for each in stack.get("Parameters", ())}
    return str(values.get(name, 0))


class SmokeTest:
    """The walkthrough on a stack, with temporary clients."""

    def __init__(
        self, stack: Stack, dynamodb: DynamoDBClient, secrets: SecretsManagerClient
    ) -> None:
        self._stack = stack
        self._dynamodb = dynamodb
        self._secrets = secrets
        self._clients = DynamoDbClients(dynamodb, stack.clients_table)

    def run(self, write: Callable[[str], None] = print) -> list[str]:
        """Run the walkthrough; return its failures. Afterwards the two clients are deleted."""
        self._register_authorizer()
        run = token_hex(4)
        secrets = {f"smoke-{kind}-{run}": token_hex(32) for kind in ("jwt", "opaque")}
        jwt_client, opaque_client = secrets
        try:
            for client_id, token_format in (
                (jwt_client, TokenFormat.JWT),
                (opaque_client, TokenFormat.OPAQUE),
            ):
                self._clients.put(_client(client_id, secrets[client_id], token_format))
            walkthrough = Walkthrough(
                self._stack,
                credentials=DemoCredentials(jwt_client, opaque_client, secrets),
                write=lambda text: write(_without(text, secrets.values())),
            )
            walkthrough.run()
        finally:
            for client_id in secrets:
                self._dynamodb.delete_item(
                    TableName=self._stack.clients_table, Key={"client_id": {"S": client_id}}
                )
        return walkthrough.failures

    def _register_authorizer(self) -> None:
        """Register the authorizer's client. Other settings of an existing one are not changed."""
        answer = self._secrets.get_secret_value(SecretId=self._stack.introspection_credentials)
        credentials = json.loads(answer["SecretString"])
        client = authorizer_client(credentials["client_secret"])
        client = replace(client, client_id=credentials["client_id"])
        if found := self._clients.find(client.client_id):
            scopes = found.resource_scopes | client.resource_scopes
            client = replace(found, secrets=client.secrets, resource_scopes=scopes)
        self._clients.put(client)


def _client(client_id: str, secret: str, token_format: TokenFormat) -> Client:
    return Client(
        client_id=client_id,
        name="Smoke test",
        authentication_methods=frozenset({"client_secret_basic", "client_secret_post"}),
        secrets=(StoredSecret(digest_generated(secret)),),
        scopes=frozenset(SCOPES),
        token_format=token_format,
    )


def _without(text: str, secrets: Iterable[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, "$SECRET")
    return text


def main(arguments: Sequence[str]) -> int:
    """Run from the command line; return 1 if a check failed."""
    parser = argparse.ArgumentParser(prog="local.smoke")
    parser.add_argument("--stack", required=True)
    given = parser.parse_args(arguments)
    try:
        stack = Stack.find(given.stack)
        test = SmokeTest(
            stack,
            check_responses(boto3.client("dynamodb")),
            check_responses(boto3.client("secretsmanager")),
        )
        failures = [*test.run(), *stack.cache_faults()]
    except (BotoCoreError, ClientError, NotDeployedError) as error:
        print(f"The smoke test could not use the stack {given.stack}: {error}", file=sys.stderr)
        return 1
    for failure in failures:
        print(f"FAILED {failure}", file=sys.stderr)
    part = "" if stack.guarded_api else " (without the sample API)"
    print(f"\nThe walkthrough{part} " + ("failed." if failures else "holds."))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
