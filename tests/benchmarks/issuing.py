"""Issuing tokens: one warm handler compared with its signature.

python -m tests.benchmarks.issuing    prints microseconds of both, in turns, and the calls to AWS
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from time import perf_counter_ns
from typing import Any

import botocore.client
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from functions.issue_token import handler
from functions.shared.clients.client_registry import DynamoDbClients
from functions.shared.keys import key_ring, signing_keys
from functions.shared.keys.signing_keys import from_pem
from functions.shared.web import paths
from tests.benchmarks.decisions import ROOT
from tests.benchmarks.results import Goal, Section, measured, paired_ratio
from tests.support.aws import CLIENTS_TABLE, ENVIRONMENT, KEY_RING_SECRET, SIGNING_KEYS_SECRET, aws_account
from tests.support.proxy_events import basic, form_event
from tests.support.server import NOW, SECRET, client, key, ring

ROUNDS, RUNS = 25, 60


class _Environment:
    """Sets variables as pytest's monkeypatch does, for the rest of the process."""

    def setenv(self, name: str, value: str) -> None:
        os.environ[name] = value


@contextmanager
def _warm_handler() -> Iterator[tuple[Callable[[], object], list[str]]]:
    """Provide the handler with one event, and the calls to AWS that it makes."""
    environment: Any = _Environment()
    with aws_account(environment) as aws, open(os.devnull, "w", buffering=1) as nowhere:
        os.environ |= ENVIRONMENT
        new = key()
        aws.secrets_manager.put_secret_value(
            SecretId=KEY_RING_SECRET, SecretString=key_ring.to_json(ring(new, now=NOW))
        )
        aws.secrets_manager.put_secret_value(
            SecretId=SIGNING_KEYS_SECRET, SecretString=signing_keys.to_json({new.kid: new.private_pem})
        )
        DynamoDbClients(aws, CLIENTS_TABLE).put(client())
        event = form_event(
            paths.TOKEN,
            [("grant_type", "client_credentials"), ("scope", "country.read customer.read")],
            headers=basic("service-client-jwt", SECRET),
        )
        with redirect_stdout(nowhere):
            answer = handler.handle(event, None)
            assert answer["statusCode"] == 200, answer
            calls: list[str] = []
            _count_calls(calls)
            yield lambda: handler.handle(event, None), calls


def _count_calls(calls: list[str]) -> None:
    base: Any = botocore.client.BaseClient
    real = base._make_api_call

    def counted(self: Any, name: str, arguments: Any) -> Any:
        calls.append(name)
        return real(self, name, arguments)

    base._make_api_call = counted


def issuing() -> Section:
    """Measure the handler and the bare signature, in a process with nothing else in it."""
    command = [sys.executable, "-m", "tests.benchmarks.issuing"]
    output = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True).stdout
    found = json.loads(output)
    handled, signed, reads = found["handled"], found["signed"], found["reads"]
    return Section(
        "Issuing a token",
        "The warm handler of POST /oauth2/token for a client with a generated secret: event in, "
        "RS256 token (key of 2,048 bits) and log line out; AWS is moto. The RSA signature alone "
        "is measured too. Calls to AWS during {ROUNDS * RUNS:,} tokens: {reads}. The rest is "
        "many steps of a few microseconds: the event, the form, the client, its secret, the "
        "claims, three JSON texts, the log line.",
        [
            measured("Gatehouse: the whole handler", handled, "µs"),
            measured("cryptography: RSA signature alone", signed, "µs"),
        ],
        [
            Goal("the handler compared with the signature", paired_ratio(handled, signed), 1.15),
            Goal(f"calls to AWS per token (of {ROUNDS * RUNS:,})", reads / ROUNDS / RUNS, 0.005,
                 "calls"),
        ],
    )  # fmt: skip


def _take_turns() -> dict[str, Any]:
    private = from_pem(key().private_pem)
    assert isinstance(private, rsa.RSAPrivateKey)
    pkcs1, sha256, data = padding.PKCS1v15(), hashes.SHA256(), b"x" * 400
    handled, signed = [], []
    with _warm_handler() as (run, calls):
        for _ in range(ROUNDS):
            handled.append(_microseconds(run))
            signed.append(_microseconds(lambda: private.sign(data, pkcs1, sha256)))
    return {"handled": handled, "signed": signed, "reads": len(calls)}


def _microseconds(run: Callable[[], object]) -> float:
    started = perf_counter_ns()
    for _ in range(RUNS):
        run()
    return (perf_counter_ns() - started) / RUNS / 1000


if __name__ == "__main__":
    print(json.dumps(_take_turns()))
