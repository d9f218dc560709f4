"""Tokens, good and bad, and what an issuer needs to make them."""

import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

ISSUER = "http://localhost:8085/ms-auth-server"
CLIENT = "service-client-jwt"
KID = "key-1"
NOW = 1_700_000_000
LIFETIME = 14_400
METHOD_ARN = "arn:aws:execute-api:eu-west-1:123456789012:abcdef1234/ms-system/GET/country/code/AUS"
STAGE_ARN = "arn:aws:execute-api:eu-west-1:123456789012:abcdef1234/ms-system"


def rsa_key(name: str = KID, bits: int = 2048) -> rsa.RSAPrivateKey:
    """Return the RSA key of this name, made once: making one is slow."""
    return _made(name, bits)


@cache
def _made(_name: str, bits: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def ec_key(name: str, bits: int = 256) -> ec.EllipticCurvePrivateKey:
    """Return the key of this name on P-256 or on another of NIST's curves."""
    return _made_ec(name, bits)


@cache
def _made_ec(_name: str, bits: int) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key({256: ec.SECP256R1(), 384: ec.SECP384R1(), 521: ec.SECP521R1()}[bits])


@cache
def ed25519_key(name: str) -> ed25519.Ed25519PrivateKey:
    """Return the Ed25519 key of this name."""
    return ed25519.Ed25519PrivateKey.generate()


def rsa_jwk(kid: str = KID, key: rsa.RSAPrivateKey | None = None, **members: object) -> dict[str, Any]:
    """Return the public JWK of an RSA key, as the issuer publishes it."""
    jwk = RSAAlgorithm.to_jwk((key or rsa_key(kid)).public_key(), as_dict=True)
    return {"kty": jwk["kty"], "n": jwk["n"], "e": jwk["e"], "kid": kid} | members


def ec_jwk(kid: str = "ec", bits: int = 256, **members: object) -> dict[str, Any]:
    """Return the public JWK of a key on one of NIST's curves."""
    return ECAlgorithm.to_jwk(ec_key(kid, bits).public_key(), as_dict=True) | {"kid": kid} | members


def ed25519_jwk(kid: str = "ed", **members: object) -> dict[str, Any]:
    """Return the public JWK of an Ed25519 key."""
    jwk = OKPAlgorithm.to_jwk(ed25519_key(kid).public_key(), as_dict=True)
    return jwk | {"kid": kid} | members


def jwks(*keys: Mapping[str, object]) -> bytes:
    """Write a JWKS document."""
    return json.dumps({"keys": list(keys)}).encode()


def claims(now: float = NOW, **changes: object) -> dict[str, Any]:
    """Return the claims of a valid token with changes; `...` removes a claim."""
    good = {
        "sub": CLIENT,
        "aud": CLIENT,
        "nbf": int(now),
        "scope": ["customer.read", "customer.write", "country.read"],
        "iss": ISSUER,
        "exp": int(now) + LIFETIME,
        "iat": int(now),
    }
    return {name: value for name, value in (good | changes).items() if value is not ...}


def at_jwt_claims(now: float = NOW, **changes: object) -> dict[str, Any]:
    """Return the claims of a good RFC 9068 access token, changed."""
    profile = {
        "client_id": CLIENT,
        "jti": "one-of-a-kind",
        "aud": "https://api.example.com",
        "scope": "country.read customer.read",
    }
    return claims(now, **(profile | changes))


def mint(payload: Mapping[str, Any] | None = None, kid: str = KID, **header: object) -> str:
    """Sign claims with the RSA key named like the key id, as an honest issuer does."""
    headers = {"typ": None, "kid": kid} | header
    return jwt.encode(dict(payload or claims()), rsa_key(kid), "RS256", headers=headers)


def encode(raw: bytes) -> str:
    """Write base64url without padding."""
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def forge(header: object = ..., payload: object = ..., *, key: rsa.RSAPrivateKey | None = None) -> str:
    """Sign any header and payload with a true key: bytes as they are, all else as JSON."""
    header = {"alg": "RS256", "kid": KID} if header is ... else header
    payload = claims() if payload is ... else payload
    signing_input = f"{encode(_to_bytes(header))}.{encode(_to_bytes(payload))}"
    return f"{signing_input}.{encode(sign(signing_input.encode(), key))}"


def unsigned(payload: Mapping[str, Any], **header: object) -> str:
    """Return a well-formed token with noise in place of its signature."""
    parts = ({"alg": "RS256", "kid": KID} | header, payload)
    return ".".join([*(encode(_to_bytes(part)) for part in parts), encode(bytes(256))])


def forge_header(**members: object) -> str:
    """Sign good claims under a good header with other members; ... leaves one out."""
    header = {"alg": "RS256", "kid": KID} | members
    return forge({name: value for name, value in header.items() if value is not ...})


def forge_claims(**changes: object) -> str:
    """Sign a good header over changed claims; ... leaves one out."""
    return forge(payload=claims(NOW, **changes))


def sign(data: bytes, key: rsa.RSAPrivateKey | None = None) -> bytes:
    """Make an RS256 signature."""
    return (key or rsa_key()).sign(data, padding.PKCS1v15(), hashes.SHA256())


def _to_bytes(part: object) -> bytes:
    return part if isinstance(part, bytes) else json.dumps(part).encode()


def rest_event(token: str, **members: object) -> dict[str, Any]:
    """Return a REST API authorizer event of type REQUEST for GET /country/code/AUS."""
    value = f"Bearer {token}"
    return {
        "type": "REQUEST",
        "methodArn": METHOD_ARN,
        "resource": "/country/code/{code}",
        "path": "/country/code/AUS",
        "httpMethod": "GET",
        "headers": {"Host": "localhost", "Authorization": value},
        "multiValueHeaders": {"Host": ["localhost"], "Authorization": [value]},
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "pathParameters": {"code": "AUS"},
        "stageVariables": None,
        "requestContext": {"requestId": "a-request", "stage": "ms-system"},
    } | members
