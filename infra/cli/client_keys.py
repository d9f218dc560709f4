"""Private keys of clients: read from files, used to sign assertions and DPoP proofs."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from functions.shared.keys.key_ring import public_members
from functions.shared.keys.signing_keys import to_pem
from infra.cli.errors import UsageError
from infra.cli.input_files import read_text, write_private_file

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

    def proof(
        self, method: str, url: str, now: float, *, nonce: str | None = None, token: str = ""
    ) -> str:
        """Return a DPoP proof for one request and its token. RFC 9449, 4.2."""
        claims: dict[str, object] = {
            "htm": method,
            "htu": url,
            "iat": int(now),
            "jti": str(uuid4()),
        }
        if nonce is not None:
            claims["nonce"] = nonce
        if token:
            digest = sha256(token.encode()).digest()
            claims["ath"] = urlsafe_b64encode(digest).rstrip(b"=").decode()
        public = jwt.get_algorithm_by_name(self.alg).to_jwk(
            self.private_key.public_key(), as_dict=True
        )
        headers = {"typ": "dpop+jwt", "jwk": public_members(public)}
        return jwt.encode(claims, self._for_jwt, self.alg, headers)

    @property
    def _for_jwt(self) -> Any:
        return self.private_key


def read_key(path: Path, *, kid: str | None = None, alg: str | None = None) -> ClientKey:
    """Read a private key, as PEM or as a JWK.

    Raises:
        NotFoundError: the file does not exist.
        UsageError: the file has no unencrypted private key, or one that cannot sign with `alg`.
    """
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
        raise UsageError(
            f"The key in {path} is encrypted.", "Use a file without password, with mode 0600."
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise UsageError(
            f"{path} does not contain a private key.", "Use PKCS #8 in PEM, or a JWK."
        ) from None


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
