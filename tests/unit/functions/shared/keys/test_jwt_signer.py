from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448

from functions.shared.clients.supported import SIGNING_ALGORITHMS
from functions.shared.keys.signers import JwtSigner
from functions.shared.keys.signing_keys import from_pem, make_sign, to_public_jwk
from tests.support.pyjwt_algorithms import algorithm
from tests.support.server import key

CLAIMS = {"sub": "ä", "scope": ("a", "b"), "exp": 1_700_000_000, "cnf": {"jkt": "x"}}
TYPES = (None, "at+jwt", "token-introspection+jwt")


@pytest.mark.parametrize("alg", ["RS256", "EdDSA", "Ed25519"])
@pytest.mark.parametrize("typ", TYPES)
def test_token_equals_pyjwts_bytes(alg: str, typ: str | None) -> None:
    private_key = from_pem(key(1, alg).private_pem)
    signer = JwtSigner("a-kid", alg, make_sign(alg, private_key))
    expected = jwt.encode(CLAIMS, private_key, alg, {"kid": "a-kid", "typ": typ})
    assert [signer.sign(CLAIMS, typ) for _ in range(2)] == [expected, expected]


@pytest.mark.parametrize("alg", SIGNING_ALGORITHMS)
def test_pyjwt_verifies_each_algorithm(alg: str) -> None:
    private_key = from_pem(key(1, alg).private_pem)
    token = JwtSigner("a-kid", alg, make_sign(alg, private_key)).sign({"sub": "ä"}, None)
    assert jwt.decode(token, private_key.public_key(), [alg]) == {"sub": "ä"}


@pytest.mark.parametrize("alg", SIGNING_ALGORITHMS)
def test_public_jwk_equals_pyjwts(alg: str) -> None:
    public_key = from_pem(key(1, alg).private_pem).public_key()
    expected = algorithm(alg).to_jwk(public_key, as_dict=True)
    expected.pop("key_ops", None)
    assert to_public_jwk(public_key) == expected


@pytest.mark.parametrize(
    "public_key", [ec.generate_private_key(ec.SECP256K1()).public_key(), ed448.Ed448PrivateKey.generate().public_key()]
)
def test_key_on_another_curve_has_no_jwk(public_key: Any) -> None:
    with pytest.raises(ValueError, match="not a key of RSA"):
        to_public_jwk(public_key)


def test_signers_do_not_share_headers() -> None:
    for kid in ("one", "two"):
        for typ in TYPES:
            token = JwtSigner(kid, "HS256", lambda _: b"signature").sign({}, typ)
            expected = {"alg": "HS256", "kid": kid} | ({"typ": typ} if typ else {})
            assert jwt.get_unverified_header(token) == expected


def test_signer_repr_hides_the_key() -> None:
    assert "signature" not in repr(JwtSigner("k", "HS256", lambda _: b""))
