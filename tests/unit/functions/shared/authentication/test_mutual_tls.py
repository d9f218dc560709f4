"""tls_client_auth and self_signed_tls_client_auth. RFC 8705, 2."""

from base64 import b64encode
from ipaddress import ip_address

import pytest
from cryptography import x509

from functions.shared.authentication.client_authentication import ClientAuthentication
from functions.shared.authentication.client_secret import secret_methods
from functions.shared.authentication.mutual_tls import SelfSignedTlsClientAuth, TlsClientAuth
from functions.shared.clients.certificate_name import CertificateName, CertificateNameKind
from functions.shared.clients.client import Client
from functions.shared.web.oauth_errors import InvalidClientError
from functions.shared.web.proxy_request import certificate_from_pem
from tests.support.assertions import authenticate
from tests.support.client_certificates import certificate_pem, certificate_with_raw_names, with_certificate
from tests.support.clock import ManualClock
from tests.support.memory_stores import MemoryClients
from tests.support.proxy_events import basic, token_event
from tests.support.server import NOW, SECRET, client

PEM = certificate_pem(
    "CN=client,OU=Payments,O=Example",
    [
        x509.DNSName("other.example"),
        x509.DNSName("client.example"),
        x509.UniformResourceIdentifier("spiffe://example/client"),
        x509.IPAddress(ip_address("192.0.2.1")),
        x509.IPAddress(ip_address("2001:db8::1")),
        x509.RFC822Name("client@example.com"),
    ],
)
OTHER_PEM = certificate_pem("CN=other")


def named(kind: CertificateNameKind, value: str) -> Client:
    return client(
        "tls",
        authentication_methods=frozenset({"tls_client_auth"}),
        certificate_name=CertificateName(kind, value),
        secrets=(),
    )


def pinned(*pems: str) -> Client:
    return client(
        "tls",
        authentication_methods=frozenset({"self_signed_tls_client_auth"}),
        certificate_thumbprints=frozenset(certificate_from_pem(pem).thumbprint for pem in pems),
        secrets=(),
    )


def knock(known: Client, pem: str | None, *, now: float = NOW, headers: dict[str, str] | None = None) -> Client:
    methods = (*secret_methods(), TlsClientAuth(), SelfSignedTlsClientAuth())
    authentication = ClientAuthentication(MemoryClients(known), methods, ManualClock(now))
    parameters = {"grant_type": "client_credentials", "client_id": known.client_id}
    event = token_event(parameters, headers=headers)
    return authenticate(authentication, with_certificate(event, pem) if pem else event)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (CertificateNameKind.SUBJECT_DN, "CN=client,OU=Payments,O=Example"),
        (CertificateNameKind.SUBJECT_DN, "2.5.4.3=client,OU=Payments,O=Example"),
        (CertificateNameKind.SAN_DNS, "client.example"),
        (CertificateNameKind.SAN_URI, "spiffe://example/client"),
        (CertificateNameKind.SAN_IP, "192.0.2.1"),
        (CertificateNameKind.SAN_IP, "2001:0db8:0::1"),
        (CertificateNameKind.SAN_EMAIL, "client@example.com"),
    ],
)
def test_rfc8705_2_1_2_registered_name_authenticates(kind: CertificateNameKind, value: str) -> None:
    assert knock(named(kind, value), PEM).client_id == "tls"


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (CertificateNameKind.SUBJECT_DN, "CN=client,O=Example"),
        (CertificateNameKind.SUBJECT_DN, "O=Example,OU=Payments,CN=client"),
        (CertificateNameKind.SUBJECT_DN, "CN=Client,OU=Payments,O=Example"),
        (CertificateNameKind.SAN_DNS, "example"),
        (CertificateNameKind.SAN_DNS, "*.example"),
        (CertificateNameKind.SAN_DNS, "client@example.com"),
        (CertificateNameKind.SAN_URI, "spiffe://example/"),
        (CertificateNameKind.SAN_IP, "192.0.2.2"),
        (CertificateNameKind.SAN_EMAIL, "client@example.org"),
    ],
)
def test_rfc8705_2_1_other_name_is_rejected(kind: CertificateNameKind, value: str) -> None:
    with pytest.raises(InvalidClientError, match="does not carry"):
        knock(named(kind, value), PEM)


@pytest.mark.parametrize(
    "names",
    ["3004a3023000", "3003870101", "deadbeef", "3003 8601 ff"],
    ids=["an X.400 address", "an IP address of one byte", "no DER", "a URI that is not ASCII"],
)
def test_unreadable_names_are_ignored(names: str) -> None:
    with pytest.raises(InvalidClientError, match="does not carry"):
        knock(named(CertificateNameKind.SAN_DNS, "client.example"), certificate_with_raw_names(bytes.fromhex(names)))


@pytest.mark.parametrize("tag", [b"\x02", b"\x03", b"\x30"])
def test_unreadable_subject_is_rejected(tag: bytes) -> None:
    der = certificate_from_pem(certificate_pem("CN=client,2.5.4.97=abcdefgh")).der
    odd = der.replace(b"\x0c\x08abcdefgh", tag + b"\x08\0bcdefgh")
    assert odd != der
    pem = b64encode(odd).decode()
    with pytest.raises(InvalidClientError, match="does not carry"):
        knock(
            named(CertificateNameKind.SUBJECT_DN, "CN=client"),
            f"-----BEGIN CERTIFICATE-----\n{pem}\n-----END CERTIFICATE-----",
        )


def test_rfc8705_2_1_missing_san_does_not_match() -> None:
    with pytest.raises(InvalidClientError, match="does not carry"):
        knock(named(CertificateNameKind.SAN_DNS, "client.example"), OTHER_PEM)


def test_rfc8705_2_2_registered_certificate_authenticates() -> None:
    assert knock(pinned(OTHER_PEM, PEM), PEM).client_id == "tls"


def test_rfc8705_2_2_other_certificate_is_rejected() -> None:
    same_key_and_name = certificate_pem("CN=other", ends=NOW + 7200)
    for pem in (PEM, same_key_and_name):
        with pytest.raises(InvalidClientError, match="none of the client's"):
            knock(pinned(OTHER_PEM), pem)


@pytest.mark.parametrize("known", [pinned(PEM), named(CertificateNameKind.SAN_DNS, "client.example")])
@pytest.mark.parametrize("now", [NOW - 3601, NOW + 3601])
def test_certificate_is_valid_between_its_times(known: Client, now: float) -> None:
    with pytest.raises(InvalidClientError, match="is not valid now"):
        knock(known, PEM, now=now)


@pytest.mark.parametrize("known", [pinned(PEM), named(CertificateNameKind.SAN_DNS, "client.example")])
def test_missing_certificate_is_not_a_credential(known: Client) -> None:
    with pytest.raises(InvalidClientError, match="no client authentication"):
        knock(known, None)


@pytest.mark.parametrize("known", [pinned(PEM), named(CertificateNameKind.SAN_DNS, "client.example")])
def test_unreadable_certificate_is_rejected(known: Client) -> None:
    broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"
    with pytest.raises(InvalidClientError, match="cannot be read"):
        knock(known, broken)


def test_rfc8705_3_certificate_with_secret_is_one_method() -> None:
    secret = basic("service", SECRET)
    assert knock(client("service"), PEM, headers=secret).client_id == "service"


def test_certificate_does_not_replace_a_secret() -> None:
    with pytest.raises(InvalidClientError, match="may not use this method"):
        knock(client("service"), PEM)


def test_unknown_client_fails_like_others() -> None:
    authentication = ClientAuthentication(
        MemoryClients(), (TlsClientAuth(), SelfSignedTlsClientAuth()), ManualClock(NOW)
    )
    with pytest.raises(InvalidClientError) as refused:
        authenticate(authentication, with_certificate(token_event({"client_id": "absent"}), PEM))
    assert refused.value.description == "Client authentication failed."


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (CertificateNameKind.SUBJECT_DN, "not a name"),
        (CertificateNameKind.SUBJECT_DN, ""),
        (CertificateNameKind.SAN_IP, "192.0.2"),
        (CertificateNameKind.SAN_DNS, ""),
    ],
)
def test_invalid_name_cannot_be_registered(kind: CertificateNameKind, value: str) -> None:
    with pytest.raises(ValueError, match=r"name|address"):
        CertificateName(kind, value)
