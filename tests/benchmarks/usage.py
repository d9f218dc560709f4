"""What one invocation uses: processor time, log bytes and calls to AWS, for docs/cost.md.

    python -m tests.benchmarks.usage

Each function is measured in a process of its own, with moto as the AWS in another one, so that what
moto works is not counted as ours. Writes docs/cost.json, of which `python -m infra.costs.page`
makes the page.
"""

from __future__ import annotations

import io
import json
import os
import platform
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, redirect_stdout
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from functions.rotate_keys.composition import build as build_rotator
from functions.rotate_keys.kms_halves import KmsHalves
from functions.rotate_keys.settings import Settings as RotationSettings
from functions.shared.clients.client_record import TokenFormat
from functions.shared.clients.client_registry import DynamoDbClients
from functions.shared.runtime.aws_clients import AwsClients
from functions.shared.runtime.clock import SYSTEM_CLOCK
from functions.shared.runtime.secret_store import SecretsManagerStore
from functions.shared.web import paths
from tests.benchmarks.decisions import API, sign_tokens
from tests.benchmarks.decisions import ISSUER as FOREIGN_ISSUER
from tests.benchmarks.jwks_server import serving
from tests.support.aws import (
    CREDENTIALS,
    DPOP_NONCE_SECRET,
    ENVIRONMENT,
    KEY_RING_SECRET,
    SIGNING_KEYS_SECRET,
    TABLES,
)
from tests.support.proxy_events import basic, form_event, proxy_event
from tests.support.server import SECRET, client
from tests.support.tokens import jwks, rest_event, rsa_jwk

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT: Final = Path(__file__).resolve().parents[2]
FOUND: Final = ROOT / "docs" / "cost.json"
SAMPLES, RUNS, COLD_ROUNDS = 15, 40, 7
_KMS: Final = {KEY_RING_SECRET: "kms-ring", SIGNING_KEYS_SECRET: "kms-signing-keys"}
_BILLED_AS: Final = {
    "GetItem": "dynamodb_read",
    "PutItem": "dynamodb_write",
    "UpdateItem": "dynamodb_write",
    "GetSecretValue": "secret_call",
    "Sign": "kms_rsa_2048_sign",
}
Setup = dict[str, Any]


def main() -> None:
    """Measure every case and write what was found."""
    with _moto() as endpoint, serving(jwks(rsa_jwk())) as key_set:
        os.environ |= CREDENTIALS | {"AWS_ENDPOINT_URL": endpoint}
        setups = {**_server_setups(), **_authorizer_setups(key_set.url)}
        work = {case: _measure(setup) for case, setup in setups.items()}
    found = {
        "taken": datetime.now(UTC).isoformat(timespec="minutes"),
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "warm": {case: warm for case, (warm, _) in work.items()},
        "cold": {case: cold for case, (_, cold) in work.items()},
    }
    FOUND.write_text(json.dumps(found, indent=1) + "\n")


def _measure(setup: Setup) -> tuple[Setup, Setup]:
    """Return what an invocation uses, warm and cold."""
    timed = _run("time", setup)
    cold_only = setup | {"samples": 0}
    cold = min(_run("time", cold_only)["cold"] for _ in range(COLD_ROUNDS))
    counted = _run("count", setup)
    size = round(counted["log_bytes"])
    return (
        {"cpu_ms": round(timed["warm"], 4), "log_bytes": size, "calls": _billed(counted["warm"])},
        {"cpu_ms": round(cold, 1), "log_bytes": size, "calls": _billed(counted["cold"], runs=1)},
    )


def _run(what: str, setup: Setup) -> Setup:
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.invocations", what],
        input=json.dumps(setup),
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    found: Setup = json.loads(done.stdout)
    return found


def _billed(calls: list[str], runs: int = RUNS) -> dict[str, float]:
    """Return how often an invocation makes calls of each kind that is billed."""
    kinds = [_BILLED_AS[name] for name in calls]
    return {kind: round(kinds.count(kind) / runs, 2) for kind in sorted(set(kinds))}


def _server_setups() -> dict[str, Setup]:
    """Fill the account, and say how each function of the authorization server is called."""
    aws = AwsClients()
    _create(aws)
    registry = DynamoDbClients(aws.dynamodb, ENVIRONMENT["CLIENTS_TABLE"])
    registry.put(client())
    registry.put(client("opaque", token_format=TokenFormat.OPAQUE))
    in_kms = ENVIRONMENT | {
        "KEY_RING_SECRET": _KMS[KEY_RING_SECRET],
        "SIGNING_KEYS_SECRET": _KMS[SIGNING_KEYS_SECRET],
    }
    _rotate(aws, ENVIRONMENT | {"KEY_EDITION": "secrets-manager"})
    _rotate(aws, in_kms | {"KEY_EDITION": "kms"})
    issue = "functions.issue_token.handler"
    plain = _setup(issue, ENVIRONMENT, [_token_request("service-client-jwt")])
    opaque = _setup(issue, ENVIRONMENT, [_token_request("opaque")])
    return {
        "issue": plain,
        "issue_kms": plain | {"environ": in_kms},
        "issue_opaque": opaque,
        "introspect": _setup(
            "functions.introspect_token.handler",
            ENVIRONMENT,
            [
                form_event(paths.INTROSPECTION, [("token", token)], headers=basic("opaque", SECRET))
                for token in _opaque_tokens(opaque)
            ],
        ),
        "publish_jwks": _setup(
            "functions.publish_jwks.handler", ENVIRONMENT, [proxy_event("GET", paths.JWKS)]
        ),
    }


def _authorizer_setups(jwks_uri: str) -> dict[str, Setup]:
    """Say how the authorizer is called: with new tokens, and with one again and again."""
    environ = {"ISSUER": FOREIGN_ISSUER, "AUDIENCE": API, "JWKS_URI": jwks_uri}
    events = [rest_event(token) for token in sign_tokens(2500)]
    return {
        "decide_first": _setup("authorizer.handler", environ, events),
        "decide_again": _setup("authorizer.handler", environ, events[:1]),
    }


def _setup(module: str, environ: Mapping[str, str], events: list[Any]) -> Setup:
    return {
        "module": module,
        "environ": {**environ, "STACK_NAME": "gatehouse"},  # with which lines carry metrics
        "events": events,
        "samples": SAMPLES,
        "runs": RUNS,
    }


def _token_request(client_id: str) -> dict[str, Any]:
    parameters = [("grant_type", "client_credentials"), ("scope", "country.read customer.read")]
    return form_event(paths.TOKEN, parameters, headers=basic(client_id, SECRET))


def _opaque_tokens(setup: Setup) -> list[str]:
    """Let the token endpoint issue a few opaque tokens."""
    os.environ |= setup["environ"]
    from functions.issue_token.handler import handle  # noqa: PLC0415 - the environment comes first

    with redirect_stdout(io.StringIO()):
        answers = [handle(setup["events"][0], None) for _ in range(20)]
    return [json.loads(answer["body"])["access_token"] for answer in answers]


def _create(aws: AwsClients) -> None:
    for table, hash_key in TABLES.items():
        aws.dynamodb.create_table(
            TableName=table,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": hash_key, "AttributeType": "S"}],
            KeySchema=[{"AttributeName": hash_key, "KeyType": "HASH"}],
        )
    for secret in (KEY_RING_SECRET, SIGNING_KEYS_SECRET, *_KMS.values()):
        aws.secrets_manager.create_secret(Name=secret)
    aws.secrets_manager.create_secret(Name=DPOP_NONCE_SECRET, SecretString="n" * 64)


def _rotate(aws: AwsClients, environ: Mapping[str, str]) -> None:
    """Make the first key, as a deployment does."""
    settings = RotationSettings.from_env(environ)
    build_rotator(
        settings,
        clock=SYSTEM_CLOCK,
        secrets=SecretsManagerStore(aws.secrets_manager),
        kms_halves=KmsHalves(aws.kms, settings.stack_name),
    ).run()


@contextmanager
def _moto() -> Iterator[str]:
    """Run moto in a process of its own; provide its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    main()
