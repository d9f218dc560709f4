"""A secret is rotated while real processes have the earlier client record cached."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import cycle
from threading import Event

import boto3
import pytest
import requests
from moto.server import ThreadedMotoServer

from functions.shared.clients.client_registry import DynamoDbClients
from functions.shared.clients.client_secrets import StoredSecret, digest_generated
from functions.shared.keys import key_ring, signing_keys
from functions.shared.storage.boto3_client import Boto3Clients
from infra.cli.client_registration import rotated
from tests.support.aws import CREDENTIALS, ENVIRONMENT, KEY_RING_SECRET, SIGNING_KEYS_SECRET, create_tables
from tests.support.laptop import ROOT
from tests.support.proxy_events import basic, token_event
from tests.support.server import SECRET, client, key, ring

NEW_SECRET = "gh_cs_" + "n" * 43
A_SECOND_AND_MORE = 12
"""Requests of one process, ten a second."""

# The handler's log is on standard output, too.
ENDPOINT = """
import json, sys
from functions.issue_token.handler import handle
for line in sys.stdin:
    print("status", handle(json.loads(line), None)["statusCode"], flush=True)
"""


@pytest.fixture
def endpoint_url() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        requests.post(f"{url}/moto-api/reset", timeout=10).raise_for_status()
        yield url
    finally:
        server.stop()


@pytest.fixture
def registry(endpoint_url: str) -> DynamoDbClients:
    session = boto3.Session("testing", "testing", region_name=CREDENTIALS["AWS_DEFAULT_REGION"])
    dynamodb = session.client("dynamodb", endpoint_url=endpoint_url)
    create_tables(dynamodb)
    store = session.client("secretsmanager", endpoint_url=endpoint_url)
    store.create_secret(Name=KEY_RING_SECRET, SecretString=key_ring.to_json(ring(key(), now=int(time.time()))))
    private = signing_keys.to_json({key().kid: key().private_pem})
    store.create_secret(Name=SIGNING_KEYS_SECRET, SecretString=private)
    return DynamoDbClients(Boto3Clients(lambda _: dynamodb), ENVIRONMENT["CLIENTS_TABLE"])


@pytest.fixture
def processes(endpoint_url: str) -> Iterator[list[subprocess.Popen[str]]]:
    """Two processes of the token endpoint."""
    environ = {**os.environ, **CREDENTIALS, **ENVIRONMENT, "AWS_ENDPOINT_URL": endpoint_url}
    command, pipe = [sys.executable, "-c", ENDPOINT], subprocess.PIPE
    with ExitStack() as stack:
        started = []
        for _ in range(2):
            process = subprocess.Popen(command, cwd=ROOT, env=environ, text=True, stdin=pipe, stdout=pipe)
            started.append(stack.enter_context(process))
            stack.callback(process.kill)
        yield started


def _ask(process: subprocess.Popen[str], *secrets: str) -> set[int]:
    """Request tokens with each secret in turn, ten a second; return the statuses."""
    assert process.stdin is not None
    assert process.stdout is not None
    begun, statuses = time.monotonic(), set()
    for number, secret in zip(range(A_SECOND_AND_MORE), cycle(secrets), strict=False):
        Event().wait(max(0.0, begun + number / 10 - time.monotonic()))
        event = token_event({"grant_type": "client_credentials"}, headers=basic("service", secret))
        print(json.dumps(event), file=process.stdin, flush=True)
        answer = next(line for line in process.stdout if line.startswith("status "))
        statuses.add(int(answer.removeprefix("status ")))
    return statuses


def test_rotated_secret_is_accepted_at_once(registry: DynamoDbClients, processes: list[subprocess.Popen[str]]) -> None:
    registry.put(client("service"))
    with ThreadPoolExecutor() as pool:
        assert list(pool.map(lambda process: _ask(process, SECRET), processes)) == [{200}, {200}]
        new = StoredSecret(digest_generated(NEW_SECRET))
        registry.put(rotated(client("service"), new, int(time.time()) + 3600, time.time()))
        assert list(pool.map(lambda process: _ask(process, NEW_SECRET, SECRET), processes)) == [{200}, {200}]
