"""The laptop's AWS: a moto server with the resources of template.yaml and the demo clients.

It is a process of its own, `python -m local.emulated_aws`, started by `make run`. An API that is started
separately shares it, and starts it if necessary. Then it ends with the last API that uses it.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from authorizer.aws import Aws
from functions.rotate_keys.handler import Settings as RotationSettings
from functions.rotate_keys.handler import build as build_rotator
from functions.rotate_keys.key_backends import KmsKeys
from functions.shared.clients.client_registry import DynamoDbClients
from functions.shared.clients.trust_rule import federated_clients, to_item
from functions.shared.lambda_function import SYSTEM_CLOCK
from functions.shared.storage.boto3_client import Boto3
from functions.shared.storage.secrets_manager import SecretStore
from infra.local_stack import SIGNING_ALGORITHMS, key_alias, read_access_key, secret_name, table_name
from local import ROOT
from local.addresses import LAPTOP, LOOPBACK, Addresses, use_local_aws
from local.cli import LaptopError
from local.demo_clients import MCP_SERVER, authorizer_client, demo_clients, keyed_clients
from local.gateway.template import Template
from local.moto_server import AwsGate, Leases, request_lease, serve_moto
from local.supervisor import SUPERVISED, end_with_parent

START_SECONDS = 30.0
FIRST_LEASE = "GATEHOUSE_FIRST_LEASE"
"""Names the first process that uses this moto."""

TEMPLATE = ROOT / "template.yaml"
"""The template that the laptop edition emulates."""

_TABLE = "AWS::DynamoDB::Table"
_SECRET = "AWS::SecretsManager::Secret"
_KEY = "AWS::KMS::Key"


def ensure(addresses: Addresses, template: Template) -> Mapping[str, str]:
    """Wait until the laptop's AWS is provisioned; return its names by logical id.

    With AWS_ENDPOINT_URL set, the caller provides it. Otherwise moto is started unless it listens
    on the AWS port already; under `make run` the supervisor starts it.

    Raises:
        LaptopError: another program listens there, or moto does not start.
    """
    if addresses.aws_endpoint is None:
        _lease(addresses.aws_port)
    return names(template)


def _lease(port: int) -> None:
    """Register a lease for this process at moto, and start moto if it is not running."""
    # chalice's reloader restarts its worker, which must not lose keys. Its parent stays.
    process = os.getppid() if "CHALICE_WORKER" in os.environ else os.getpid()
    started: subprocess.Popen[bytes] | None = None
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            if request_lease(port, process, read_access_key(port)):
                return
        except ConnectionRefusedError:
            if SUPERVISED not in os.environ and (started is None or started.poll() is not None):
                started = _start_process(port, process)
        if time.monotonic() > deadline:
            raise LaptopError(f"The AWS (moto) on port {port} did not start within {START_SECONDS:.0f} seconds.")
        time.sleep(0.1)


def _start_process(port: int, process: int) -> subprocess.Popen[bytes]:
    """Start moto with a lease for `process`.

    It is in a session of its own: a Ctrl-C must not end it, because another API may use it.
    """
    environ = {**os.environ, "GATEHOUSE_AWS_PORT": str(port), FIRST_LEASE: str(process)}
    environ.pop(SUPERVISED, None)
    command = [sys.executable, "-m", "local.emulated_aws"]
    return subprocess.Popen(command, cwd=ROOT, env=environ, start_new_session=True)


def watch(addresses: Addresses, on_end: Callable[[], None]) -> None:
    """Call `on_end`, from a thread, when moto has ended.

    An idle connection detects it: the system closes the connection with the process.
    """

    def hold() -> None:
        address = (LOOPBACK, addresses.aws_port)
        with contextlib.suppress(OSError), socket.create_connection(address) as held:
            held.recv(1)
        on_end()

    threading.Thread(target=hold, name="AWS", daemon=True).start()


def start(addresses: Addresses, template: Template, leases: Leases) -> AwsGate:
    """Start moto in this process, provision it, and return its open gate.

    Raises:
        OSError: the port is taken.
        LaptopError: the access key cannot be written.
    """
    gate = serve_moto(addresses.aws_port, leases)
    use_local_aws(os.environ, addresses, gate.access_key)
    provision(template)
    gate.open()
    return gate


def names(template: Template) -> dict[str, str]:
    """Return the values of `Ref` and `.Arn` by logical id, the same in every process.

    AWS services accept a secret's name and a key's alias instead of an ARN.
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


def provision(template: Template) -> None:
    """Create keys, tables and secrets, create the first signing key, and register the clients."""
    aws, known = Boto3(timeout=30), names(template)
    # Keys first, because they encrypt the other resources.
    for kind, create in ((_KEY, _create_key), (_TABLE, _create_table), (_SECRET, create_secret)):
        for resource in template.of_type(kind):
            create(aws, known[resource.logical_id], template.properties(resource.logical_id, known))
    clients = DynamoDbClients(aws, known["ClientsTable"])
    secret = json.loads(SecretStore(aws).read(known["IntrospectionCredentials"]) or "")["client_secret"]
    # Clients may also request the name that the guarded API publishes (RFC 9728), and that of the MCP example.
    published = Addresses.from_env(os.environ).guarded_api
    for client in [*demo_clients(published, MCP_SERVER), *keyed_clients(), authorizer_client(secret)]:
        clients.put(client)
        for pointer in federated_clients(client):
            aws.call("dynamodb", "PutItem", TableName=known["TrustTable"], Item=to_item(pointer))
    _create_signing_key(template)


def _create_key(aws: Aws, alias: str, properties: Mapping[str, Any]) -> None:
    key_id = aws.call("kms", "CreateKey", Description=properties["Description"])["KeyMetadata"]["KeyId"]
    aws.call("kms", "CreateAlias", AliasName=alias, TargetKeyId=key_id)
    if properties.get("EnableKeyRotation"):
        aws.call("kms", "EnableKeyRotation", KeyId=key_id)


def _create_table(aws: Aws, name: str, properties: Mapping[str, Any]) -> None:
    declared = {member: properties[member] for member in ("AttributeDefinitions", "KeySchema", "BillingMode")}
    aws.call("dynamodb", "CreateTable", TableName=name, **declared)
    if expiry := properties.get("TimeToLiveSpecification"):
        aws.call("dynamodb", "UpdateTimeToLive", TableName=name, TimeToLiveSpecification=expiry)


def create_secret(aws: Aws, name: str, properties: Mapping[str, Any]) -> None:
    """Create a secret with its CloudFormation properties."""
    declared = {member: properties[member] for member in ("Description", "KmsKeyId")}
    aws.call("secretsmanager", "CreateSecret", Name=name, **declared)
    if generate := properties.get("GenerateSecretString"):
        options = {member: generate[member] for member in ("PasswordLength", "ExcludePunctuation")}
        text = aws.call("secretsmanager", "GetRandomPassword", **options)["RandomPassword"]
        if "GenerateStringKey" in generate:
            document = json.loads(generate["SecretStringTemplate"])
            text = json.dumps({**document, generate["GenerateStringKey"]: text})
        aws.call("secretsmanager", "PutSecretValue", SecretId=name, SecretString=text)


def _create_signing_key(template: Template) -> None:
    """Run rotate_keys, as a deployment does."""
    environment = template.function("RotateKeys", names(template)).environment
    algorithms = os.environ.get(SIGNING_ALGORITHMS) or environment["ALGORITHMS"]
    settings = RotationSettings.from_env({**environment, "ALGORITHMS": algorithms})
    aws = Boto3(timeout=30)
    kms_keys = KmsKeys(aws, settings.stack_name)
    build_rotator(settings, clock=SYSTEM_CLOCK, secrets=SecretStore(aws), kms_keys=kms_keys).run()


def main() -> int:
    """Serve moto until the last process that uses it has ended."""
    if os.environ.get(SUPERVISED):
        end_with_parent()
    leases = Leases(int(os.environ.get(FIRST_LEASE, os.getppid())))
    addresses = Addresses.from_env(os.environ)
    try:
        gate = start(addresses, Template.read(TEMPLATE), leases)
    except OSError as error:
        # Two APIs may start moto at the same time: both use the one that has the port.
        print(f"moto cannot use port {addresses.aws_port}: {error.strerror}.", file=sys.stderr)
        return 1
    except LaptopError as error:
        print(error, file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
        while leases.remain():
            time.sleep(0.1)
    gate.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
