"""The access gate and the leases of moto, over real HTTP."""

import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from moto.dynamodb.models import DynamoDBBackend
from werkzeug.serving import make_server

from infra import local_stack
from infra.local_stack import access_key_file, read_access_key
from local.cli import LaptopError
from local.emulated_aws import AwsGate, Leases, authorization, request_lease
from tests.support.aws import STATE_TABLE, aws_account

RUNS_UNTIL_KILLED = "import sys; sys.stdin.read()"


def moto(_environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    start("200 OK", [])
    return [b"moto"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(local_stack, "_RUNTIME_FOLDERS", tmp_path / "run")
    return access_key_file(9).parent


@contextmanager
def serving(leases: Leases | None = None, *, gated: bool = True) -> Iterator[tuple[AwsGate, int]]:
    server = make_server("127.0.0.1", 0, moto)
    gate = AwsGate(server.server_port)
    application = leases.in_front_of(moto) if leases else moto
    server.app = gate.in_front_of(application) if gated else application
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield gate, server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def running_process() -> Iterator[int]:
    command = [sys.executable, "-c", RUNS_UNTIL_KILLED]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        yield process.pid
        process.kill()


def send(port: int, key: str | None, method: str = "POST", path: str = "/", **headers: str) -> tuple[int, str]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
        connection.request(method, path, headers=authorization(key) | named)
        response = connection.getresponse()
        body = response.read()
    return response.status, json.loads(body)["__type"] if response.status != 200 else ""


def test_closed_gate_admits_only_the_access_key() -> None:
    with serving() as (gate, port):
        for headers in ({}, {"Host": "page.example"}, {"Origin": "http://localhost:3000"}):
            assert send(port, None, **headers) == (503, "ServiceUnavailable")
        assert send(port, gate.access_key) == (200, "")
        assert read_access_key(port) is None
        gate.open()
        assert send(port, None) == (403, "UnrecognizedClientException")
        assert send(port, read_access_key(port)) == (200, "")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://localhost:3000"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Mode": "no-cors"},
        {"Sec_Fetch_Dest": "image"},
        {"Host": "page.example"},
        {"Host": "localhost"},
        {"Host": "localhost:1"},
    ],
)
def test_web_pages_and_other_hosts_are_rejected(headers: dict[str, str]) -> None:
    with serving() as (gate, port):
        gate.open()
        assert send(port, gate.access_key, **headers) == (403, "AccessDeniedException")


def test_both_loopback_names_are_admitted() -> None:
    with serving() as (gate, port):
        gate.open()
        for name in ("localhost", "127.0.0.1", "LOCALHOST"):
            assert send(port, gate.access_key, Host=f"{name}:{port}")[0] == 200


@pytest.mark.parametrize("key", ["local", "", "LOCAL", "testing"])
def test_other_access_key_is_rejected(key: str) -> None:
    with serving() as (gate, port):
        gate.open()
        assert send(port, key) == (403, "UnrecognizedClientException")
        basic = {"Authorization": f"Basic {gate.access_key}"}
        assert send(port, None, **basic) == (403, "UnrecognizedClientException")


@pytest.mark.parametrize("path", ["/moto-api/reset", "//moto-api/reset", "/%6doto-api/data.json"])
def test_motos_own_api_is_rejected(path: str) -> None:
    with serving() as (gate, port):
        gate.open()
        assert send(port, gate.access_key, path=path) == (403, "AccessDeniedException")


def test_access_key_is_private_and_new_for_each_run() -> None:
    first, second = AwsGate(9), AwsGate(9)
    first.open()
    second.open()
    file = access_key_file(9)
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert read_access_key(9) == second.access_key != first.access_key
    first.close()
    assert read_access_key(9) == second.access_key
    second.close()
    second.close()
    assert read_access_key(9) is None


def make_mode_755(folder: Path) -> None:
    folder.mkdir(mode=0o755)


def make_other_users(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    os.chown(folder, 65_534, 65_534)


def make_link(folder: Path) -> None:
    target = folder.with_name("target")
    target.mkdir(mode=0o700)
    folder.symlink_to(target)


def make_file(folder: Path) -> None:
    folder.touch(0o700)


@pytest.mark.parametrize("make", [make_mode_755, make_other_users, make_link, make_file])
def test_folder_that_is_not_private_is_rejected(make: Callable[[Path], None], folder: Path) -> None:
    if make is make_other_users and os.getuid() != 0:
        pytest.skip("only root can create another user's folder")
    make(folder)
    if folder.is_dir():
        (folder / "aws-9.key").write_text("LAPTOPPLANTED")
    assert read_access_key(9) is None
    with pytest.raises(LaptopError, match="mode 0700"):
        AwsGate(9).open()


def test_last_lease_decides_when_moto_ends() -> None:
    with running_process() as second:
        with running_process() as first:
            leases = Leases(first)
            with serving(leases, gated=False) as (_, port):
                assert request_lease(port, second, None)
        assert leases.remain()
    assert not leases.remain()


def test_lease_after_the_last_one_is_refused() -> None:
    with running_process() as first:
        leases = Leases(first)
    with serving(leases, gated=False) as (_, port), running_process() as late:
        assert not request_lease(port, late, None)
    assert not leases.remain()


def test_zombie_has_no_lease() -> None:
    command = [sys.executable, "-c", RUNS_UNTIL_KILLED]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        leases = Leases(process.pid)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert not leases.remain()


def test_other_server_and_free_port_differ() -> None:
    with serving(gated=False) as (_, port), pytest.raises(LaptopError, match="is in use"):
        request_lease(port, 1, None)
    with pytest.raises(ConnectionRefusedError):
        request_lease(port, 1, None)


def test_lease_is_granted_after_provisioning_with_the_key() -> None:
    process = os.getpid()
    with serving(Leases(process)) as (gate, port):
        assert not request_lease(port, process, None)
        gate.open()
        assert not request_lease(port, process, "of-an-earlier-run")
        assert request_lease(port, process, gate.access_key)


def test_access_key_is_in_the_runtime_folder_of_the_user(tmp_path: Path) -> None:
    runtime = tmp_path / "run" / str(os.getuid())
    runtime.mkdir(parents=True)
    gate = AwsGate(9)
    gate.open()
    assert access_key_file(9).is_relative_to(runtime)
    assert read_access_key(9) == gate.access_key


def test_writes_of_moto_run_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    both = threading.Barrier(2)
    started: list[bool] = []
    entered: list[bool] = []

    def write(*_: object, **__: object) -> None:
        started.append(True)
        with suppress(threading.BrokenBarrierError):
            both.wait(0.2)
            entered.append(True)

    monkeypatch.setattr(DynamoDBBackend, "put_item", write)
    with aws_account(monkeypatch) as aws:
        item = {"TableName": STATE_TABLE, "Item": {"entry": {"S": "one"}}}
        threads = [threading.Thread(target=partial(_ignore_errors, aws.dynamodb.put_item, item)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert (len(started), entered) == (2, [])


def _ignore_errors(call: Callable[..., Any], parameters: dict[str, Any]) -> None:
    with suppress(Exception):  # the response of a write that did not happen cannot be built
        call(**parameters)
