import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from local.gateway.core import Gateway
from local.gateway.model import Request, Response, Route
from local.http_requests import Timeouts
from local.http_server import Server
from tests.unit.local.gateway.apis import BEARER, OK, allow, policy, rest_api

HOST = b"Host: localhost\r\n"
GET = b"GET / HTTP/1.1\r\n" + HOST
POST = b"POST / HTTP/1.1\r\n" + HOST
MEBIBYTE = 1024 * 1024


class Echo:
    """Answers with what it was asked; `/slow` waits for its gate to open."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.gate = threading.Event()

    def handle(self, request: Request) -> Response:
        self.requests.append(request)
        if request.path == "/slow":
            self.gate.wait(10)
        if request.path == "/empty":
            return Response(204)
        if request.path == "/unchanged":
            return Response(304, (("ETag", '"1"'),), b"")
        if request.path == "/crash":
            raise RuntimeError("the application is broken")
        headers = (("Content-Type", "text/plain"), ("X-Name", "é"), ("X-Far", "日本"))
        return Response(200, headers if request.path == "/far" else headers[:2], request.body)

    def too_large(self, request: Request) -> Response:
        self.requests.append(request)
        return Response(413, (), b"too large")


class Served:
    """A running server and what it logged."""

    def __init__(self, timeouts: Timeouts) -> None:
        self.echo = Echo()
        self.log: list[str] = []
        self.server = Server("127.0.0.1", 0, log=self.log.append, timeouts=timeouts)
        self.server.open(self.echo)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def connect(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.server.port), timeout=5)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def exchange(self, sent: bytes) -> bytes:
        """Send bytes, say that no more will come, and read until the server closes."""
        with self.connect() as connection:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            return read_all(connection)

    def close(self) -> None:
        self.echo.gate.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def read_all(connection: socket.socket) -> bytes:
    received = b""
    while part := connection.recv(65536):
        received += part
    return received


def read_one(connection: socket.socket) -> bytes:
    received = b""
    while b"\r\n\r\n" not in received:
        part = connection.recv(65536)
        if not part:
            return received
        received += part
    match = re.search(rb"Content-Length: (\d+)", received)
    length = int(match[1]) if match else 0
    head = received.index(b"\r\n\r\n") + 4
    while len(received) < head + length:
        received += connection.recv(65536)
    return received


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


@pytest.fixture
def serve() -> Iterator[Callable[..., Served]]:
    running: list[Served] = []

    def start(timeouts: Timeouts | None = None) -> Served:
        running.append(Served(timeouts or Timeouts()))
        return running[-1]

    yield start
    for served in running:
        served.close()


@pytest.fixture
def served(serve: Callable[..., Served]) -> Served:
    return serve()


def test_request_is_parsed_and_answered(served: Served) -> None:
    headers = b"Host: elsewhere.example:80\r\nX-A: 1\r\nB: 2\r\nx-a: 3\r\n\r\n"
    answer = served.exchange(b"GET /path?a=1&a=2#x HTTP/1.1\r\n" + headers)
    assert status(answer) == 200
    (request,) = served.echo.requests
    assert (request.method, request.path, request.query) == ("GET", "/path", "a=1&a=2")
    assert request.headers == (("Host", "elsewhere.example:80"), ("X-A", "1"), ("B", "2"), ("x-a", "3"))
    assert (request.domain, request.port) == ("localhost", served.server.port)
    assert (request.source_ip, request.protocol) == ("127.0.0.1", "HTTP/1.1")
    assert re.search(rb"\r\nDate: \w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT\r\n", answer)
    assert b"\r\nContent-Length: 0\r\n" in answer
    assert b"Server:" not in answer


def test_one_connection_serves_many_requests(served: Served) -> None:
    with served.connect() as connection:
        for number in range(3):
            connection.sendall(POST + b"Content-Length: 1\r\n\r\n%d" % number)
            assert read_one(connection).endswith(b"\r\n\r\n%d" % number)


def test_pipelined_requests_are_answered_in_order(served: Served) -> None:
    one, two = (POST + b"Content-Length: 3\r\n" + more + b"\r\n" for more in (b"", b"Connection: close\r\n"))
    answer = served.exchange(one + b"one" + two + b"two")
    assert re.findall(rb"\r\n\r\n(one|two)", answer) == [b"one", b"two"]


def test_request_can_arrive_byte_by_byte(served: Served) -> None:
    with served.connect() as connection:
        for byte in POST + b"Content-Length: 2\r\n\r\nhi":
            connection.sendall(bytes([byte]))
        assert read_one(connection).endswith(b"hi")


def test_empty_lines_before_a_request_are_skipped(served: Served) -> None:
    assert status(served.exchange(b"\r\n\r\nGET / HTTP/1.1\r\n" + HOST + b"\r\n")) == 200


@pytest.mark.parametrize(
    ("line", "headers", "stays"),
    [
        (b"GET / HTTP/1.1", b"", True),
        (b"GET / HTTP/1.1", b"Connection: close\r\n", False),
        (b"GET / HTTP/1.1", b"Connection: x, CLOSE\r\n", False),
        (b"GET / HTTP/1.0", b"", False),
        (b"GET / HTTP/1.0", b"Connection: Keep-Alive\r\n", True),
    ],
)
def test_client_controls_connection_reuse(served: Served, line: bytes, headers: bytes, *, stays: bool) -> None:
    with served.connect() as connection:
        connection.sendall(line + b"\r\n" + HOST + headers + b"\r\n")
        first = read_one(connection)
        assert (b"Connection: keep-alive" in first) is stays
        if stays:
            connection.sendall(line + b"\r\n" + HOST + headers + b"\r\n")
            assert status(read_one(connection)) == 200
        else:
            assert connection.recv(1) == b""


def test_head_response_has_a_length_and_no_body(served: Served) -> None:
    sent = b"HEAD / HTTP/1.1\r\n" + HOST + b"Content-Length: 4\r\n\r\nbody"
    answer = served.exchange(sent + GET + b"Connection: close\r\n\r\n")
    first, second = answer.split(b"HTTP/1.1 ")[1:]
    assert b"Content-Length: 4" in first
    assert first.endswith(b"\r\n\r\n")
    assert second.startswith(b"200")


@pytest.mark.parametrize("path", [b"/empty", b"/unchanged"])
def test_204_and_304_have_no_body_and_no_length(served: Served, path: bytes) -> None:
    answer = served.exchange(b"GET " + path + b" HTTP/1.1\r\n" + HOST + b"\r\n")
    assert b"Content-Length" not in answer
    assert answer.endswith(b"\r\n\r\n")


def test_chunked_body_is_read(served: Served) -> None:
    chunks = b"3\r\nabc\r\nA;name=value\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n"
    after = b"GET /after HTTP/1.1\r\n" + HOST + b"\r\n"
    served.exchange(POST + b"Transfer-Encoding: Chunked\r\n\r\n" + chunks + after)
    first, second = served.echo.requests
    assert first.body == b"abc0123456789"
    assert second.path == "/after"


def test_100_continue_is_sent_on_request(served: Served) -> None:
    with served.connect() as connection:
        connection.sendall(POST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"hi")
        assert read_one(connection).endswith(b"hi")


def test_header_values_may_contain_non_ascii_bytes(served: Served) -> None:
    answer = served.exchange(GET + b"X-Name: \xc3\xa9 \xff\r\n\r\n")
    assert served.echo.requests[0].header("x-name") == "\u00c3\u00a9 \u00ff"
    assert b"X-Name: \xe9\r\n" in answer
    far = served.exchange(b"GET /far HTTP/1.1\r\n" + HOST + b"\r\n")
    assert "X-Far: 日本\r\n".encode() in far


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"http://localhost:8085/a?b=c", "/a", "b=c"),
        (b"https://localhost", "/", ""),
        (b"http://localhost?b", "/", "b"),
        (b"//a//b", "//a//b", ""),
        (b"/a%20b?c%3D=d", "/a%20b", "c%3D=d"),
        (b"*", "*", ""),
    ],
)
def test_request_target_is_parsed(served: Served, target: bytes, path: str, query: str) -> None:
    served.exchange(b"OPTIONS " + target + b" HTTP/1.1\r\n" + HOST + b"\r\n")
    assert [(r.path, r.query) for r in served.echo.requests] == [(path, query)]


CHUNKED = b"Transfer-Encoding: chunked\r\n"


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"GET /\r\n" + HOST + b"\r\n", 400),
        (b"GET / HTTP/1.1 x\r\n" + HOST + b"\r\n", 400),
        (b"GET  / HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"G@T / HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET nowhere HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET /\xc3\xa9 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET / HTTP/2.0\r\n" + HOST + b"\r\n", 505),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (GET + HOST + b"\r\n", 400),
        (GET + b"No-Colon\r\n\r\n", 400),
        (GET + b"Space : x\r\n\r\n", 400),
        (GET + b": x\r\n\r\n", 400),
        (GET + b"A: 1\r\n folded\r\n\r\n", 400),
        (GET + b"A: 1\x00\r\n\r\n", 400),
        (GET + b"A: 1\nB: 2\r\n\r\n", 400),
        (GET + b"Expect: miracles\r\n\r\n", 417),
        (POST + b"Content-Length: -1\r\n\r\n", 400),
        (POST + b"Content-Length: +1\r\n\r\nx", 400),
        (POST + b"Content-Length: 1_0\r\n\r\n", 400),
        (POST + b"Content-Length: \xb2\r\n\r\n", 400),
        (POST + b"Content-Length: \r\n\r\n", 400),
        (POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx", 400),
        (POST + CHUNKED + b"Content-Length: 5\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.0\r\n" + HOST + CHUNKED + b"\r\n0\r\n\r\n", 400),
        (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 501),
        (POST + CHUNKED + CHUNKED + b"\r\n", 501),
        (POST + CHUNKED + b"\r\nxyz\r\n", 400),
        (POST + CHUNKED + b"\r\n-1\r\n", 400),
        (POST + CHUNKED + b"\r\n1\r\nab\r\n0\r\n\r\n", 400),
        (POST + CHUNKED + b"\r\n0\r\nbad trailer\r\n\r\n", 400),
        (POST + CHUNKED + b"\r\n" + b"0" * 300, 400),
        (b"GET /" + b"a" * 11_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
        (GET + b"A: " + b"a" * 11_000 + b"\r\n\r\n", 431),
        (GET + b"A: 1\r\n" * 2_000, 431),
    ],
)
def test_malformed_request_is_rejected(served: Served, sent: bytes, expected: int) -> None:
    answer = served.exchange(sent)
    assert status(answer) == expected
    assert b"Connection: close" in answer
    assert answer.count(b"HTTP/1.1 ") == 1
    assert served.echo.requests == []


def test_headers_up_to_the_limit_are_read(served: Served) -> None:
    filler = b"A: " + b"a" * (10_240 - 60) + b"\r\n"
    assert status(served.exchange(GET + filler + b"\r\n")) == 200


@pytest.mark.parametrize("lengths", [b"Content-Length: 2\r\n" * 2, b"Content-Length: " + b"0" * 30 + b"2\r\n"])
def test_equal_lengths_and_leading_zeros_are_accepted(served: Served, lengths: bytes) -> None:
    assert served.exchange(POST + lengths + b"\r\nhi").endswith(b"hi")


@pytest.mark.parametrize(
    "sent",
    [
        b"Content-Length: %d\r\n\r\n" % (10 * MEBIBYTE + 1),
        b"Content-Length: 99999999999999999999999999\r\n\r\n",
        CHUNKED + b"\r\nA00001\r\n",
        CHUNKED + b"\r\n1\r\nx\r\nA00000\r\n",
        b"Expect: 100-continue\r\nContent-Length: 99999999\r\n\r\n",
    ],
)
def test_body_over_the_limit_is_not_read(served: Served, sent: bytes) -> None:
    answer = served.exchange(POST + sent)
    assert status(answer) == 413
    assert answer.endswith(b"too large")
    assert b"Connection: close" in answer
    assert served.echo.requests[0].body == b""


def test_body_up_to_the_limit_is_read(served: Served) -> None:
    body = b"x" * (10 * MEBIBYTE)
    head = POST + b"Content-Length: %d\r\n\r\n" % len(body)
    assert len(served.exchange(head + body)) > len(body)
    assert served.echo.requests[0].body == body


def test_incomplete_request_gets_no_response(served: Served) -> None:
    for sent in (b"", b"GET / HT", POST + b"Content-Length: 5\r\n\r\nab"):
        assert served.exchange(sent) == b""
    assert served.echo.requests == []


def test_idle_connection_is_closed(serve: Callable[..., Served]) -> None:
    served = serve(Timeouts(idle=0.05))
    with served.connect() as connection:
        assert connection.recv(1) == b""


def test_slow_request_is_408(serve: Callable[..., Served]) -> None:
    served = serve(Timeouts(request=0.05))
    for started in (b"GET / HT", POST + b"Content-Length: 5\r\n\r\nab"):
        with served.connect() as connection:
            connection.sendall(started)
            assert read_all(connection)[9:12] == b"408"


def test_slow_reader_is_disconnected(serve: Callable[..., Served]) -> None:
    served = serve(Timeouts(request=0.05))
    body = b"x" * (10 * MEBIBYTE)
    head = POST + b"Content-Length: %d\r\n\r\n" % len(body)
    with served.connect() as connection:
        connection.sendall(head + body)
        for thread in threading.enumerate():
            if "process_request" in thread.name:
                thread.join(5)
                assert not thread.is_alive()
        assert b"200 OK" in (taken := read_all(connection))[:32]
        assert len(taken) < len(body)


def test_slow_response_does_not_delay_others(served: Served) -> None:
    with served.connect() as slow, served.connect() as silent, served.connect() as quick:
        slow.sendall(b"GET /slow HTTP/1.1\r\n" + HOST + b"\r\n")
        silent.sendall(b"GET /half")
        quick.sendall(GET + b"\r\n")
        assert status(read_one(quick)) == 200
        served.echo.gate.set()
        assert status(read_one(slow)) == 200


FAST = Route("GET", "/x", "F", timeout=0.05)
GUARDED = replace(FAST, timeout=29, authorizer=BEARER)
FAILED = b'{"message":"Internal server error"}'


@pytest.mark.parametrize(
    ("route", "timeouts", "code", "body"),
    [
        (FAST, {"F": 60}, 504, b'{"message":"Endpoint request timed out"}'),
        (FAST, {}, 504, b'{"message":"Endpoint request timed out"}'),
        (replace(FAST, timeout=29), {"F": 0.05}, 502, FAILED),
        (GUARDED, {"Authorizer": 0.05, "F": 3}, 500, b'{"message":null}'),
        (GUARDED, {"Authorizer": 3, "F": 0.05}, 502, FAILED),
    ],
)
def test_hanging_function_is_answered_in_time(
    serve: Callable[..., Served], route: Route, timeouts: dict[str, float], code: int, body: bytes
) -> None:
    released = threading.Event()

    def invoke(function: str, _: object) -> object:
        if timeouts.get(function, 0.05) < 1 or function == "F":
            released.wait(10)
        return policy(allow("*")) if function == "Authorizer" else OK

    served = serve()
    api = replace(rest_api(), routes=(route,))
    served.server.application = Gateway(api, invoke, timeouts=timeouts)
    with served.connect() as connection:
        connection.sendall(b"GET /ms-system/x HTTP/1.1\r\n" + HOST + b"Authorization: Bearer a\r\n\r\n")
        answer = read_all(connection)
        assert (status(answer), answer.partition(b"\r\n\r\n")[2]) == (code, body)
        released.set()
        assert connection.recv(1) == b""
    (line,) = served.log
    assert line.startswith(f"GET /ms-system/x {code} ")


def test_application_error_ends_one_connection(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    assert served.exchange(b"GET /crash HTTP/1.1\r\n" + HOST + b"\r\n") == b""
    assert status(served.exchange(GET + b"\r\n")) == 200
    assert "the application is broken" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("target", "line"),
    [(b"/a?secret=1", r"GET /a 200 \d+\.\d ms"), (b"/" + b"a" * 1000, r"GET /a{99}… 200 \d+\.\d ms")],
)
def test_log_has_one_short_line_per_request(served: Served, target: bytes, line: str) -> None:
    served.exchange(b"GET " + target + b" HTTP/1.1\r\n" + HOST + b"\r\n")
    (logged,) = served.log
    assert re.fullmatch(line, logged)


def test_reused_connection_has_no_delayed_ack(served: Served) -> None:
    with served.connect() as connection:
        started = time.perf_counter()
        for _ in range(20):
            connection.sendall(GET + b"\r\n")
            read_one(connection)
        assert time.perf_counter() - started < 20 * 0.04


def test_bound_server_refuses_connections_until_open() -> None:
    server = Server("127.0.0.1", 0)
    try:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", server.port), timeout=1)
    finally:
        server.server_close()


def test_port_in_use_is_an_error(served: Served) -> None:
    with pytest.raises(OSError, match="Address already in use"):
        Server("127.0.0.1", served.server.port)


def test_ipv6_address_can_be_served() -> None:
    try:
        server = Server("::1", 0)
    except OSError:
        pytest.skip("this machine has no IPv6")
    assert server.port
    server.server_close()
