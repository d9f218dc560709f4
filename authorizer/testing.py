"""Tokens for tests: an issuer in memory, whose key set this process uses without a network."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import parse_qs
from uuid import uuid4

from . import base64url, https_client
from .claims import DPOP_KEY
from .https_client import Request, Response
from .jwk_thumbprint import thumbprint

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

FAULTS = {
    "expired": "expired",
    "not_yet_valid": "not_yet_valid",
    "forged": "signature_invalid",
    "unsigned": "alg_none",
    "unknown_key": "kid_unknown",
    "wrong_audience": "aud_other",
    "wrong_issuer": "iss_unknown",
    "bound": "proof_required",
}
"""Faults of a token that every API must reject with 401, as a bearer token, each with its reason."""

_FAULTY_HEADERS: Mapping[str | None, Mapping[str, object]] = {
    "unsigned": {"alg": "none"},
    "unknown_key": {"kid": "unknown"},
}
_KEY_ID = "test-key"


class ProofKey:
    """A key of a client, which makes DPoP proofs (RFC 9449)."""

    def __init__(self) -> None:
        from cryptography.hazmat.primitives.asymmetric import ec  # late: pytest imports this module for every suite

        self._key = ec.generate_private_key(ec.SECP256R1())
        numbers = self._key.public_key().public_numbers()
        x, y = (base64url.encode(number.to_bytes(32)) for number in (numbers.x, numbers.y))
        self._jwk = {"kty": "EC", "crv": "P-256", "x": x, "y": y}

    @property
    def thumbprint(self) -> str:
        """The key's thumbprint, as in the claim `cnf` of a token."""
        return thumbprint(self._jwk)

    def proof(self, method: str, url: str, token: str | None = None, **claims: object) -> str:
        """Return a proof for one request with a token. `claims` replace its claims."""
        from .dpop import PROOF_TYPE, proof_claims  # late, for the same reason

        header = {"typ": PROOF_TYPE, "alg": "ES256", "jwk": self._jwk}
        return _sign(header, {**proof_claims(method, url, time.time(), token or ""), **claims}, self._signature)

    def headers(self, method: str, url: str, token: str) -> dict[str, str]:
        """Return the headers of a request with a token and its proof."""
        return {"Authorization": f"DPoP {token}", "DPoP": self.proof(method, url, token)}

    def _signature(self, signing_input: bytes) -> bytes:
        from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
        from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
        from cryptography.hazmat.primitives.hashes import SHA256

        r, s = decode_dss_signature(self._key.sign(signing_input, ECDSA(SHA256())))
        return r.to_bytes(32) + s.to_bytes(32)


class MemoryIssuer:
    """Issues access tokens for one API, and answers for its key set and introspection."""

    def __init__(self, url: str = "https://issuer.test", audience: str = "https://api.test") -> None:
        self.url = url
        self.audience = audience
        self._opaque: dict[str, Mapping[str, object]] = {}

    @property
    def jwks(self) -> bytes:
        """The key set (RFC 7517)."""
        numbers = _signing_key().public_key().public_numbers()
        n, e = (base64url.encode(value.to_bytes((value.bit_length() + 7) // 8)) for value in (numbers.n, numbers.e))
        return json.dumps(
            {"keys": [{"kty": "RSA", "kid": _KEY_ID, "use": "sig", "alg": "RS256", "n": n, "e": e}]}
        ).encode()

    def access_token(
        self,
        scope: str = "",
        *,
        audience: str | None = None,
        fault: str | None = None,
        key: ProofKey | None = None,
        **claims: object,
    ) -> str:
        """Return a token of the profile `at+jwt` (RFC 9068), valid for an hour.

        Args:
            scope: the scopes, separated by spaces.
            audience: the API, by default this issuer's.
            fault: one of `FAULTS`, which the token then has.
            key: the key that the token is bound to.
            claims: more claims, or other values; None removes a claim.

        Raises:
            ValueError: there is no such fault.
        """
        if fault is not None and fault not in FAULTS:
            raise ValueError(f"fault is not one of {', '.join(FAULTS)}")
        now = int(time.time())
        content: dict[str, object] = {
            "iss": self.url,
            "sub": "test-client",
            "client_id": "test-client",
            "aud": audience or self.audience,
            "scope": scope,
            "iat": now,
            "exp": now + 3600,
            "jti": str(uuid4()),
            "cnf": {DPOP_KEY: key.thumbprint} if key else None,
            **_faulty_claims(fault, now),
            **claims,
        }
        header = {"typ": "at+jwt", "alg": "RS256", "kid": _KEY_ID, **_FAULTY_HEADERS.get(fault, {})}
        token = _sign(header, {name: value for name, value in content.items() if value is not None}, self._signature)
        if fault == "unsigned":
            return token[: token.rindex(".") + 1]
        if fault == "forged":  # signed before a change
            return token.replace(".", f".{base64url.encode(b' ' * 3)}", 1)
        return token

    def opaque_token(self, scope: str = "", **members: object) -> str:
        """Return an opaque token, which introspection reports as active. `members` replace its members."""
        token = f"opaque-{uuid4()}"
        self._opaque[token] = {
            "active": True,
            "iss": self.url,
            "sub": "test-client",
            "client_id": "test-client",
            "aud": self.audience,
            "scope": scope,
            "exp": int(time.time()) + 3600,
            **members,
        }
        return token

    def _signature(self, signing_input: bytes) -> bytes:
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
        from cryptography.hazmat.primitives.hashes import SHA256

        return _signing_key().sign(signing_input, PKCS1v15(), SHA256())

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Answer this process's requests to the issuer's URL from memory. Other requests are sent."""
        send = https_client.send

        def answer(request: Request, check_address: https_client.CheckAddress | None = None) -> Response:
            if request.url.startswith(self.url.rstrip("/") + "/"):
                return self._respond(request)
            return send(request, check_address)

        https_client.send = answer
        try:
            yield
        finally:
            https_client.send = send

    def _respond(self, request: Request) -> Response:
        if request.method == "POST":
            (token,) = parse_qs(request.body.decode())["token"]
            return Response(200, {}, json.dumps(self._opaque.get(token, {"active": False})).encode())
        if request.url.endswith("/.well-known/openid-configuration"):
            metadata = {"issuer": self.url, "jwks_uri": f"{self.url.rstrip('/')}/oauth2/jwks"}
            return Response(200, {}, json.dumps(metadata).encode())
        return Response(200, {}, self.jwks)


@cache
def _signing_key() -> "RSAPrivateKey":
    """Return the key of all issuers: a process may cache the key set of an issuer for longer than the issuer exists."""
    from cryptography.hazmat.primitives.asymmetric import rsa

    return rsa.generate_private_key(65537, 2048)


def _faulty_claims(fault: str | None, now: int) -> Mapping[str, object]:
    match fault:
        case "expired":
            return {"iat": now - 3600, "exp": now - 1}
        case "not_yet_valid":
            return {"nbf": now + 600}
        case "wrong_audience":
            return {"aud": "https://other-api.test"}
        case "wrong_issuer":
            return {"iss": "https://other-issuer.test"}
        case "bound":
            return {"cnf": {DPOP_KEY: ProofKey().thumbprint}}
    return {}


def _sign(header: Mapping[str, object], claims: Mapping[str, object], sign: Callable[[bytes], bytes]) -> str:
    segments = (base64url.encode(json.dumps(part).encode()) for part in (header, claims))
    signing_input = ".".join(segments)
    return f"{signing_input}.{base64url.encode(sign(signing_input.encode()))}"
