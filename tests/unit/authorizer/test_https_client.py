"""The HTTPS client, against real servers on this machine."""

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509 import DNSName
from cryptography.x509.oid import ExtendedKeyUsageOID

from authorizer.clock import Clocks, Deadline
from authorizer.https_client import (
    MAX_BODY_LENGTH,
    MAX_INTERIM_RESPONSES,
    ConnectionPool,
    HttpExchangeError,
    Request,
    Response,
    Url,
    _exchange,
    _tls,
    _tls_with_amazons_authorities,
    parse_url,
    preload,
    send,
)
from tests.support.byte_server import ByteServer, read_request
from tests.support.client_certificates import certificate_pem
from tests.support.tokens import ec_key


def _get(url: str, seconds: float = 2.0) -> Response:
    return send(Request("GET", url, {"Accept": "application/json"}, b"", Deadline(seconds)))


def test_response_has_status_headers_and_body() -> None:
    with ByteServer(b'HTTP/1.1 200 OK\r\nETag: "v1"\r\nContent-Length: 2\r\n\r\n{}') as server:
        response = _get(server.url)
    assert response == (200, {"etag": '"v1"', "content-length": "2"}, b"{}")
    assert server.received.startswith(b"GET /jwks?x=1 HTTP/1.1\r\n")
    assert b"Accept-Encoding: identity\r\n" in server.received
    assert b"Accept: application/json\r\n" in server.received


def test_cut_header_is_not_the_end_of_the_header() -> None:
    head = b"HTTP/1.1 401 Unauthorized\r\nETag: 1\r\nContent-Length: 2\r\n\r\n"
    for end in range(len(head)):
        with ByteServer(head[:end]) as server, pytest.raises(HttpExchangeError):
            _get(server.url)


def test_body_is_posted() -> None:
    with ByteServer(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") as server:
        send(Request("POST", server.url, {"X-Test": "y"}, b"token=abc", Deadline(2)))
    assert server.received.endswith(b"\r\n\r\ntoken=abc")
    assert b"Content-Length: 9\r\n" in server.received


def test_headers_and_body_are_one_write() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        theirs.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        request = Request("POST", "https://aws", {}, b"body", Deadline(2))
        _exchange(ours, request, Url("https", "aws", 443, "/"), {}, 100)
        assert theirs.recv(1000).endswith(b"\r\n\r\nbody")


@pytest.mark.parametrize("framing", [b"Content-Length: 52428800", b"Connection: close"])
def test_96_response_over_64_kib_is_rejected(framing: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n"
    with (
        ByteServer(head + b"x" * (MAX_BODY_LENGTH + 1)) as server,
        pytest.raises(HttpExchangeError, match="65536 bytes"),
    ):
        _get(server.url)


def test_96_negative_chunk_size_is_rejected() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n"
    with ByteServer(head + b"x" * (8 * MAX_BODY_LENGTH)) as server, pytest.raises(HttpExchangeError):
        _get(server.url)


def test_response_of_64_kib_is_accepted() -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {MAX_BODY_LENGTH}\r\n\r\n".encode()
    with ByteServer(head + b"x" * MAX_BODY_LENGTH) as server:
        assert len(_get(server.url).body) == MAX_BODY_LENGTH


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 200 OK\r\nX-Slow: " + b"y" * 200, b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + b"z" * 200],
    ids=["in the headers", "in the body"],
)
def test_96_slow_response_ends_at_the_deadline(answer: bytes) -> None:
    with ByteServer(answer, pause=0.02) as server:
        started = time.monotonic()
        with pytest.raises(HttpExchangeError):
            _get(server.url, 0.3)
        assert time.monotonic() - started < 1


EARLY_HINTS = b'HTTP/1.1 103 Early Hints\r\nETag: "hint"\r\nContent-Length: 7\r\n\r\n'
FINAL = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@pytest.mark.parametrize(
    "interim",
    [
        EARLY_HINTS,
        b"HTTP/1.1 102 Processing\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" + EARLY_HINTS,
        EARLY_HINTS + b"HTTP/1.1 100 Continue\r\n\r\n" + EARLY_HINTS,
        b"HTTP/1.1 199 What\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n",
        EARLY_HINTS * MAX_INTERIM_RESPONSES,
    ],
    ids=["103", "102", "100, 103", "103, 100, 103", "an unknown one", "as many as are read"],
)
@pytest.mark.parametrize("pause", [0.0, 0.0001], ids=["at once", "byte by byte"])
def test_interim_responses_are_skipped(interim: bytes, pause: float) -> None:
    with ByteServer(interim + FINAL, pause) as server:
        assert _get(server.url) == (200, {"content-length": "2"}, b"{}")


@pytest.mark.parametrize(
    "answer",
    [EARLY_HINTS, EARLY_HINTS * (MAX_INTERIM_RESPONSES + 1) + FINAL, b"HTTP/1.1 100 Continue\r\n\r\n" * 20_000 + FINAL],
    ids=["one", "one too many", "no end of them"],
)
def test_interim_response_alone_is_a_failure(answer: bytes) -> None:
    with ByteServer(answer) as server, pytest.raises(HttpExchangeError):
        _get(server.url)


def test_protocol_switch_is_a_failure() -> None:
    with ByteServer(b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + FINAL) as server:
        assert _get(server.url).status == 101


def test_slow_dns_ends_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answered.wait(10))
    started = time.monotonic()
    with pytest.raises(HttpExchangeError, match="TimeoutError"):
        send(Request("GET", "https://slow.example.com/jwks", {}, b"", Deadline(0.1)))
    assert time.monotonic() - started < 5
    answered.set()


@pytest.mark.parametrize("host", ["absent.invalid", "a" * 64 + ".example.com"])
def test_dns_error_is_a_failure(host: str) -> None:
    with pytest.raises(HttpExchangeError):
        send(Request("GET", f"https://{host}/jwks", {}, b"", Deadline(5)))


def test_https_needs_tls() -> None:
    with ByteServer(b"HTTP/1.1 200 OK\r\n\r\n") as server, pytest.raises(HttpExchangeError):
        _get(server.url.replace("http:", "https:"))


@contextmanager
def _serving_tls(pem: str, folder: Path, connections: int = 1) -> Iterator[str]:
    """Serve some TLS connections, one after the other; yield the address."""
    file = folder / "server.pem"
    key = ec_key("tls-server").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(pem.encode() + key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        for _ in range(connections):
            connection, _ = listener.accept()
            with suppress(OSError), context.wrap_socket(connection, server_side=True) as secured:
                while read_request(secured):
                    secured.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    thread = Thread(target=serve)
    thread.start()
    with listener:
        yield f"https://localhost:{listener.getsockname()[1]}/jwks"
        thread.join()


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A CA file that replaces this machine's."""
    file = tmp_path / "trusted.pem"
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    for stores in (_tls, _tls_with_amazons_authorities):
        stores.cache_clear()
    yield file
    for stores in (_tls, _tls_with_amazons_authorities):
        stores.cache_clear()


def _certificate(host: str = "localhost", *, subject: str = "CN=client", begins: int = -3600, ends: int = 3600) -> str:
    now = int(time.time())
    return certificate_pem(
        subject,
        names=[DNSName(host)],
        key="tls-server",
        begins=now + begins,
        ends=now + ends,
        usage=ExtendedKeyUsageOID.SERVER_AUTH,
    )


def test_trusted_certificate_is_accepted(trusted: Path) -> None:
    pem = _certificate()
    trusted.write_text(pem)
    with _serving_tls(pem, trusted.parent) as url:
        assert _get(url, 10).body == b"{}"


def test_amazons_authorities_are_enough_for_a_certificate_of_amazon(trusted: Path) -> None:
    pem = _certificate(subject="CN=Amazon Root CA 1")
    trusted.write_text(pem + certificate_pem())
    with _serving_tls(pem, trusted.parent) as url:
        assert _get(url, 10).body == b"{}"
    assert not _tls.cache_info().currsize


def test_preload_loads_amazons_authorities_only(trusted: Path) -> None:
    trusted.write_text(_certificate(subject="CN=Amazon Root CA 1") + certificate_pem())
    preload()
    assert _tls_with_amazons_authorities.cache_info().currsize
    assert not _tls.cache_info().currsize


def test_other_authorities_are_used_after_amazons(trusted: Path) -> None:
    pem = _certificate()
    trusted.write_text(certificate_pem("CN=Amazon Root CA 1") + pem)
    with _serving_tls(pem, trusted.parent, connections=3) as url:  # the first one is without success
        assert [_get(url, 10).body for _ in range(2)] == [b"{}"] * 2


def test_pool_uses_a_tls_connection_again(trusted: Path) -> None:
    pem = _certificate()
    trusted.write_text(pem)
    pool = ConnectionPool(Clocks(time.time, time.monotonic))
    with _serving_tls(pem, trusted.parent) as url:  # the server accepts one connection
        for _ in range(3):
            assert pool.send(Request("GET", url, {}, b"", Deadline(10))).body == b"{}"
        pool.close()


@pytest.mark.parametrize(
    ("certificate", "is_trusted"),
    [
        (_certificate(ends=-1), True),
        (_certificate(begins=1800), True),
        (_certificate("elsewhere.example.com"), True),
        (_certificate(), False),
    ],
    ids=["over", "not yet valid", "of another host", "of an unknown authority"],
)
def test_untrusted_certificate_is_a_failure(trusted: Path, certificate: str, is_trusted: bool) -> None:
    trusted.write_text(certificate if is_trusted else certificate_pem())
    with (
        _serving_tls(certificate, trusted.parent) as url,
        pytest.raises(HttpExchangeError, match="SSLCertVerificationError"),
    ):
        _get(url, 10)


def test_failure_names_only_the_address() -> None:
    with ByteServer(b"") as server, pytest.raises(HttpExchangeError) as failure:
        send(Request("POST", server.url, {"Authorization": "Basic c2VjcmV0"}, b"token=abc", Deadline(1)))
    assert server.url in str(failure.value)
    assert "c2VjcmV0" not in str(failure.value)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("https://example.com", Url("https", "example.com", 443, "/")),
        ("https://example.com:8443/a/b?c=d", Url("https", "example.com", 8443, "/a/b?c=d")),
        ("http://localhost:8085/x", Url("http", "localhost", 8085, "/x")),
        ("http://127.0.0.1/", Url("http", "127.0.0.1", 80, "/")),
        ("http://[::1]:80/", Url("http", "::1", 80, "/")),
    ],
)
def test_url_is_parsed(url: str, address: Url) -> None:
    assert parse_url(url) == address


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "ftp://example.com/",
        "file:///etc/passwd",
        "http://example.com/",
        "http://169.254.169.254/latest/meta-data/",
        "http://localhost.example.com/",
        "http://127.0.0.1.example.com/",
        "http://localhost@example.com/",
        "https://user:password@example.com/",
        "https://example.com/#fragment",
        "https://example.com:0/",
        "https://example.com:65536/",
        "https://example.com/a b",
        "https://example.com/\r\nX: y",
        "HTTPS://example.com/",
    ],
)
def test_other_urls_are_rejected(url: str) -> None:
    with pytest.raises(ValueError, match=r"https URL|other than localhost|port"):
        parse_url(url)
