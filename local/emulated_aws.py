"""The laptop's AWS: a moto server with the resources of template.yaml and the demo clients.

It is a process of its own, `python -m local.emulated_aws`, started by `make run`. An API that is started separately
shares it, and starts it if necessary. Then it ends with the last API that uses it.
"""

import contextlib
import hmac
import json
import logging
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from http.client import HTTPException
from pathlib import Path
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
from infra.local_stack import (
    SIGNING_ALGORITHMS,
    TABLES,
    access_key_file,
    is_private_folder,
    physical_names,
    read_access_key,
)
from local import ROOT
from local.addresses import LAPTOP, LOOPBACK, Addresses, use_local_aws
from local.cli import LaptopError
from local.demo_clients import MCP_SERVER, authorizer_client, demo_clients, keyed_clients
from local.gateway.template import Template
from local.http_client import HttpRequest, send
from local.http_server import Accept
from local.supervisor import SUPERVISED, end_with_supervisor, is_running

Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

TEMPLATE = ROOT / "template.yaml"
"""The template that the laptop edition emulates."""

_START_SECONDS = 30.0
_FIRST_LEASE = "GATEHOUSE_FIRST_LEASE"
"""Names the first process that uses this moto."""

_LEASES_PATH = "/gatehouse/leases/"
_LEASE = re.compile(rf"{_LEASES_PATH}([1-9][0-9]{{0,9}})")
_LEASE_SECONDS = 2.0
_CREDENTIAL = re.compile(r"AWS4-HMAC-SHA256 Credential=([^/,\s]+)/")
_BROWSER_HEADERS = ("HTTP_ORIGIN", "HTTP_SEC_FETCH_")
_WRITES = ("put_item", "update_item", "delete_item", "transact_write_items")
_LOCKED = "takes_the_write_lock"
"""An attribute of methods that take the lock. moto wraps some methods itself, so `__wrapped__` proves nothing."""

_write_lock = threading.RLock()


def ensure(addresses: Addresses) -> Mapping[str, str]:
    """Wait until the laptop's AWS is provisioned; return its names by logical id.

    With AWS_ENDPOINT_URL set, the caller provides it. Otherwise moto is started unless it listens
    on the AWS port already; under `make run` the supervisor starts it.

    Raises:
        LaptopError: another program listens there, or moto does not start.
    """
    if addresses.aws_endpoint is None:
        _lease(addresses.aws_port)
    return names()


def _lease(port: int) -> None:
    """Register a lease for this process at moto, and start moto if it is not running."""
    # chalice's reloader restarts its worker, which must not lose keys. Its parent stays.
    process = os.getppid() if "CHALICE_WORKER" in os.environ else os.getpid()
    started: subprocess.Popen[bytes] | None = None
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            if request_lease(port, process, read_access_key(port)):
                return
        except ConnectionRefusedError:
            if SUPERVISED not in os.environ and (started is None or started.poll() is not None):
                environ = {**os.environ, "GATEHOUSE_AWS_PORT": str(port), _FIRST_LEASE: str(process)}
                # In a session of its own, because a Ctrl-C must not end it: another API may use it.
                command = [sys.executable, "-m", "local.emulated_aws"]
                started = subprocess.Popen(command, cwd=ROOT, env=environ, start_new_session=True)
        if time.monotonic() > deadline:
            raise LaptopError(f"The AWS (moto) on port {port} did not start within {_START_SECONDS:.0f} seconds.")
        time.sleep(0.1)


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


class AwsGate:
    """Admits requests with this run's access key. All others get 503 until `open`, then 403.

    moto holds private signing keys and accepts any credentials. Web pages can send requests to loopback ports, also
    under their own DNS name (DNS rebinding). Every user of the machine can, too.
    """

    def __init__(self, port: int) -> None:
        self.access_key = f"LAPTOP{secrets.token_hex(16).upper()}"
        self._port = port
        self._hosts = frozenset(f"{name}:{port}" for name in ("localhost", LOOPBACK))
        self._is_open = False

    def open(self) -> None:
        """Write the access key to its file, where this user's processes read it.

        Raises:
            LaptopError: its folder is not private.
        """
        _write_private(access_key_file(self._port), self.access_key)
        self._is_open = True

    def close(self) -> None:
        """Delete the access key, unless a later run has replaced it."""
        file = access_key_file(self._port)
        with contextlib.suppress(FileNotFoundError):
            if file.read_text(encoding="ascii") == self.access_key:
                file.unlink()

    def in_front_of(self, application: Wsgi) -> Wsgi:
        """Return an application that passes admitted requests to this one."""

        def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
            rejection = self._rejection(environ)
            if rejection is None:
                return application(environ, start)
            status, kind, message = rejection
            start(status, [("Content-Type", "application/x-amz-json-1.1")])
            return [json.dumps({"__type": kind, "message": message}).encode()]

        return answer

    def _rejection(self, environ: dict[str, Any]) -> tuple[str, str, str] | None:
        """Return the status, type and message of a rejection, None for an admitted request."""
        denied = "403 Forbidden", "AccessDeniedException"
        is_signed = self._is_signed(environ.get("HTTP_AUTHORIZATION", ""))
        if not (self._is_open or is_signed):
            return "503 Service Unavailable", "ServiceUnavailable", "AWS (moto) is starting."
        if any(name.startswith(_BROWSER_HEADERS) for name in environ):
            return *denied, "The laptop's AWS does not serve web pages."
        if environ.get("HTTP_HOST", "").lower() not in self._hosts:
            return *denied, "The Host header is not an address of the laptop's AWS."
        if not is_signed:
            file = access_key_file(self._port)
            return denied[0], "UnrecognizedClientException", f"The access key is in {file}."
        if any(part.startswith("moto-api") for part in environ.get("PATH_INFO", "").split("/")):
            return *denied, "moto's own API is disabled."
        return None

    def _is_signed(self, header: str) -> bool:
        found = _CREDENTIAL.match(header)
        return found is not None and hmac.compare_digest(found[1].encode(), self.access_key.encode())


def authorization(access_key: str | None) -> dict[str, str]:
    """Return the header that names the access key, for requests without an AWS SDK."""
    return {"Authorization": f"AWS4-HMAC-SHA256 Credential={access_key}/"} if access_key else {}


class Leases:
    """The processes that use this moto. It ends when the last of them has ended.

    Two APIs that are started separately share one moto. If moto ended with the process that started it, the other API
    would lose its AWS. Each API therefore registers a lease, by HTTP.
    """

    def __init__(self, first: int) -> None:
        self._processes = {first}
        self._lock = threading.Lock()

    def add(self, process: int) -> bool:
        """Register a process. Returns False after the last lease has ended."""
        with self._lock:
            if not self._has_running():
                return False
            self._processes.add(process)
            return True

    def remain(self) -> bool:
        """Return whether a process is running. After False it never returns True."""
        with self._lock:
            return self._has_running()

    def _has_running(self) -> bool:
        self._processes = {each for each in self._processes if is_running(each)}
        return bool(self._processes)

    def in_front_of(self, application: Wsgi) -> Wsgi:
        """Return an application that registers leases, and passes other requests to this one."""

        def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
            process = _LEASE.fullmatch(environ.get("PATH_INFO", ""))
            if process is None:
                return application(environ, start)
            start("204 No Content" if self.add(int(process[1])) else "410 Gone", [])
            return []

        return answer


def request_lease(port: int, process: int, access_key: str | None) -> bool:
    """Register a process at the moto on a port.

    Return False while moto is being provisioned, if it is about to end, or if it has another access key.

    Raises:
        ConnectionRefusedError: nothing listens on the port.
        LaptopError: another program listens there.
    """
    url = f"http://{LOOPBACK}:{port}{_LEASES_PATH}{process}"
    try:
        status = send(HttpRequest(url, authorization(access_key), form={}), _LEASE_SECONDS).status
    except ConnectionRefusedError:
        raise
    except (TimeoutError, ConnectionError):
        return False
    except HTTPException:
        status = None
    if status not in (204, 403, 410, 503):
        raise LaptopError(
            f"Port {port} is in use, but not by an AWS (moto) that Gatehouse started: "
            "stop that process, or set another port with GATEHOUSE_AWS_PORT."
        )
    return status == 204


def serve_moto(port: int, leases: Leases) -> AwsGate:
    """Serve moto in a thread, and return its closed gate.

    Raises:
        OSError: the port is taken.
    """
    # Read by moto at import: it must not allow pages of other origins to read responses.
    os.environ["MOTO_DISABLE_GLOBAL_CORS"] = "true"
    # On the loopback address only, because it holds private keys.
    listener = socket.create_server((LOOPBACK, port))
    # Imported late: it takes long, and most processes need only the names of resources.
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    make_writes_atomic()
    gate = AwsGate(port)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    application = leases.in_front_of(DomainDispatcherApplication(create_backend_app))
    server = make_server(LOOPBACK, port, gate.in_front_of(application), threaded=True, fd=listener.detach())
    server.get_request = Accept(server.socket.accept)  # type: ignore[method-assign]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return gate


def make_writes_atomic() -> None:
    """Serialize the DynamoDB writes of this process's moto. Idempotent.

    moto checks a condition, writes, and builds the response in separate steps. Without a lock a concurrent conditional
    write succeeds twice, which never happens on AWS.
    """
    from moto.dynamodb.responses import DynamoHandler

    for name in _WRITES:
        method = getattr(DynamoHandler, name)
        if not hasattr(method, _LOCKED):
            setattr(DynamoHandler, name, _locked(method))


def _locked(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def call(*arguments: object, **named: object) -> object:
        with _write_lock:
            return method(*arguments, **named)

    setattr(call, _LOCKED, True)
    return call


def _write_private(file: Path, text: str) -> None:
    """Write a file for this user only, atomically.

    Raises:
        LaptopError: its folder is not private. Every user may create one in /tmp.
    """
    with contextlib.suppress(FileExistsError):
        file.parent.mkdir(mode=0o700)
    if not is_private_folder(file.parent):
        raise LaptopError(f"{file.parent} is not a folder of yours with mode 0700: delete it.")
    made = file.with_name(f"{file.name}.{secrets.token_hex(8)}")
    with os.fdopen(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
        opened.write(text)
    made.replace(file)


def names() -> dict[str, str]:
    """Return the values of `Ref` and `.Arn` by logical id, the same in every process.

    AWS services accept a secret's name and a key's alias instead of an ARN.
    """
    known, tables = physical_names(), f"arn:aws:dynamodb:{LAPTOP.region}:{LAPTOP.account_id}:table/"
    return known | {f"{name}.Arn": f"{tables}{value}" if name in TABLES else value for name, value in known.items()}


def provision(template: Template) -> None:
    """Create keys, tables and secrets, create the first signing key, and register the clients."""
    aws, known = Boto3(timeout=30), names()
    # Keys first, because they encrypt the other resources.
    creators = {
        "AWS::KMS::Key": _create_key,
        "AWS::DynamoDB::Table": _create_table,
        "AWS::SecretsManager::Secret": create_secret,
    }
    for kind, create in creators.items():
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
    environment = template.function("RotateKeys", names()).environment
    algorithms = os.environ.get(SIGNING_ALGORITHMS) or environment["ALGORITHMS"]
    settings = RotationSettings.from_env({**environment, "ALGORITHMS": algorithms})
    aws = Boto3(timeout=30)
    kms_keys = KmsKeys(aws, settings.stack_name)
    build_rotator(settings, clock=SYSTEM_CLOCK, secrets=SecretStore(aws), kms_keys=kms_keys).run()


def main() -> int:
    """Serve moto until the last process that uses it has ended."""
    end_with_supervisor(os.environ)
    leases = Leases(int(os.environ.get(_FIRST_LEASE, os.getppid())))
    addresses = Addresses.from_env(os.environ)
    try:
        gate = serve_moto(addresses.aws_port, leases)
        use_local_aws(os.environ, addresses, gate.access_key)
        provision(Template.read(TEMPLATE))
        gate.open()
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
