"""A SPIFFE trust domain: its authorities, the SVIDs that they issue, and its bundle."""

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from authorizer.https_client import HttpExchangeError, Request, Response
from functions.shared.clients.client import Client
from functions.shared.clients.spiffe_rules import SpiffeRules
from functions.shared.clients.supported import SPIFFE_JWT
from tests.support.aws import ISSUER
from tests.support.server import NOW, client
from tests.support.tokens import ec_jwk, ec_key

DOMAIN = "example.org"
WORKLOAD = f"spiffe://{DOMAIN}/ns/payments/sa/worker"
BUNDLE_ENDPOINT = "https://bundles.example/example.org"
SVID_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe"
_DAY = 86_400
_NO_USES = dict.fromkeys(
    (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    ),
    False,
)


def key_usage(*uses: str) -> x509.KeyUsage:
    """Return a key usage extension."""
    return x509.KeyUsage(**_NO_USES | dict.fromkeys(uses, True))


@dataclass
class TrustDomain:
    """A trust domain. Each authority is named; its key is the P-256 key of the same name."""

    name: str = DOMAIN
    jwt_authorities: list[str] = field(default_factory=lambda: ["jwt-1"])
    x509_authorities: list[str] = field(default_factory=lambda: ["x509-1"])
    now: float = NOW

    def jwt_svid(self, subject: object = WORKLOAD, *, authority: str = "jwt-1", **changes: object) -> str:
        """Return a JWT-SVID; a claim set to ... is left out, and `header` changes header members."""
        header: Any = changes.pop("header", {})
        now = int(self.now)
        claims = {"sub": subject, "aud": [ISSUER], "iat": now, "exp": now + 300} | changes
        given = {name: value for name, value in claims.items() if value is not ...}
        headers = {"kid": self.key_id(authority), "typ": "JWT"} | header
        headers = {name: value for name, value in headers.items() if value is not ...}
        return jwt.encode(given, ec_key(self.key_id(authority)), "ES256", {"typ": None} | headers)

    def key_id(self, authority: str) -> str:
        """Return the name of an authority's key, which is its key id."""
        return f"{self.name} {authority}"

    def jwt_member(self, authority: str, **members: object) -> dict[str, Any]:
        """Return an authority's member of the bundle, which has no `alg`."""
        jwk = ec_jwk(self.key_id(authority), use="jwt-svid") | members
        return {name: value for name, value in jwk.items() if value is not ...}

    def x509_member(self, certificate: x509.Certificate, **members: object) -> dict[str, Any]:
        """Return an authority's member of the bundle, which has no `kid`."""
        numbers: Any = certificate.public_key()
        public = jwt.algorithms.ECAlgorithm.to_jwk(numbers, as_dict=True)
        x5c = [b64encode(certificate.public_bytes(Encoding.DER)).decode()]
        return {**public, "use": "x509-svid", "x5c": x5c} | members

    def bundle(self, **members: object) -> dict[str, Any]:
        """Return the bundle's document."""
        keys = [
            *(self.x509_member(self.authority(each)) for each in self.x509_authorities),
            *map(self.jwt_member, self.jwt_authorities),
        ]
        return {"keys": keys, "spiffe_sequence": 1, "spiffe_refresh_hint": 300} | members

    def authority(
        self, name: str = "x509-1", *, begins: float = -_DAY, ends: float = _DAY, uri: str | None = "", **issued: Any
    ) -> x509.Certificate:
        """Return an authority's self-signed certificate. Times are relative to now."""
        names = [] if uri is None else [uri or f"spiffe://{self.name}"]
        ca = x509.BasicConstraints(ca=True, path_length=None)
        uses = key_usage("key_cert_sign", "crl_sign")
        return self._sign(name, name, names, [ca, uses], begins, ends, **issued)

    def x509_svid(
        self,
        spiffe_id: str | Sequence[str] = WORKLOAD,
        *,
        authority: str = "x509-1",
        extensions: Sequence[x509.ExtensionType] | None = None,
        begins: float = -60,
        ends: float = 3600,
        **issued: Any,
    ) -> x509.Certificate:
        """Return the certificate of the key `workload`. Times are relative to now."""
        uris = [spiffe_id] if isinstance(spiffe_id, str) else spiffe_id
        if extensions is None:
            extensions = [
                x509.BasicConstraints(ca=False, path_length=None),
                key_usage("digital_signature"),
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
            ]
        return self._sign("workload", authority, uris, extensions, begins, ends, **issued)

    def _sign(
        self,
        subject: str,
        authority: str,
        uris: Sequence[str],
        extensions: Sequence[x509.ExtensionType],
        begins: float,
        ends: float,
        names: Sequence[x509.GeneralName] = (),
    ) -> x509.Certificate:
        public, issuer = ec_key(self.key_id(subject)).public_key(), ec_key(self.key_id(authority))
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(f"{self.name} {subject}"))
            .issuer_name(_name(f"{self.name} {authority}"))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(datetime.fromtimestamp(self.now + begins, UTC))
            .not_valid_after(datetime.fromtimestamp(self.now + ends, UTC))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key()), critical=False)
        )
        alternative = [*map(x509.UniformResourceIdentifier, uris), *names]
        if alternative:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternative), critical=False)
        for extension in extensions:
            builder = builder.add_extension(extension, critical=not isinstance(extension, x509.ExtendedKeyUsage))
        return builder.sign(issuer, hashes.SHA256())


def pem(certificate: x509.Certificate) -> str:
    """Return a certificate in PEM."""
    return certificate.public_bytes(Encoding.PEM).decode()


def svid_form(svid: str, **more: str) -> dict[str, str]:
    """Return the form parameters of a token request with a JWT-SVID."""
    return {
        "grant_type": "client_credentials",
        "client_assertion_type": SVID_ASSERTION_TYPE,
        "client_assertion": svid,
        **more,
    }


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


class BundleEndpoints:
    """Documents by URL, and the requested URLs."""

    def __init__(self, *domains: TrustDomain) -> None:
        self.fetched: list[str] = []
        self.responses: dict[str, Response] = {}
        for domain in domains or (TrustDomain(),):
            self.publish(domain.bundle(), f"https://bundles.example/{domain.name}")

    def publish(self, bundle: Mapping[str, object] | bytes, url: str = BUNDLE_ENDPOINT, status: int = 200) -> None:
        """Publish a document."""
        self.responses[url] = Response(status, {}, bundle if isinstance(bundle, bytes) else self.write(bundle))

    @staticmethod
    def write(bundle: Mapping[str, object]) -> bytes:
        """Write a document. A member that is None is left out."""
        return json.dumps({name: value for name, value in bundle.items() if value is not None}).encode()

    def send(self, request: Request) -> Response:
        """Answer a request; an unknown URL is unavailable."""
        self.fetched.append(request.url)
        if request.url not in self.responses:
            raise HttpExchangeError(f"TimeoutError from {request.url}")
        return self.responses[request.url]


def spiffe_rules(spiffe_id: str = WORKLOAD, **rules: Any) -> SpiffeRules:
    """Return rules with the bundle endpoint of the trust domain, unless they name the keys."""
    if not {"bundle", "jwks_uri", "spiffe_bundle_endpoint"} & set(rules):
        rules["spiffe_bundle_endpoint"] = f"https://bundles.example/{spiffe_id.split('/')[2]}"
    return SpiffeRules(spiffe_id=spiffe_id, **rules)


def workload_client(spiffe_id: str = WORKLOAD, *methods: str, client_id: str = "worker", **rules: Any) -> Client:
    """Return a client that authenticates with SVIDs."""
    chosen = frozenset(methods or {SPIFFE_JWT})
    return client(client_id, authentication_methods=chosen, spiffe=spiffe_rules(spiffe_id, **rules), secrets=())
