import jwt
import pytest
from jwt.algorithms import HMACAlgorithm, RSAAlgorithm

from functions.shared.keys.signers import JwtSigner
from functions.shared.keys.signing_keys import from_pem
from tests.support.server import key

CLAIMS = {"sub": "ä", "scope": ("a", "b"), "exp": 1_700_000_000, "cnf": {"jkt": "x"}}


@pytest.mark.parametrize("typ", [None, "at+jwt"])
def test_token_equals_pyjwts_bytes(typ: str | None) -> None:
    private_key = from_pem(key().private_pem)
    signer = JwtSigner("a-kid", "RS256", RSAAlgorithm(RSAAlgorithm.SHA256), private_key)
    expected = jwt.encode(CLAIMS, private_key, "RS256", {"kid": "a-kid", "typ": typ})
    assert [signer.sign(CLAIMS, typ) for _ in range(2)] == [expected, expected]


def test_signers_do_not_share_headers() -> None:
    algorithm = HMACAlgorithm(HMACAlgorithm.SHA256)
    secret = b"x" * 32
    for kid in ("one", "two"):
        for typ in (None, "at+jwt", "token-introspection+jwt"):
            token = JwtSigner(kid, "HS256", algorithm, secret).sign({}, typ)
            expected = {"alg": "HS256", "kid": kid} | ({"typ": typ} if typ else {})
            assert jwt.get_unverified_header(token) == expected


def test_signer_repr_hides_the_key() -> None:
    assert "secret" not in repr(JwtSigner("k", "HS256", HMACAlgorithm(HMACAlgorithm.SHA256), b"secret"))
