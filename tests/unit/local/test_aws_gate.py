"""The gate in front of moto, over real HTTP."""

import http.client
import json
import os
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from werkzeug.serving import make_server

from infra import local_stack
from infra.local_stack import access_key_file, read_access_key
from local.aws_gate import AwsGate, authorization
from local.cli import LaptopError


def moto(_environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    start("200 OK", [])
    return [b"moto"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(local_stack, "_RUNTIME_FOLDERS", tmp_path / "run")
    return access_key_file(9).parent


@contextmanager
def serving() -> Iterator[tuple[AwsGate, int]]:
    server = make_server("127.0.0.1", 0, moto)
    gate = AwsGate(server.server_port)
    server.app = gate.in_front_of(moto)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield gate, server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def ask(
    port: int, key: str | None, method: str = "POST", path: str = "/", **headers: str
) -> tuple[int, str]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
        connection.request(method, path, headers=authorization(key) | named)
        response = connection.getresponse()
        body = response.read()
    return response.status, json.loads(body)["__type"] if response.status != 200 else ""


def test_until_it_opens_only_the_provisioning_process_is_admitted() -> None:
    with serving() as (gate, port):
        for headers in ({}, {"Host": "page.example"}, {"Origin": "http://localhost:3000"}):
            assert ask(port, None, **headers) == (503, "ServiceUnavailable")
        assert ask(port, gate.access_key) == (200, "")
        assert read_access_key(port) is None
        gate.open()
        assert ask(port, None) == (403, "UnrecognizedClientException")
        assert ask(port, read_access_key(port)) == (200, "")


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
def test_pages_and_foreign_hosts_are_refused_even_with_the_key(headers: dict[str, str]) -> None:
    with serving() as (gate, port):
        gate.open()
        assert ask(port, gate.access_key, **headers) == (403, "AccessDeniedException")


def test_both_names_of_the_loopback_address_are_admitted() -> None:
    with serving() as (gate, port):
        gate.open()
        for name in ("localhost", "127.0.0.1", "LOCALHOST"):
            assert ask(port, gate.access_key, Host=f"{name}:{port}")[0] == 200


@pytest.mark.parametrize("key", ["local", "", "LOCAL", "testing"])
def test_another_access_key_is_refused(key: str) -> None:
    with serving() as (gate, port):
        gate.open()
        assert ask(port, key) == (403, "UnrecognizedClientException")
        basic = {"Authorization": f"Basic {gate.access_key}"}
        assert ask(port, None, **basic) == (403, "UnrecognizedClientException")


@pytest.mark.parametrize("path", ["/moto-api/reset", "//moto-api/reset", "/%6doto-api/data.json"])
def test_motos_own_api_is_refused(path: str) -> None:
    with serving() as (gate, port):
        gate.open()
        assert ask(port, gate.access_key, path=path) == (403, "AccessDeniedException")


def test_the_access_key_is_new_for_each_run_and_readable_by_its_user_only() -> None:
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


def test_a_folder_that_others_may_enter_is_refused(folder: Path) -> None:
    folder.mkdir(mode=0o755)
    with pytest.raises(LaptopError, match="mode 0700"):
        AwsGate(9).open()
    folder.rmdir()
    folder.symlink_to(folder.parent)
    with pytest.raises(LaptopError, match="mode 0700"):
        AwsGate(9).open()
    assert read_access_key(9) is None


def test_access_key_is_in_the_runtime_folder_of_the_user(tmp_path: Path) -> None:
    runtime = tmp_path / "run" / str(os.getuid())
    runtime.mkdir(parents=True)
    gate = AwsGate(9)
    gate.open()
    assert access_key_file(9).is_relative_to(runtime)
    assert read_access_key(9) == gate.access_key


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_access_key_of_another_user_is_not_read(folder: Path) -> None:
    AwsGate(9).open()
    os.chown(folder, 12345, -1)
    assert read_access_key(9) is None
