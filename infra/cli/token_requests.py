"""Requests to the token, introspection and revocation endpoints, as a client makes them."""

from __future__ import annotations

import json
import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus, urlencode
from uuid import uuid4

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from functions.shared.clients.supported import (
    CLIENT_CREDENTIALS,
    CLIENT_SECRET_BASIC,
    CLIENT_SECRET_POST,
    SELF_SIGNED_TLS_CLIENT_AUTH,
    TLS_CLIENT_AUTH,
    TOKEN_EXCHANGE,
)
from functions.shared.keys.key_ring import public_members
from functions.shared.keys.signing_keys import to_pem
from functions.shared.web import paths

from .errors import CommandError, ExitCode, UsageError
from .http_client import Answer, Certificates, Web
from .input_files import read_text, write_private_file

if TYPE_CHECKING:
    from jwt.algorithms import AllowedPrivateKeys


ASSERTION_SECONDS = 60


@dataclass(frozen=True, slots=True)
class ClientKey:
    """A private key, its algorithm and its key id."""

    private_key: AllowedPrivateKeys = field(repr=False)
    alg: str
    kid: str | None = None

    def assertion(self, client_id: str, issuer: str, now: float) -> str:
        """Return a client assertion for one request. RFC 7523, 3."""
        claims = {
            "iss": client_id,
            "sub": client_id,
            "aud": issuer,
            "iat": int(now),
            "exp": int(now) + ASSERTION_SECONDS,
            "jti": str(uuid4()),
        }
        headers = {"typ": "client-authentication+jwt"} | ({"kid": self.kid} if self.kid else {})
        return jwt.encode(claims, self._for_jwt, self.alg, headers)

    def proof(self, method: str, url: str, now: float, *, nonce: str | None = None, token: str = "") -> str:
        """Return a DPoP proof for one request and its token. RFC 9449, 4.2."""
        claims: dict[str, object] = {"htm": method, "htu": url, "iat": int(now), "jti": str(uuid4())}
        if nonce is not None:
            claims["nonce"] = nonce
        if token:
            digest = sha256(token.encode()).digest()
            claims["ath"] = urlsafe_b64encode(digest).rstrip(b"=").decode()
        public = jwt.get_algorithm_by_name(self.alg).to_jwk(self.private_key.public_key(), as_dict=True)
        headers = {"typ": "dpop+jwt", "jwk": public_members(public)}
        return jwt.encode(claims, self._for_jwt, self.alg, headers)

    @property
    def _for_jwt(self) -> Any:
        return self.private_key


def read_key(path: Path, *, kid: str | None = None, alg: str | None = None) -> ClientKey:
    """Read a private key, as PEM or as a JWK; raises NotFoundError, UsageError."""
    text = read_text(path)
    if text.lstrip().startswith("{"):
        private_key, named = _from_jwk(text, path)
        kid = kid or named
    else:
        private_key = _from_pem(text, path)
    possible = _algorithms(private_key)
    if not possible or alg not in (None, *possible):
        known = f" It supports {' and '.join(possible)}." if possible else ""
        raise UsageError(f"The key in {path} does not support {alg or 'any algorithm'}.{known}")
    return ClientKey(private_key, alg or possible[0], kid)


def new_key() -> ClientKey:
    """Create a key for ES256."""
    return ClientKey(ec.generate_private_key(ec.SECP256R1()), "ES256")


def read_or_make_key(path: Path) -> ClientKey:
    """Read a key; without a file create one with mode 0600."""
    if not path.exists():
        made = new_key()
        write_private_file(path, to_pem(made.private_key))
        return made
    return read_key(path)


def _from_pem(text: str, path: Path) -> AllowedPrivateKeys:
    try:
        return load_pem_private_key(text.encode(), password=None)  # type: ignore[return-value]
    except TypeError:
        raise UsageError(f"The key in {path} is encrypted.", "Use a file without password, with mode 0600.") from None
    except (ValueError, UnsupportedAlgorithm):
        raise UsageError(f"{path} does not contain a private key.", "Use PKCS #8 in PEM, or a JWK.") from None


def _from_jwk(text: str, path: Path) -> tuple[AllowedPrivateKeys, str | None]:
    try:
        members = json.loads(text)
        key = jwt.PyJWK.from_dict(members).key
        named = members.get("kid")
    except (ValueError, TypeError, KeyError, jwt.PyJWTError):
        raise UsageError(f"{path} is not a supported JWK.") from None
    if "d" not in members:
        raise UsageError(f"{path} contains only a public key.", "Use the private key.")
    return key, named if isinstance(named, str) else None


def _algorithms(key: object) -> tuple[str, ...]:
    if isinstance(key, rsa.RSAPrivateKey):
        return ("RS256", "PS256")
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
        return ("ES256",)
    return ("EdDSA",) if isinstance(key, ed25519.Ed25519PrivateKey) else ()


SECRET_METHODS = (CLIENT_SECRET_BASIC, CLIENT_SECRET_POST)
CERTIFICATE_METHODS = (TLS_CLIENT_AUTH, SELF_SIGNED_TLS_CLIENT_AUTH)
METADATA = "/.well-known/oauth-authorization-server"

_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750, 2.1
_FORM: Mapping[str, str] = {"Content-Type": "application/x-www-form-urlencoded"}
_OK = 200
_SERVER_ERROR = 500
_NEXT_STEPS: Mapping[str, str] = {
    "invalid_client": "Check the credential, that the client is enabled, and its authentication "
    "methods. The function's log line of the request has the reason.",
    "invalid_scope": "The client's scopes: gatehouse clients show CLIENT_ID.",
    "invalid_target": "The client's audience and allowed resources: gatehouse clients show CLIENT_ID.",
    "invalid_dpop_proof": "Check this machine's clock.",
    "unauthorized_client": "The client's grant types: gatehouse clients show CLIENT_ID.",
    "slow_down": "Wait a minute: authentication failed too often.",
}


@dataclass(frozen=True, kw_only=True)
class ClientAuthentication:
    """The client's authentication in a request: form members, headers or a certificate."""

    form: Mapping[str, str] = field(default_factory=dict, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    certificates: Certificates = field(default_factory=Certificates)


def by_secret(method: str, client_id: str, secret: str) -> ClientAuthentication:
    """Authenticate with a secret, in a header or in the form. RFC 6749, 2.3.1."""
    if method == CLIENT_SECRET_POST:
        return ClientAuthentication(form={"client_id": client_id, "client_secret": secret})
    pair = f"{quote_plus(client_id)}:{quote_plus(secret)}"
    basic = b64encode(pair.encode()).decode()
    return ClientAuthentication(headers={"Authorization": f"Basic {basic}"})


def by_assertion(client_id: str, assertion: str) -> ClientAuthentication:
    """Authenticate with a JWT of the client or of another issuer. RFC 7523, 2.2."""
    return ClientAuthentication(
        form={"client_id": client_id, "client_assertion_type": _ASSERTION_TYPE, "client_assertion": assertion}
    )


def by_certificate(client_id: str, certificates: Certificates) -> ClientAuthentication:
    """Authenticate with mutual TLS. RFC 8705, 2."""
    return ClientAuthentication(form={"client_id": client_id}, certificates=certificates)


@dataclass(frozen=True, kw_only=True)
class TokenRequest:
    """Parameters of a token request. A subject token makes it an exchange (RFC 8693)."""

    scopes: Sequence[str] = ()
    resource: str | None = None
    subject_token: str | None = field(default=None, repr=False)

    def form(self) -> dict[str, str]:
        """Return the members of the form."""
        form = {"grant_type": CLIENT_CREDENTIALS}
        if self.subject_token is not None:
            form = {
                "grant_type": TOKEN_EXCHANGE,
                "subject_token": self.subject_token,
                "subject_token_type": _ACCESS_TOKEN,
            }
        if self.scopes:
            form["scope"] = " ".join(self.scopes)
        return form | ({"resource": self.resource} if self.resource else {})


@dataclass(frozen=True)
class Endpoint:
    """An endpoint of the authorization server: its name in the metadata, and its path."""

    name: str
    path: str

    def url(self, issuer: str, authentication: ClientAuthentication) -> str:
        """Return the URL; for a client with a certificate the mutual TLS alias. RFC 8705, 5.

        Raises:
            CommandError: the deployment has no such alias.
        """
        if authentication.certificates.certificate is None:
            return issuer + self.path
        aliases = Web().ask("GET", issuer + METADATA).member("mtls_endpoint_aliases")
        url = aliases.get(f"{self.name}_endpoint") if isinstance(aliases, dict) else None
        if not isinstance(url, str) or not url.startswith("https://"):
            raise CommandError(
                "The deployment has no address for client certificates.",
                "Deploy it with MtlsDomainName: docs/deploy.md.",
            )
        return url

    def post(
        self,
        issuer: str,
        authentication: ClientAuthentication,
        form: Mapping[str, str],
        *,
        dpop_key: ClientKey | None = None,
        now: float = 0,
    ) -> Answer:
        """Return the successful response to a request.

        If the endpoint asks for a DPoP nonce, the request is repeated with it. RFC 9449, 8.

        Raises:
            CommandError: the endpoint returned an error.
        """
        url = self.url(issuer, authentication)
        web = Web(authentication.certificates)
        body = urlencode({**authentication.form, **form}).encode()
        headers = {**_FORM, **authentication.headers}

        def ask(nonce: str | None = None) -> Answer:
            proof = {"DPoP": dpop_key.proof("POST", url, now, nonce=nonce)} if dpop_key else {}
            return web.ask("POST", url, {**headers, **proof}, body)

        answer = ask()
        if answer.member("error") == "use_dpop_nonce":
            answer = ask(answer.headers.get("DPoP-Nonce"))
        if answer.status != _OK:
            raise self._failed(answer)
        return answer

    def not_understood(self) -> CommandError:
        """Return the error for a response that is not the endpoint's."""
        return CommandError(
            f"The response of the {self.name} endpoint is not an OAuth response.",
            "Check the deployment's address and proxies in between.",
            ExitCode.TROUBLE,
        )

    def _failed(self, answer: Answer) -> CommandError:
        error, description = answer.member("error"), answer.member("error_description")
        code = f" {error}" if isinstance(error, str) else ""
        why = f": {description}" if isinstance(description, str) else ""
        step = _NEXT_STEPS.get(str(error), "The function's log line of the request has the reason.")
        exit_code = ExitCode.TROUBLE if answer.status >= _SERVER_ERROR else ExitCode.REFUSED
        problem = f"The {self.name} endpoint returned {answer.status}{code}{why}".rstrip(".") + "."
        return CommandError(problem, step, exit_code)


TOKEN = Endpoint("token", paths.TOKEN)
INTROSPECTION = Endpoint("introspection", paths.INTROSPECTION)
REVOCATION = Endpoint("revocation", paths.REVOCATION)


def request_token(
    issuer: str, authentication: ClientAuthentication, wanted: TokenRequest, *, dpop_key: ClientKey | None, now: float
) -> dict[str, Any]:
    """Return the response of the token endpoint; raises CommandError."""
    answer = TOKEN.post(issuer, authentication, wanted.form(), dpop_key=dpop_key, now=now)
    token = answer.member("access_token")
    # The token is written to a terminal, a pipe or a header without escaping.
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        raise TOKEN.not_understood()
    document: dict[str, Any] = answer.json
    return document


def introspect_token(issuer: str, authentication: ClientAuthentication, token: str) -> dict[str, Any]:
    """Return the response of the introspection endpoint. RFC 7662, 2.2; raises CommandError."""
    answer = INTROSPECTION.post(issuer, authentication, {"token": token})
    if not isinstance(answer.member("active"), bool):
        raise INTROSPECTION.not_understood()
    document: dict[str, Any] = answer.json
    return document


def revoke_token(issuer: str, authentication: ClientAuthentication, token: str) -> None:
    """Revoke a token. RFC 7009, 2.1."""
    REVOCATION.post(issuer, authentication, {"token": token})
