"""The laptop edition as a real process on free ports."""

import contextlib
import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

import boto3

from functions.shared.clients.client_registry import DynamoDbClients
from functions.shared.storage.boto3_client import Boto3Clients
from infra.local_stack import PORTS, REGION, read_access_key
from local.addresses import Addresses
from local.run import logs_of
from tests.support import log_record
from tests.support.cli_forks import forked_gatehouse
from tests.support.measured import measured

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 90.0
STACK_COMMAND = (sys.executable, "-m", "local.external_stack")


@dataclass
class Laptop:
    """A running `make run`: its addresses, process and environment, and what it has printed so far."""

    addresses: Addresses
    process: subprocess.Popen[str]
    environ: dict[str, str]
    lines: list[str] = field(default_factory=list)
    reader: threading.Thread | None = None

    def wait_for_line(self, text: str) -> str:
        """Return the first line that holds `text`; fail when time is up."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            is_over = self.reader is not None and not self.reader.is_alive()
            for line in self.lines:
                if text in line:
                    return line
            if is_over:
                break
            time.sleep(0.02)
        raise AssertionError(f"{text!r} was not printed, only:\n" + "".join(self.lines))

    @cached_property
    def clients(self) -> DynamoDbClients:
        """Its clients."""
        return DynamoDbClients(Boto3Clients(partial(aws_client, self.addresses.aws_port)), "gatehouse-ClientsTable")

    @property
    def token_endpoint(self) -> str:
        """Its address."""
        return f"{self.addresses.issuer}/oauth2/token"

    @property
    def output(self) -> str:
        """Everything printed so far."""
        return "".join(self.lines)


@cache
def _candidates() -> Iterator[int]:
    """Yield ports of this xdist worker, in a cycle. The system gives none of them to an outgoing connection.

    A request to a port that nothing listens on may otherwise reach itself (TCP simultaneous open).
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = 10_000 + worker % 20 * 1_000
    offset = os.getpid() % 1_000  # another run of the tests on this machine
    return itertools.cycle([*range(first + offset, first + 1_000), *range(first, first + offset)])


def free_port() -> int:
    """Return an unused port."""
    for port in _candidates():
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("no port is free")


def free_environment() -> dict[str, str]:
    """Return the environment of a run on unused ports."""
    return {**os.environ, **{name: str(free_port()) for name in PORTS}, "PYTHONUNBUFFERED": "1"}


@contextlib.contextmanager
def running(environ: dict[str, str], *arguments: str, with_coverage: bool = False) -> Iterator[Laptop]:
    """Start the laptop edition; end it and its children on leaving."""
    process = subprocess.Popen(
        [sys.executable, "-m", "local.cli", "local.run", *arguments],
        cwd=ROOT,
        env=measured(environ) if with_coverage else environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    laptop = Laptop(Addresses.from_env(environ), process, environ)
    assert process.stdout is not None
    reader = threading.Thread(target=lambda: laptop.lines.extend(process.stdout or ()), daemon=True)
    reader.start()
    laptop.reader = reader
    try:
        yield laptop
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=15)
        reader.join(timeout=5)
        process.stdout.close()
        log_record.keep_files(logs_of(laptop.addresses))


@contextlib.contextmanager
def serving(
    laptop: Laptop, template: Path, stderr: Path | None = None, parameters: Sequence[str] = ()
) -> Iterator[str]:
    """Serve a stack next to the laptop edition; yields its API's address."""
    with contextlib.ExitStack() as stack:
        process = subprocess.Popen(
            [*STACK_COMMAND, str(template), "--port", "0", *(f"--parameter={each}" for each in parameters)],
            cwd=ROOT,
            env=laptop.environ,
            stdout=subprocess.PIPE,
            stderr=None if stderr is None else stack.enter_context(stderr.open("w")),
            text=True,
        )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        yield line.strip().partition(" at ")[2]
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=10)
    assert process.returncode == 0


def gatehouse(
    laptop: Laptop, *arguments: str, command: Sequence[str] = (), **more: Any
) -> subprocess.CompletedProcess[str]:
    """Run the command line on the laptop edition. Default for `command`: see `cli_forks`.

    The user's own settings for AWS and for a proxy must not matter. `more` are variables of its environment, and
    options of `subprocess.run`.
    """
    own = {"AWS_PROFILE": "absent", "HTTP_PROXY": "http://127.0.0.1:9", "AWS_REGION": "eu-west-3"}
    variables = {name: more.pop(name) for name in list(more) if name.isupper()}
    options = {"cwd": ROOT, "input": "", "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more}
    return subprocess.run(
        [*(command or forked_gatehouse()), "--local", *arguments],
        env={**laptop.environ, **own, **variables},
        text=True,
        timeout=60,
        check=False,
        **options,
    )


def aws_client(aws_port: int, service: str) -> Any:
    """Return a client of the moto on a port, with the access key of its run."""
    return boto3.client(
        service,  # type: ignore[call-overload]
        endpoint_url=f"http://localhost:{aws_port}",
        region_name=REGION,
        aws_access_key_id=read_access_key(aws_port),
        aws_secret_access_key="local",
    )


def wait_until_free(environ: Mapping[str, str]) -> None:
    """Fail unless every port of a run is free within a few seconds."""
    wait_until(lambda: not any(is_listening(int(environ[name])) for name in PORTS))


def wait_until(holds: Callable[[], object], seconds: float = 10.0) -> None:
    """Fail unless a condition holds within some seconds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds} seconds"
        time.sleep(0.02)


def is_listening(port: int) -> bool:
    """Return True if a local port accepts connections."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
