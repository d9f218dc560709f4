"""Distinguished names as OpenSSL and Java write them, compared with real certificates."""

import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from functions.shared.clients.certificate_name import CertificateName, CertificateNameKind, parse_distinguished_name
from infra.cli.client_imports import subject_mismatch

ATTRIBUTES = """
C=DE
O=Bäcker, Söhne & Co
organizationIdentifier=PSDDE-BAFIN-123456
OU=lead\\, and \\"q\\" +x;<y>\\\\z
CN=\\#client=1
serialNumber=0042
emailAddress=a@b.example
DC=example
UID=u1
businessCategory=Private Organization
myType=private use
"""
MULTI_VALUED = """
O=Example
OU=Payments
+CN=client
+serialNumber=0042
"""
JAVA = """
import java.io.*; import java.security.cert.*;
public class Names { public static void main(String[] arguments) throws Exception {
  var certificates = CertificateFactory.getInstance("X.509");
  for (String file : arguments) {
    var certificate = (X509Certificate) certificates.generateCertificate(new FileInputStream(file));
    var subject = certificate.getSubjectX500Principal();
    new PrintStream(System.out, true, "UTF-8").println(subject.getName() + "\\n" + subject);
  }
} }
"""


def _make_certificate(folder: Path, attributes: str) -> Path:
    settings, pem = folder / "settings", folder / "certificate.pem"
    settings.write_text(
        "oid_section=types\n[types]\nmyType=1.2.3.4.5\n"
        "[req]\ndistinguished_name=name\nprompt=no\nutf8=yes\nstring_mask=utf8only\n"
        f"[name]{attributes}"
    )
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "/dev/null")
    command = ["openssl", "req", "-new", "-x509", *key, "-config", str(settings), "-out", str(pem)]
    subprocess.run([*command, "-multivalue-rdn"], check=True, capture_output=True)
    return pem


@pytest.fixture(scope="module", params=[ATTRIBUTES, MULTI_VALUED], ids=["many types", "multi-valued"])
def pem(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _make_certificate(tmp_path_factory.mktemp("certificate"), request.param)


def _matches(text: str, pem: Path) -> bool:
    certificate = x509.load_pem_x509_certificate(pem.read_bytes())
    return CertificateName(CertificateNameKind.SUBJECT_DN, text).is_in(certificate)


@pytest.mark.parametrize("options", ["RFC2253", "RFC2253,-esc_msb,utf8", "RFC2253,dump_all,oid"])
def test_rfc4514_subject_as_openssl_writes_it_matches_its_certificate(pem: Path, options: str) -> None:
    command = ["openssl", "x509", "-in", str(pem), "-noout", "-subject", "-nameopt", options]
    written = subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout
    subject = written.rstrip("\n").removeprefix("subject=")
    assert _matches(subject, pem)
    assert subject_mismatch(subject) == ""
    assert not _matches(f"CN=another+{subject}", pem)


@pytest.mark.skipif(shutil.which("java") is None, reason="Java is not installed")
def test_rfc4514_subject_as_java_writes_it_matches_its_certificate(pem: Path, tmp_path: Path) -> None:
    source = tmp_path / "Names.java"
    source.write_text(JAVA)
    command = ["java", "-XX:TieredStopAtLevel=1", str(source), str(pem)]
    written = subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout
    name, text = written.splitlines()
    for subject in (name, text):
        assert _matches(subject, pem)
        assert subject_mismatch(subject) == ""


@pytest.mark.parametrize(
    "text",
    [
        "CN=client+OU=Payments+SERIALNUMBER=0042,O=Example",
        "cn=client+ou=Payments+serialNumber=0042,o=Example",
        "2.5.4.5=#130430303432+CN=client+OU=Payments,O=Example",
        "2.5.4.5=#0C0430303432+OID.2.5.4.3=#0c06636c69656e74+oid.2.5.4.11=Payments,O=Example",
        "2.5.4.5=#1E080030003000340032+CN=client+OU=Payments,O=Example",
        "serialNumber=#0C8104303034 32".replace(" ", "") + "+CN=client+OU=Payments,O=Example",
        r"CN=\63\6Cient+OU=Payments+SERIALNUMBER=0042,O=Ex\61mple",
        'CN="client" + OU="Payments" + SERIALNUMBER="0042" , O="Example"',
        "CN=client + OU=Payments + SERIALNUMBER=0042; O=Example",
    ],
)
def test_every_spelling_of_a_subject_is_equal(text: str, tmp_path: Path) -> None:
    assert _matches(text, _make_certificate(tmp_path, MULTI_VALUED))


@pytest.mark.parametrize(
    "text",
    [
        "O=Example,CN=client+OU=Payments+SERIALNUMBER=0042",
        "CN=client,OU=Payments,SERIALNUMBER=0042,O=Example",
        "CN=client+OU=Payments,O=Example",
        "CN=Client+OU=Payments+SERIALNUMBER=0042,O=Example",
        r"CN=client\ +OU=Payments+SERIALNUMBER=0042,O=Example",
    ],
)
def test_another_subject_does_not_match(text: str, tmp_path: Path) -> None:
    assert not _matches(text, _make_certificate(tmp_path, MULTI_VALUED))


@pytest.mark.parametrize(
    "text",
    [
        *["CN", "CN=a,", ",CN=a", "CN=a,,O=b", "CN=a+", "CN=a;", "=a", "CN=#", "CN=#0", "CN=#xyz"],
        *["CN=#0c05616263", "CN=#0c", "CN=#020101", "CN=#0c01ff", "CN=#30030c0161", "CN=#0c8161"],
        *['CN=a"b', 'CN="a', 'CN="a"b', "CN=a<b", "CN=a\\", "CN=a\\g", "CN=a\0", r"CN=\ff"],
        *["unknown=a", "1=a", "2.5.4.=a", "3.9.4=a", "1.40.1=a", "2.05.4=a", "CN=\ud800", "#CN=a"],
    ],
)
def test_malformed_distinguished_name_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="subject_dn"):
        CertificateName(CertificateNameKind.SUBJECT_DN, text)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20))
def test_rfc4514_escaped_value_is_unescaped(value: str) -> None:
    written = "".join(rf"\{octet:02X}" for octet in value.encode())
    expected = (frozenset({("2.5.4.11", value)}),)
    assert parse_distinguished_name(f"OU={written}") == expected
    attribute = x509.NameAttribute(x509.ObjectIdentifier("2.5.4.11"), value)
    assert parse_distinguished_name(x509.Name([attribute]).rfc4514_string()) == expected


@pytest.mark.parametrize(
    ("subject", "reason"),
    [
        ("CN=batch,FOO=x", "FOO is not known"),
        ("2.5.4.5=#020101", "DER tag is 2"),
        ("2.5.4.3=#03020041", "BIT STRING"),
        ("batch", "character 0"),
        (5, "not a string"),
    ],
)
def test_subject_that_no_certificate_can_match_is_explained(subject: object, reason: str) -> None:
    assert reason in subject_mismatch(subject)
