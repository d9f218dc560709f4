"""Clients change while real processes have their earlier records cached."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from threading import Event

import boto3
import pytest
import requests
from moto.server import ThreadedMotoServer

from functions.shared.clients.client import Client
from functions.shared.clients.client_registry import DynamoDbClients
from functions.shared.clients.client_secrets import StoredSecret, digest_generated
from functions.shared.keys import key_ring, signing_keys
from infra.cli.client_registration import rotated
from tests.support.aws import CLIENTS_TABLE, CREDENTIALS, ENVIRONMENT, KEY_RING_SECRET, SIGNING_KEYS_SECRET, TABLES
from tests.support.laptop import ROOT
from tests.support.proxy_events import basic, token_event
from tests.support.server import SECRET, client, key, ring

NEW_SECRET = "gh_cs_" + "n" * 43
A_SECOND_AND_MORE = 12
"""Requests of one process, ten a second."""


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
    session = boto3.Session(
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        region_name=CREDENTIALS["AWS_DEFAULT_REGION"],
    )
    dynamodb = session.client("dynamodb", endpoint_url=endpoint_url)
    for table, name in TABLES.items():
        dynamodb.create_table(
            TableName=table,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"}],
            KeySchema=[{"AttributeName": name, "KeyType": "HASH"}],
        )
    now = int(time.time())
    store = session.client("secretsmanager", endpoint_url=endpoint_url)
    store.create_secret(Name=KEY_RING_SECRET, SecretString=key_ring.to_json(ring(key(), now=now)))
    private = signing_keys.to_json({key().kid: key().private_pem})
    store.create_secret(Name=SIGNING_KEYS_SECRET, SecretString=private)
    return DynamoDbClients(dynamodb, CLIENTS_TABLE)


class TokenProcess:
    """A warm process of the token endpoint. It answers one request at a time, as in Lambda."""

    def __init__(self, endpoint_url: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.token_process"],
            cwd=ROOT,
            env={**os.environ, **CREDENTIALS, **ENVIRONMENT, "AWS_ENDPOINT_URL": endpoint_url},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, client_id: str, secret: str) -> int:
        """Return the status of a token request."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        event = token_event({"grant_type": "client_credentials"}, headers=basic(client_id, secret))
        print(json.dumps(event), file=self._process.stdin, flush=True)
        for line in self._process.stdout:
            if line.startswith("status "):
                return int(line.removeprefix("status "))
        raise AssertionError("the process has ended")

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def processes(endpoint_url: str, registry: DynamoDbClients) -> Iterator[tuple[TokenProcess, ...]]:
    started = TokenProcess(endpoint_url), TokenProcess(endpoint_url)
    yield started
    for process in started:
        process.stop()


def _ask_ten_times_a_second(times: int, client_id: str, secrets: tuple[str, ...], process: TokenProcess) -> list[int]:
    """Ask with each secret in turn."""
    begun, statuses = time.monotonic(), []
    for number in range(times):
        Event().wait(max(0.0, begun + number / 10 - time.monotonic()))
        statuses.append(process.ask(client_id, secrets[number % len(secrets)]))
    return statuses


def _ask_all(
    processes: tuple[TokenProcess, ...], *secrets: str, client_id: str = "service", times: int = A_SECOND_AND_MORE
) -> set[int]:
    """Return every status that any of the processes answers with."""
    with ThreadPoolExecutor(len(processes)) as pool:
        ask = partial(_ask_ten_times_a_second, times, client_id, secrets)
        return {status for statuses in pool.map(ask, processes) for status in statuses}


def test_rotated_secret_is_accepted_at_once(registry: DynamoDbClients, processes: tuple[TokenProcess, ...]) -> None:
    registry.put(client("service"))
    assert _ask_all(processes, SECRET) == {200}
    new = StoredSecret(digest_generated(NEW_SECRET))
    registry.put(rotated(client("service"), new, int(time.time()) + 3600, time.time()))
    assert _ask_all(processes, NEW_SECRET, SECRET) == {200}


def test_new_client_is_accepted_at_once(registry: DynamoDbClients, processes: tuple[TokenProcess, ...]) -> None:
    assert _ask_all(processes, SECRET, times=1) == {401}
    registry.put(client("service"))
    assert _ask_all(processes, SECRET, times=2) == {200}


@pytest.mark.parametrize("change", ["enabled", "another method"])
def test_enabled_client_is_accepted_at_once(
    registry: DynamoDbClients, processes: tuple[TokenProcess, ...], change: str
) -> None:
    usual: Client = client("service")
    before = {
        "enabled": replace(usual, disabled=True),
        "another method": replace(usual, authentication_methods=frozenset({"client_secret_post"})),
    }
    registry.put(before[change])
    assert _ask_all(processes, SECRET, times=1) == {401}
    registry.put(usual)
    assert _ask_all(processes, SECRET, times=2) == {200}
