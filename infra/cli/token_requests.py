"""Requests to the token, introspection and revocation endpoints, as a client makes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlencode
from uuid import uuid4

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from authorizer import base64url
from authorizer.dpop import PROOF_TYPE, proof_claims
from authorizer.errors import InvalidTokenError
from functions.shared.keys.signers import to_compact_json
from functions.shared.keys.signing_keys import make_sign, to_pem, to_public_jwk
from functions.shared.web.endpoint import INTROSPECTION_PATH, METADATA_PATH, REVOCATION_PATH, TOKEN_PATH

from .errors import CommandError, ExitCode, UsageError
from .http_client import Certificates, Response, Web
from .input_files import read_text, write_private_file

if TYPE_CHECKING:
    from functions.shared.keys.signing_keys import PrivateKey


ASSERTION_SECONDS = 60
_ML_DSA: Mapping[str, Any] = {
    "ML-DSA-44": mldsa.MLDSA44PrivateKey,
    "ML-DSA-65": mldsa.MLDSA65PrivateKey,
    "ML-DSA-87": mldsa.MLDSA87PrivateKey,
}
_OF_CURVES = {"secp256r1": ("ES256",), "secp384r1": ("ES384",), "secp521r1": ("ES512",)}


@dataclass(frozen=True, slots=True)
class ClientKey:
    """A private key, its algorithm and its key id."""

    private_key: PrivateKey = field(repr=False)
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
        return self._sign(headers, claims)

    def proof(self, method: str, url: str, now: float, *, nonce: str | None = None, token: str = "") -> str:
        """Return a DPoP proof for one request and its token. RFC 9449, 4.2."""
        headers = {"typ": PROOF_TYPE, "jwk": to_public_jwk(self.private_key.public_key())}
        return self._sign(headers, proof_claims(method, url, now, token, nonce))

    def _sign(self, header: Mapping[str, object], claims: Mapping[str, object]) -> str:
        parts = ({"alg": self.alg, **header}, claims)
        signing_input = ".".join(base64url.encode(to_compact_json(part).encode()) for part in parts)
        signature = make_sign(self.alg, self.private_key)(signing_input.encode())
        return f"{signing_input}.{base64url.encode(signature)}"


def read_key(path: Path, *, kid: str | None = None, alg: str | None = None) -> ClientKey:
    """Read a private key, as PEM or as a JWK; raises NotFoundError, UsageError."""
    text = read_text(path)
    if text.lstrip().startswith("{"):
        private_key, members = _from_jwk(text, path)
        kid, alg = kid or members.get("kid"), alg or members.get("alg")
    else:
        private_key = _from_pem(text, path)
    possible = _algorithms(private_key)
    if not possible or alg not in (None, *possible):
        known = f" It supports {' and '.join(possible)}." if possible else ""
        raise UsageError(f"The key in {path} does not support {alg or 'any algorithm'}.{known}")
    return ClientKey(private_key, alg or possible[0], kid)


def new_key(path: Path | None = None) -> ClientKey:
    """Create a key for ES256, written to a new file with mode 0600 if a path is given."""
    private_key = ec.generate_private_key(ec.SECP256R1())
    if path is not None:
        write_private_file(path, to_pem(private_key))
    return ClientKey(private_key, "ES256")


def _from_pem(text: str, path: Path) -> PrivateKey:
    try:
        return load_pem_private_key(text.encode(), password=None)  # type: ignore[return-value]
    except TypeError:
        raise UsageError(f"The key in {path} is encrypted.", "Use a file without password, with mode 0600.") from None
    except (ValueError, UnsupportedAlgorithm):
        raise UsageError(f"{path} does not contain a private key.", "Use PKCS #8 in PEM, or a JWK.") from None


def _from_jwk(text: str, path: Path) -> tuple[PrivateKey, dict[str, str]]:
    try:
        members = json.loads(text)
        key = _read_jwk(members)
    except (ValueError, TypeError, KeyError, AttributeError, InvalidTokenError, jwt.PyJWTError):
        raise UsageError(f"{path} is not a supported JWK.") from None
    if key is None:
        raise UsageError(f"{path} contains only a public key.", "Use the private key.")
    return key, {name: members[name] for name in ("kid", "alg") if isinstance(members.get(name), str)}


def _read_jwk(members: Mapping[str, Any]) -> PrivateKey | None:
    """Return the private key of a JWK, None for a public key. That of ML-DSA is a seed. RFC 9964, 4."""
    if members.get("kty") != "AKP":
        key: PrivateKey = jwt.PyJWK.from_dict({name: members[name] for name in members if name != "alg"}).key
        return key if "d" in members else None
    if "priv" not in members:
        return None
    made = _ML_DSA[members["alg"]].from_seed_bytes(base64url.decode(members["priv"].encode()))
    if to_public_jwk(made.public_key())["pub"] != members["pub"]:
        raise ValueError("the public key is another one")
    return cast("PrivateKey", made)


def _algorithms(key: object) -> tuple[str, ...]:
    if isinstance(key, rsa.RSAPrivateKey):
        return ("RS256", "PS256", "RS384", "PS384", "RS512", "PS512")
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return _OF_CURVES.get(key.curve.name, ())
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return ("EdDSA", "Ed25519")
    return next(((alg,) for alg, kind in _ML_DSA.items() if isinstance(key, kind)), ())


_PATHS: Mapping[str, str] = {"token": TOKEN_PATH, "introspection": INTROSPECTION_PATH, "revocation": REVOCATION_PATH}
_FORM: Mapping[str, str] = {"Content-Type": "application/x-www-form-urlencoded"}
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


def post(
    issuer: str,
    endpoint: str,
    authentication: ClientAuthentication,
    form: Mapping[str, str],
    *,
    dpop_key: ClientKey | None = None,
    now: float = 0,
) -> Response:
    """Return the successful response of an endpoint, named as in the server's metadata.

    If the endpoint asks for a DPoP nonce, the request is repeated with it. RFC 9449, 8.

    Raises:
        CommandError: the endpoint returned an error.
    """
    url = _url(issuer, endpoint, authentication)
    web = Web(authentication.certificates)
    body = urlencode({**authentication.form, **form}).encode()
    headers = {**_FORM, **authentication.headers}

    def ask(nonce: str | None = None) -> Response:
        proof = {"DPoP": dpop_key.proof("POST", url, now, nonce=nonce)} if dpop_key else {}
        return web.ask("POST", url, {**headers, **proof}, body)

    answer = ask()
    if answer.member("error") == "use_dpop_nonce":
        answer = ask(answer.headers.get("DPoP-Nonce"))
    if answer.status == 200:
        return answer
    error, description = answer.member("error"), answer.member("error_description")
    code = f" {error}" if isinstance(error, str) else ""
    why = f": {description}" if isinstance(description, str) else ""
    raise CommandError(
        f"The {endpoint} endpoint returned {answer.status}{code}{why}".rstrip(".") + ".",
        _NEXT_STEPS.get(str(error), "The function's log line of the request has the reason."),
        ExitCode.FAILURE if answer.status >= 500 else ExitCode.REFUSED,
    )


def _url(issuer: str, endpoint: str, authentication: ClientAuthentication) -> str:
    """Return an endpoint's URL; for a client with a certificate the mutual TLS alias. RFC 8705, 5."""
    if authentication.certificates.certificate is None:
        return issuer + _PATHS[endpoint]
    aliases = Web().ask("GET", issuer + METADATA_PATH).member("mtls_endpoint_aliases")
    url = aliases.get(f"{endpoint}_endpoint") if isinstance(aliases, dict) else None
    if not isinstance(url, str) or not url.startswith("https://"):
        raise CommandError(
            "The deployment has no address for client certificates.", "Deploy it with MtlsDomainName: docs/deploy.md."
        )
    return url


def not_understood(endpoint: str) -> CommandError:
    """Return the error for a response that is not the endpoint's."""
    return CommandError(
        f"The response of the {endpoint} endpoint is not an OAuth response.",
        "Check the deployment's address and proxies in between.",
        ExitCode.FAILURE,
    )
