from base64 import urlsafe_b64encode
from hashlib import sha256
from ssl import PEM_cert_to_DER_cert

import pytest

from functions.shared.web.oauth_errors import InvalidRequestError
from functions.shared.web.proxy_request import ClientCertificate, certificate_from_pem, read_event
from tests.support.client_certificates import certificate_pem, with_certificate
from tests.support.proxy_events import token_event

PEM = certificate_pem()


def test_rfc8705_3_1_thumbprint_is_the_digest_of_the_der() -> None:
    digest = sha256(PEM_cert_to_DER_cert(PEM)).digest()
    expected = urlsafe_b64encode(digest).rstrip(b"=").decode()
    assert certificate_from_pem(PEM).thumbprint == expected
    assert len(expected) == 43


def test_event_with_a_certificate_is_a_request_with_one() -> None:
    request = read_event(with_certificate(token_event({}), PEM))
    assert request.client_certificate == certificate_from_pem(PEM)


def test_event_without_a_certificate_is_a_request_without_one() -> None:
    assert read_event(token_event({})).client_certificate is None


@pytest.mark.parametrize("pem", [f"\n{PEM}\n", PEM.replace("\n", "\r\n"), PEM.strip()])
def test_whitespace_around_a_certificate_is_ignored(pem: str) -> None:
    assert certificate_from_pem(pem) == certificate_from_pem(PEM)


@pytest.mark.parametrize(
    "pem",
    [
        "",
        PEM + PEM,
        PEM + certificate_pem("CN=another"),
        "text before\n" + PEM,
        PEM.replace("BEGIN CERTIFICATE", "BEGIN TRUSTED CERTIFICATE"),
        PEM.replace("CERTIFICATE", "PUBLIC KEY"),
        "-----BEGIN CERTIFICATE-----\nA===A\n-----END CERTIFICATE-----",
    ],
)
def test_rfc7468_5_exactly_one_certificate_is_accepted(pem: str) -> None:
    with pytest.raises(ValueError, match="certificate"):
        certificate_from_pem(pem)
    if pem:
        with pytest.raises(InvalidRequestError, match="certificate"):
            read_event(with_certificate(token_event({}), pem))


def test_fake_certificate_is_rejected_when_parsed() -> None:
    pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"
    with pytest.raises(ValueError, match=r"."):
        _ = certificate_from_pem(pem).x509


def test_repr_hides_the_certificate() -> None:
    assert "0" not in repr(ClientCertificate(b"0"))
