"""Connections that stay open, against a real server that follows a script."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from authorizer.clock import Clocks, Deadline
from authorizer.https_client import (
    MAX_POOLED_BODY_LENGTH,
    ConnectError,
    ConnectionPool,
    HttpExchangeError,
    Request,
    Response,
)
from tests.support.byte_server import CLOSE, HANG, ScriptedServer, http_response
from tests.support.clock import ManualClock


class Client:
    """A pool with a clock for each of the two times."""

    def __init__(self) -> None:
        self.wall, self.monotonic = ManualClock(), ManualClock()
        self.pool = ConnectionPool(Clocks(self.wall, self.monotonic))
        self.servers: list[ScriptedServer] = []

    def serve(self, *scripts: Sequence[bytes]) -> ScriptedServer:
        self.servers.append(ScriptedServer(*scripts))
        return self.servers[-1]

    def get(self, server: ScriptedServer, seconds: float = 5.0) -> Response:
        return self.pool.send(Request("GET", server.url, {}, b"", Deadline(seconds)))


@pytest.fixture
def client() -> Iterator[Client]:
    made = Client()
    yield made
    made.pool.close()
    for server in made.servers:
        server.close()


def test_connection_is_used_again(client: Client) -> None:
    server = client.serve([http_response(b"1"), http_response(b""), http_response(b"3")])
    assert [client.get(server).body for _ in range(3)] == [b"1", b"", b"3"]
    assert server.connections == 1
    assert b"Connection:" not in server.requests[0]


def test_chunked_response_leaves_the_connection_open(client: Client) -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n"
    server = client.serve([chunked, http_response(b"2")])
    assert [client.get(server).body for _ in range(2)] == [b"{}", b"2"]
    assert server.connections == 1


@pytest.mark.parametrize(
    "first",
    [
        [http_response(b"1", b"Connection: close"), CLOSE],
        [http_response(b"1", version=b"1.0"), CLOSE],
        [b"HTTP/1.1 200 OK\r\n\r\n1", CLOSE],
        [http_response(b"1"), CLOSE],
        [http_response(b"1"), HANG, CLOSE],
        [http_response(b"1"), b"HTTP/1.1 400 Bad Request\r\nContent-Type: x\r\n", CLOSE],
    ],
    ids=["announced", "http 1.0", "without a length", "while idle", "without a response", "in a header"],
)
def test_ended_connection_is_replaced(client: Client, first: Sequence[bytes]) -> None:
    server = client.serve(first, [http_response(b"2")])
    assert [client.get(server).body for _ in range(2)] == [b"1", b"2"]
    assert server.connections == 2


def test_bytes_after_a_response_are_not_the_next_response(client: Client) -> None:
    unrequested = http_response(b"unrequested")
    server = client.serve([http_response(b"1") + unrequested, http_response(b"2")], [http_response(b"2")])
    assert [client.get(server).body for _ in range(2)] == [b"1", b"2"]


def test_cut_response_is_an_error(client: Client) -> None:
    server = client.serve([http_response(b"1"), http_response(b"2" * 99)[:-1], CLOSE])
    client.get(server)
    with pytest.raises(HttpExchangeError):
        client.get(server)


def test_new_connection_that_is_lost_is_an_error(client: Client) -> None:
    server = client.serve([HANG, CLOSE], [http_response(b"2")])
    with pytest.raises(HttpExchangeError) as error:
        client.get(server)
    assert not isinstance(error.value, ConnectError)
    assert len(server.requests) == 1


@pytest.mark.parametrize("clock", ["wall", "monotonic"])
def test_idle_connection_is_not_used_after_a_freeze(client: Client, clock: str) -> None:
    server = client.serve([http_response(b"1"), http_response(b"2"), CLOSE], [http_response(b"3")])
    client.get(server)
    getattr(client, clock).advance(49)
    assert client.get(server).body == b"2"
    getattr(client, clock).advance(50)
    assert client.get(server).body == b"3"


def test_late_response_is_an_error_and_its_connection_is_closed(client: Client) -> None:
    server = client.serve([http_response(b"1"), HANG], [http_response(b"3")])
    client.get(server)
    with pytest.raises(HttpExchangeError) as error:
        client.get(server, 0.1)
    assert isinstance(error.value.__cause__, TimeoutError)
    assert client.get(server).body == b"3"
    assert server.connections == 2


def test_forked_process_opens_its_own_connection(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    server = client.serve([http_response(b"1"), CLOSE], [http_response(b"2")])
    client.get(server)
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert client.get(server).body == b"2"


def test_threads_do_not_share_a_connection(client: Client) -> None:
    servers = [client.serve([http_response(b"%d" % number)] * 20) for number in range(2)]
    together = Barrier(2)

    def send(number: int) -> set[bytes]:
        together.wait()
        return {client.get(servers[number]).body for _ in range(20)}

    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(send, range(2))) == [{b"0"}, {b"1"}]


def test_large_response_is_bounded(client: Client) -> None:
    server = client.serve(
        [http_response(b"x" * MAX_POOLED_BODY_LENGTH), http_response(b"x" * (MAX_POOLED_BODY_LENGTH + 1))]
    )
    assert len(client.get(server).body) == MAX_POOLED_BODY_LENGTH
    with pytest.raises(HttpExchangeError, match="bytes"):
        client.get(server)


def test_refused_connection_is_a_connect_error(client: Client) -> None:
    server = client.serve()
    server.close()
    with pytest.raises(ConnectError, match="ConnectionRefusedError"):
        client.get(server)


def test_passed_deadline_is_a_late_connection(client: Client) -> None:
    with pytest.raises(ConnectError) as error:
        client.get(client.serve(), 0)
    assert isinstance(error.value.__cause__, TimeoutError)
