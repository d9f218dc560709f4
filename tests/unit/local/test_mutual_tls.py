"""The server with TLS: client certificates in requests, and rejected clients."""

import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.client import HTTPSConnection
from pathlib import Path
from threading import Barrier, Thread

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from functions.shared.web.proxy_request import certificate_from_pem
from local.certificates import CLIENT_NAME, LaptopCertificates
from local.gateway.model import Request, Response
from local.http_requests import Timeouts
from local.http_server import Server


class Mirror:
    """Remembers requests."""

    def __init__(self) -> None:
        self.requests: list[Request] = []

    def handle(self, request: Request) -> Response:
        self.requests.append(request)
        return Response(200, (), b"{}")

    too_large = handle


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
    context.verify_flags |= ssl.VERIFY_X509_STRICT  # the default since Python 3.13
    if shown is not None:
        context.load_cert_chain(shown)
    connection = HTTPSConnection("localhost", server.port, context=context, timeout=5)
    try:
        connection.request("GET", "/a?b")
        return connection.getresponse().status
    finally:
        connection.close()


def test_request_has_the_client_certificate(certificates: LaptopCertificates) -> None:
    mirror = Mirror()
    with serving(certificates, mirror) as server:
        assert get(server, certificates, certificates.client) == 200
    (request,) = mirror.requests
    assert (request.scheme, request.path, request.query) == ("https", "/a", "b")
    shown = request.client_certificate
    assert shown is not None
    assert certificate_from_pem(shown.pem).x509 == _read(certificates.client)
    assert (shown.subject, shown.issuer) == ("CN=service-client-mtls", "CN=Gatehouse on this laptop")
    assert shown.not_after.endswith(" GMT")
    assert set(shown.serial_number) <= set("0123456789abcdef:")


def test_trusted_self_signed_certificate_is_accepted(certificates: LaptopCertificates) -> None:
    mirror = Mirror()
    with serving(certificates, mirror) as server:
        assert get(server, certificates, certificates.self_signed_client) == 200
    shown = mirror.requests[0].client_certificate
    assert shown is not None
    assert certificate_from_pem(shown.pem).thumbprint == certificates.self_signed_thumbprint()


def test_missing_or_untrusted_certificate_is_rejected(certificates: LaptopCertificates, tmp_path: Path) -> None:
    other = LaptopCertificates.ensure(tmp_path / "tls")
    mirror = Mirror()
    with serving(certificates, mirror) as server:
        for shown in (None, other.client, other.self_signed_client):
            with pytest.raises(OSError, match=r"."):
                get(server, certificates, shown)
        assert get(server, certificates, certificates.client) == 200
    assert len(mirror.requests) == 1


def test_certificates_are_renewed(tmp_path: Path) -> None:
    made = LaptopCertificates.ensure(tmp_path / "tls")
    first = made.authority.read_text()
    assert LaptopCertificates.ensure(tmp_path / "tls").authority.read_text() == first
    now = datetime.now(UTC)
    assert made.are_valid(now + timedelta(days=357))
    assert not made.are_valid(now + timedelta(days=359))
    for unusable in ("spoilt", _without_extensions()):
        made.authority.write_text(unusable)
        assert LaptopCertificates.ensure(tmp_path / "tls").authority.read_text() != unusable


@pytest.mark.parametrize("before", ["", "spoilt"])
def test_runs_that_start_together_use_the_same_certificates(tmp_path: Path, before: str) -> None:
    directory, start = tmp_path / "tls", Barrier(8)
    if before:
        directory.mkdir()
        (directory / "authority.pem").write_text(before)

    def read(_: int) -> str:
        start.wait()
        return LaptopCertificates.ensure(directory).authority.read_text()

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(read, range(8)))) == 1


def _without_extensions() -> str:
    """Return an authority's certificate of the form that Gatehouse 1.0 made."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name.from_rfc4514_string("CN=Gatehouse on this laptop")
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=365))
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def test_certificates_have_the_extensions_of_rfc5280(certificates: LaptopCertificates) -> None:
    authority = _read(certificates.authority)
    public = authority.public_key()
    issued = {
        certificates.authority: (public, None),
        certificates.server: (public, ExtendedKeyUsageOID.SERVER_AUTH),
        certificates.client: (public, ExtendedKeyUsageOID.CLIENT_AUTH),
        certificates.self_signed_client: (None, ExtendedKeyUsageOID.CLIENT_AUTH),
    }
    for file, (issuer, usage) in issued.items():
        found = _read(file)
        extensions = found.extensions
        constraints = extensions.get_extension_for_class(x509.BasicConstraints)
        key_usage = extensions.get_extension_for_class(x509.KeyUsage)
        assert (constraints.critical, constraints.value.ca) == (True, usage is None)
        assert (key_usage.critical, key_usage.value.key_cert_sign) == (True, usage is None)
        assert key_usage.value.digital_signature == (usage is not None)
        subject_key = extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        assert subject_key == x509.SubjectKeyIdentifier.from_public_key(found.public_key())
        authority_key = extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
        signer = x509.SubjectKeyIdentifier.from_public_key(issuer or found.public_key())
        assert authority_key.key_identifier == signer.digest
        if usage is not None:
            usages = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
            assert list(usages) == [usage]


def _read(file: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(file.read_bytes())


def test_demo_certificate_has_its_name(certificates: LaptopCertificates) -> None:
    assert CLIENT_NAME.encode() in _read(certificates.client).public_bytes(Encoding.DER)
