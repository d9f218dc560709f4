"""Run the walkthrough on a deployed stack: `python -m local.smoke --stack gatehouse-dev`.

It registers the authorizer's client, which a new stack does not have yet. During the walkthrough it also registers two
clients with random secrets.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from secrets import token_hex

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from authorizer.aws import Aws
from functions.shared.clients.client import Client, TokenFormat
from functions.shared.clients.client_registry import DynamoDbClients
from functions.shared.clients.client_secrets import StoredSecret, digest_generated
from functions.shared.storage.aws_calls import call
from functions.shared.storage.errors import StorageError
from functions.shared.storage.secrets_manager import SecretStore
from infra.cli.context import Aws as CallerAws
from infra.cli.context import Deployment, find_stack
from infra.cli.doctor.account import authorizer_cache_faults
from infra.cli.errors import CommandError
from local.demo_clients import SCOPES, SECRET_METHODS, authorizer_client
from local.walkthrough import DemoCredentials, Walkthrough


class SmokeTest:
    """The walkthrough on a stack, with temporary clients."""

    def __init__(self, stack: Deployment, aws: Aws) -> None:
        self._stack = stack
        self._aws = aws
        self._clients = DynamoDbClients(aws, stack.resource("ClientsTable"))

    def run(self, write: Callable[[str], None] = print) -> list[str]:
        """Run the walkthrough; return its failures. Afterwards the two clients are deleted."""
        self._register_authorizer()
        run = token_hex(4)
        secrets = {f"smoke-{kind}-{run}": token_hex(32) for kind in ("jwt", "opaque")}
        jwt_client, opaque_client = secrets
        try:
            for client_id, token_format in ((jwt_client, TokenFormat.JWT), (opaque_client, TokenFormat.OPAQUE)):
                self._clients.put(_client(client_id, secrets[client_id], token_format))
            walkthrough = Walkthrough(
                self._stack,
                credentials=DemoCredentials(jwt_client, opaque_client, secrets),
                write=lambda text: write(_without(text, secrets.values())),
            )
            walkthrough.run()
        finally:
            for client_id in secrets:
                key = {"client_id": {"S": client_id}}
                call(self._aws, "dynamodb", "DeleteItem", TableName=self._stack.resource("ClientsTable"), Key=key)
        return walkthrough.failures

    def _register_authorizer(self) -> None:
        """Register the authorizer's client. Other settings of an existing one are not changed."""
        secret = SecretStore(self._aws).read(self._stack.resource("IntrospectionCredentials"))
        credentials = json.loads(secret or "")
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
        authentication_methods=SECRET_METHODS,
        secrets=(StoredSecret(digest_generated(secret)),),
        scopes=frozenset(SCOPES),
        token_format=token_format,
    )


def _without(text: str, secrets: Iterable[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, "$SECRET")
    return text


def cache_faults(aws: CallerAws, stack: Deployment) -> list[str]:
    """Return how API Gateway's policy cache differs from the parameter."""
    if "GuardedApi" not in stack.resources:
        return []
    found = aws.client("apigateway").get_authorizers(restApiId=stack.resources["GuardedApi"])
    seconds = int(stack.parameters.get("AuthorizerCacheSeconds", 0))
    return list(authorizer_cache_faults(found["items"], seconds))


def main(arguments: Sequence[str]) -> int:
    """Run from the command line; return 1 if a check failed."""
    parser = argparse.ArgumentParser(prog="local.smoke")
    parser.add_argument("--stack", required=True)
    given = parser.parse_args(arguments)
    aws = CallerAws(boto3.Session())
    try:
        stack = find_stack(aws, given.stack)
        failures = SmokeTest(stack, aws).run()
        failures += cache_faults(aws, stack)
    except (BotoCoreError, ClientError, CommandError, StorageError) as error:
        print(f"The smoke test could not use the stack {given.stack}: {error}", file=sys.stderr)
        return 1
    for failure in failures:
        print(f"FAILED {failure}", file=sys.stderr)
    part = "" if stack.guarded_api else " (without the sample API)"
    print(f"\nThe walkthrough{part} " + ("failed." if failures else "holds."))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
