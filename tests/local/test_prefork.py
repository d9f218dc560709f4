"""The auth server's worker processes: they share the work, the output and the end."""

import contextlib
import http.client
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from local.addresses import CONTROL_SOCKETS
from local.cli import LaptopError
from local.console.control_socket import ControlClient
from local.console.fault_injection import JWKS_PATH
from local.prefork import shares, worker_count
from tests.support.chalice import chalice_local, refusal_to_start
from tests.support.laptop import ROOT, free_environment, wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="worker processes are forked on Linux only")
WORKERS = 3
LINES = 40  # per connection; all of them fit into a pipe that is not read yet
Connect = Callable[[int], http.client.HTTPConnection]


class Running(NamedTuple):
    """A server of several processes; `process` is the first of them."""

    process: subprocess.Popen[str]
    port: int


@pytest.fixture
def server() -> Iterator[Running]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.worker_server", str(WORKERS)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield Running(process, int(process.stdout.readline()))
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Open connections that stay open until the test ends."""
    with contextlib.ExitStack() as stack:

        def open_one(port: int) -> http.client.HTTPConnection:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            stack.callback(connection.close)
            connection.connect()
            return connection

        yield open_one


def get(connection: http.client.HTTPConnection, path: str = "/") -> int:
    connection.request("GET", path)
    return int(connection.getresponse().read())


def workers_of(server: Running, connect: Connect) -> set[int]:
    """Ask which one it is on connections that stay open, until every process has had one."""
    found: set[int] = set()

    def is_complete() -> bool:
        found.add(get(connect(server.port)))
        return len(found) == WORKERS

    wait_until(is_complete)
    return found


def is_gone(pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2][1] == "Z"
    return True


def test_every_worker_gets_connections(server: Running, connect: Connect) -> None:
    assert len(workers_of(server, connect)) == WORKERS


def test_share_with_more_connections_is_ahead() -> None:
    first, second, third = shares(3)
    assert [each.is_ahead for each in (first, second, third)] == [False, False, False]
    first.add(1)
    second.add(1)
    assert [each.is_ahead for each in (first, second, third)] == [True, True, False]
    third.add(1)
    first.add(-1)
    assert [each.is_ahead for each in (first, second, third)] == [False, True, True]


def test_closed_connection_is_replaced(server: Running, connect: Connect) -> None:
    kept = [connect(server.port) for _ in range(WORKERS)]
    owners = [get(connection) for connection in kept]
    kept[1].close()
    wait_until(lambda: get(connect(server.port)) == owners[1])


def test_workers_end_with_the_first_process(server: Running, connect: Connect) -> None:
    pids = workers_of(server, connect)
    assert len(pids) == WORKERS
    server.process.kill()
    server.process.wait()
    wait_until(lambda: all(map(is_gone, pids)))


def test_death_of_a_worker_ends_the_server(server: Running, connect: Connect) -> None:
    (first_worker, *_) = workers_of(server, connect) - {server.process.pid}
    os.kill(first_worker, signal.SIGKILL)
    assert server.process.wait(timeout=10) == 3


def test_workers_ignore_ctrl_c(server: Running, connect: Connect) -> None:
    pids = workers_of(server, connect) - {server.process.pid}
    for pid in pids:
        os.kill(pid, signal.SIGINT)
    assert workers_of(server, connect) >= pids


def test_lines_of_workers_are_not_mixed(server: Running, connect: Connect) -> None:
    def ask_often(thread: int) -> None:
        connection = connect(server.port)
        for number in range(LINES):
            get(connection, f"/{thread}/{number}")

    with ThreadPoolExecutor(2 * WORKERS) as threads:
        list(threads.map(ask_often, range(2 * WORKERS)))
    assert server.process.stdout is not None
    lines = {server.process.stdout.readline() for _ in range(2 * WORKERS * LINES)}
    assert lines == {f"/{thread}/{number} {'.' * 200}\n" for thread in range(2 * WORKERS) for number in range(LINES)}


def test_chalice_local_starts_the_workers(connect: Connect) -> None:
    environ = free_environment() | {"GATEHOUSE_AUTH_WORKERS": str(WORKERS)}
    port = int(environ["GATEHOUSE_AUTH_PORT"])
    with chalice_local("auth_server", port, environ, "--no-autoreload") as process:
        # It listens before they are there: who is early waits for one of them.
        wait_until(lambda: len(_children_named(process.pid, "chalice")) == WORKERS - 1)
        workers = _children_named(process.pid, "chalice")
        answers = [connect(port) for _ in range(WORKERS)]
        for connection in answers:
            connection.request("GET", "/ms-auth-server/oauth2/jwks")
            assert connection.getresponse().status == 200
    wait_until(lambda: all(map(is_gone, workers)))


@pytest.mark.parametrize("wanted", ["0", "65", "0640", "9" * 20, "-1", "2.0", "\u0662"])
def test_invalid_number_of_workers_is_an_error(wanted: str) -> None:
    with pytest.raises(LaptopError, match="a number from 1 to 64"):
        worker_count({"GATEHOUSE_AUTH_WORKERS": wanted})


def test_console_reaches_every_worker(connect: Connect, tmp_path: Path) -> None:
    environ = free_environment() | {"GATEHOUSE_AUTH_WORKERS": str(WORKERS), CONTROL_SOCKETS: str(tmp_path)}
    port = int(environ["GATEHOUSE_AUTH_PORT"])
    with chalice_local("auth_server", port, environ, "--no-autoreload"):
        wait_until(lambda: len(list(tmp_path.glob("auth_server.*.sock"))) == WORKERS)
        auth_server = ControlClient(tmp_path, "auth_server")
        connections: list[http.client.HTTPConnection] = []

        def is_everyone_asked() -> bool:
            connections.append(connect(port))
            assert _status(connections[-1], JWKS_PATH) == 200
            return all(auth_server.records()["last"].values())

        wait_until(is_everyone_asked)
        paths = [exchange["path"] for exchange in auth_server.records()["exchanges"]]
        assert paths == [JWKS_PATH] * len(connections)
        auth_server.run("take_down", paths=[JWKS_PATH])
        assert {_status(each, JWKS_PATH) for each in connections} == {503}
        auth_server.run("take_down", paths=[])
        assert {_status(each, JWKS_PATH) for each in connections} == {200}


def test_chalice_local_rejects_a_number_of_workers() -> None:
    environ = free_environment() | {"GATEHOUSE_AUTH_WORKERS": "many"}
    stderr = refusal_to_start("auth_server", environ)
    assert "GATEHOUSE_AUTH_WORKERS must be a number from 1 to 64, not 'many'." in stderr


def _status(connection: http.client.HTTPConnection, path: str) -> int:
    connection.request("GET", path)
    response = connection.getresponse()
    response.read()
    return response.status


def _children_named(pid: int, name: str) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return [int(child) for child in children if name in Path(f"/proc/{child}/cmdline").read_text("utf-8")]
