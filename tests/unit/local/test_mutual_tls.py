"""The server with TLS: what it tells the application of a client, and whom it turns away."""

from __future__ import annotations

import ssl
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.client import HTTPSConnection
from threading import Thread
from typing import TYPE_CHECKING

import pytest

from functions.shared.web.client_certificate import from_pem
from local.certificates import CLIENT_NAME, LaptopCertificates
from local.gateway.messages import Request, Response
from local.http_server import Server, Timeouts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Mirror:
    """Remembers requests."""

    def __init__(self) -> None:
        self.requests: list[Request] = []

    def handle(self, request: Request) -> Response:
        self.requests.append(request)
        return Response(200, (), b"{}")

    def too_large(self, request: Request) -> Response:
        return Response(413)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> LaptopCertificates:
    return LaptopCertificates.ensure(tmp_path_factory.mktemp("laptop") / "tls")


@contextmanager
def serving(certificates: LaptopCertificates, mirror: Mirror) -> Iterator[Server]:
    context = certificates.server_context()
    with Server("127.0.0.1", 0, timeouts=Timeouts(request=1.0), tls=context) as server:
        server.open(mirror)
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def get(server: Server, certificates: LaptopCertificates, shown: Path | None) -> int:
    context = ssl.create_default_context(cafile=str(certificates.authority))
    if shown is not None:
        context.load_cert_chain(shown)
    connection = HTTPSConnection("localhost", server.port, context=context, timeout=5)
    try:
        connection.request("GET", "/a?b")
        return connection.getresponse().status
    finally:
        connection.close()


def test_an_application_learns_of_the_clients_certificate(certificates: LaptopCertificates) -> None:
    mirror = Mirror()
    with serving(certificates, mirror) as server:
        assert get(server, certificates, certificates.client) == 200
    (request,) = mirror.requests
    assert (request.scheme, request.path, request.query) == ("https", "/a", "b")
    shown = request.client_certificate
    assert shown is not None
    assert from_pem(shown.pem).thumbprint in _thumbprints(certificates.client)
    assert (shown.subject, shown.issuer) == (
        "CN=service-client-mtls",
        "CN=Gatehouse on this laptop",
    )
    assert shown.not_after.endswith(" GMT")
    assert set(shown.serial_number) <= set("0123456789abcdef:")


def _thumbprints(file: Path) -> set[str]:
    pem, end, _ = file.read_text().partition("-----END CERTIFICATE-----\n")
    return {from_pem(pem + end).thumbprint}


def test_a_self_signed_client_in_the_truststore_is_let_in(certificates: LaptopCertificates) -> None:
    mirror = Mirror()
    with serving(certificates, mirror) as server:
        assert get(server, certificates, certificates.self_signed_client) == 200
    shown = mirror.requests[0].client_certificate
    assert shown is not None
    assert from_pem(shown.pem).thumbprint == certificates.self_signed_thumbprint()


def test_without_a_certificate_nothing_reaches_the_application(
    certificates: LaptopCertificates,
) -> None:
    mirror = Mirror()
    with serving(certificates, mirror) as server, pytest.raises(OSError, match=r"."):
        get(server, certificates, None)
    assert mirror.requests == []


def test_a_strangers_certificate_reaches_nothing(
    certificates: LaptopCertificates, tmp_path: Path
) -> None:
    stranger = LaptopCertificates.ensure(tmp_path / "tls")
    mirror = Mirror()
    with serving(certificates, mirror) as server:
        for shown in (stranger.client, stranger.self_signed_client):
            with pytest.raises(OSError, match=r"."):
                get(server, certificates, shown)
        assert get(server, certificates, certificates.client) == 200
    assert len(mirror.requests) == 1


def test_certificates_are_made_once_and_again_before_they_end(tmp_path: Path) -> None:
    made = LaptopCertificates.ensure(tmp_path / "tls")
    first = made.authority.read_text()
    assert LaptopCertificates.ensure(tmp_path / "tls").authority.read_text() == first
    now = datetime.now(UTC)
    assert made.are_good(now + timedelta(days=357))
    assert not made.are_good(now + timedelta(days=359))
    made.authority.write_text("spoilt")
    assert LaptopCertificates.ensure(tmp_path / "tls").authority.read_text() != "spoilt"


def test_the_demo_clients_certificate_carries_its_name(certificates: LaptopCertificates) -> None:
    pem, end, _ = certificates.client.read_text().partition("-----END CERTIFICATE-----\n")
    assert CLIENT_NAME.encode() in from_pem(pem + end).der
