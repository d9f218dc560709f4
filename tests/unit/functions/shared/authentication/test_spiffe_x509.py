"""Clients that authenticate with an X509-SVID. draft-ietf-oauth-spiffe-client-auth-02, 3.2."""

from dataclasses import dataclass, field
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier

from authorizer.clock import Clocks
from functions.shared.authentication.client_authentication import ClientAuthentication
from functions.shared.authentication.mutual_tls import SelfSignedTlsClientAuth, SpiffeX509, TlsClientAuth
from functions.shared.authentication.trust_bundles import TrustBundles
from functions.shared.clients.client import Client
from functions.shared.web.oauth_errors import InvalidClientError, TemporarilyUnavailableError
from tests.support.assertions import authenticate
from tests.support.client_certificates import with_certificate
from tests.support.clock import ManualClock
from tests.support.memory_stores import MemoryClients
from tests.support.proxy_events import token_event
from tests.support.spiffe import WORKLOAD, BundleEndpoints, TrustDomain, key_usage, pem, workload_client

ORG = TrustDomain()
OTHER = TrustDomain("other.example")
LEAF = x509.BasicConstraints(ca=False, path_length=None)
SIGNS = key_usage("digital_signature")
UNKNOWN = x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4"), b"\x05\x00")


def by_x509(spiffe_id: str = WORKLOAD, client_id: str = "worker") -> Client:
    return workload_client(spiffe_id, "spiffe_x509", client_id=client_id)


@dataclass
class Authenticator:
    """A server's client authentication behind mutual TLS, with bundles of two trust domains."""

    clients: tuple[Client, ...] = (by_x509(),)
    web: BundleEndpoints = field(default_factory=lambda: BundleEndpoints(ORG, OTHER))
    clock: ManualClock = field(default_factory=ManualClock)

    def __post_init__(self) -> None:
        bundles = TrustBundles(self.web.send, Clocks(self.clock, self.clock))
        methods = TlsClientAuth(), SelfSignedTlsClientAuth(), SpiffeX509(lambda: bundles)
        self.authentication = ClientAuthentication(MemoryClients(*self.clients), methods, self.clock)

    def knock(self, certificate: x509.Certificate, client_id: str = "worker") -> Client:
        event = token_event({"grant_type": "client_credentials", "client_id": client_id})
        return authenticate(self.authentication, with_certificate(event, pem(certificate)))

    def rejects(self, certificate: x509.Certificate, client_id: str = "worker") -> str:
        with pytest.raises(InvalidClientError) as caught:
            self.knock(certificate, client_id)
        return str(caught.value.reason)


@pytest.fixture
def server() -> Authenticator:
    return Authenticator()


def test_spiffe_client_auth_3_2_x509_svid_authenticates(server: Authenticator) -> None:
    assert server.knock(ORG.x509_svid()).client_id == "worker"
    assert Authenticator((by_x509("spiffe://example.org/ns/*"),)).knock(ORG.x509_svid()).client_id == "worker"


def test_spiffe_client_auth_3_2_client_id_is_the_spiffe_id() -> None:
    server = Authenticator((by_x509(client_id=WORKLOAD),))
    assert server.knock(ORG.x509_svid(), WORKLOAD).client_id == WORKLOAD
    assert server.rejects(ORG.x509_svid(f"{WORKLOAD}-2"), WORKLOAD) == "X509-SVID: client_id is another SPIFFE ID"


def test_spiffe_client_auth_6_authority_is_of_the_trust_domain(server: Authenticator) -> None:
    """The truststore holds both authorities, so API Gateway accepts a certificate of either one."""
    of_another = OTHER.x509_svid(WORKLOAD)
    assert server.rejects(of_another) == "X509-SVID: no authority of example.org issued it"
    both = Authenticator((by_x509(), by_x509(WORKLOAD.replace(ORG.name, OTHER.name), "other")))
    assert both.knock(ORG.x509_svid()).client_id == "worker"
    assert both.knock(OTHER.x509_svid(WORKLOAD.replace(ORG.name, OTHER.name)), "other").client_id == "other"
    assert both.rejects(ORG.x509_svid(WORKLOAD.replace(ORG.name, OTHER.name)), "other") == (
        "X509-SVID: no authority of other.example issued it"
    )


@pytest.mark.parametrize(
    ("certificate", "reason"),
    [
        pytest.param(ORG.x509_svid(f"{WORKLOAD}2"), "not the SPIFFE ID of the client", id="longer"),
        pytest.param(ORG.x509_svid(f"{WORKLOAD}/2"), "not the SPIFFE ID of the client", id="below"),
        pytest.param(ORG.x509_svid("spiffe://other.example/ns/payments/sa/worker"), "not the SPIFFE ID", id="domain"),
        pytest.param(ORG.x509_svid("spiffe://Example.org/ns/payments/sa/worker"), "not exactly one URI", id="case"),
        pytest.param(ORG.x509_svid("spiffe://example.org/ns/../ns/payments/sa/worker"), "not exactly one", id="dots"),
        pytest.param(ORG.x509_svid("spiffe://example.org/ns/payments%2Fsa/worker"), "not exactly one", id="percent"),
        pytest.param(ORG.x509_svid("spiffe://example.org"), "not exactly one URI", id="trust domain"),
        pytest.param(ORG.x509_svid("https://example.org/a"), "not exactly one URI", id="scheme"),
        pytest.param(ORG.x509_svid([WORKLOAD, WORKLOAD]), "not exactly one URI", id="the same twice"),
        pytest.param(ORG.x509_svid([WORKLOAD, "spiffe://example.org/b"]), "not exactly one URI", id="two ids"),
        pytest.param(ORG.x509_svid([WORKLOAD, "https://example.org/"]), "not exactly one URI", id="another URI"),
        pytest.param(ORG.x509_svid([], names=[x509.DNSName("example.org")]), "not exactly one URI", id="no URI"),
        pytest.param(ORG.x509_svid([]), "no key usage, or no names", id="no names"),
        pytest.param(ORG.x509_svid(extensions=[LEAF]), "no key usage, or no names", id="no key usage"),
        pytest.param(ORG.x509_svid(extensions=[LEAF, key_usage("key_encipherment")]), "its key may not", id="usage"),
        pytest.param(
            ORG.x509_svid(extensions=[LEAF, key_usage("digital_signature", "key_cert_sign")]), "its key", id="signs"
        ),
        pytest.param(
            ORG.x509_svid(extensions=[LEAF, key_usage("digital_signature", "crl_sign")]), "its key", id="signs lists"
        ),
        pytest.param(
            ORG.x509_svid(extensions=[x509.BasicConstraints(ca=True, path_length=None), SIGNS]), "a CA", id="CA"
        ),
        pytest.param(
            ORG.x509_svid(extensions=[LEAF, SIGNS, x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])]),
            "not for clients",
            id="for servers",
        ),
        pytest.param(ORG.x509_svid(extensions=[LEAF, SIGNS, UNKNOWN]), "critical extensions 1.2.3.4", id="critical"),
        pytest.param(ORG.authority(uri=WORKLOAD), "a CA certificate", id="authority"),
        pytest.param(ORG.x509_svid(authority="x509-2"), "no authority of example.org", id="unknown authority"),
        pytest.param(ORG.x509_svid(authority="workload"), "no authority of example.org", id="self-signed"),
        pytest.param(ORG.x509_svid(ends=-1), "the certificate is not valid now", id="expired"),
        pytest.param(ORG.x509_svid(begins=60), "the certificate is not valid now", id="early"),
    ],
)
def test_x509_svid_5_2_other_certificates_are_rejected(
    server: Authenticator, certificate: x509.Certificate, reason: str
) -> None:
    assert reason in server.rejects(certificate)


@pytest.mark.parametrize(
    "certificate",
    [
        pytest.param(ORG.x509_svid(extensions=[LEAF, SIGNS]), id="no extended key usage"),
        pytest.param(ORG.x509_svid(extensions=[SIGNS]), id="no basic constraints"),
        pytest.param(
            ORG.x509_svid(extensions=[LEAF, key_usage("digital_signature", "key_encipherment", "key_agreement")]),
            id="more key usage",
        ),
        pytest.param(
            ORG.x509_svid(names=[x509.DNSName("worker.example"), x509.IPAddress(ip_address("192.0.2.1"))]),
            id="other names",
        ),
    ],
)
def test_x509_svid_2_optional_parts_change_nothing(server: Authenticator, certificate: x509.Certificate) -> None:
    assert server.knock(certificate).client_id == "worker"


@pytest.mark.parametrize(
    "authority",
    [
        pytest.param(ORG.authority(ends=-1), id="expired"),
        pytest.param(ORG.authority(begins=60), id="early"),
        pytest.param(ORG.authority(uri="spiffe://other.example"), id="of another trust domain"),
        pytest.param(ORG.x509_svid("spiffe://example.org", authority="x509-1"), id="not a CA"),
    ],
)
def test_rfc5280_6_authority_must_be_valid(server: Authenticator, authority: x509.Certificate) -> None:
    server.web.publish({"keys": [ORG.x509_member(authority)]})
    assert server.rejects(ORG.x509_svid()) == "X509-SVID: no authority of example.org issued it"


def test_authority_without_a_spiffe_id_is_used(server: Authenticator) -> None:
    server.web.publish({"keys": [ORG.x509_member(ORG.authority(uri=None))]})
    assert server.knock(ORG.x509_svid()).client_id == "worker"


def test_jwt_authorities_issue_no_certificates(server: Authenticator) -> None:
    server.web.publish({"keys": [ORG.x509_member(ORG.authority(), use="jwt-svid", kid="kid")]})
    assert server.rejects(ORG.x509_svid()) == "X509-SVID: no authority of example.org issued it"


def test_rotation_of_authorities(server: Authenticator) -> None:
    old, new = ORG.x509_svid(), ORG.x509_svid(authority="x509-2")
    assert server.knock(old).client_id == "worker"
    assert "no authority" in server.rejects(new)
    server.web.publish(TrustDomain(x509_authorities=["x509-1", "x509-2"]).bundle(spiffe_sequence=2))
    server.clock.advance(10)
    assert server.knock(new).client_id == server.knock(old).client_id == "worker"
    server.web.publish(TrustDomain(x509_authorities=["x509-2"]).bundle(spiffe_sequence=3))
    server.clock.advance(300)
    assert "no authority" in server.rejects(old)
    assert server.knock(new).client_id == "worker"


def test_bundle_outage_is_503(server: Authenticator) -> None:
    server.web.responses.clear()
    with pytest.raises(TemporarilyUnavailableError, match="no usable bundle"):
        server.knock(ORG.x509_svid())
    assert server.rejects(ORG.x509_svid(f"{WORKLOAD}2")) == "X509-SVID: not the SPIFFE ID of the client"


def test_methods_with_certificates_are_separate() -> None:
    """A client with an X509-SVID cannot use the name or thumbprint methods, and the reverse."""
    server = Authenticator((by_x509(), workload_client(client_id="jwt-only")))
    assert server.rejects(ORG.x509_svid(), "jwt-only") == "the client may not use this method"
    assert server.rejects(ORG.x509_svid(), "absent") == "unknown client"
