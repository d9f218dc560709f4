"""ML-DSA (RFC 9964, FIPS 204): the RFC's examples, and a second implementation in pure Python."""

import hashlib
import json
import subprocess
import sys
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import asymmetric
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import KeySet

from authorizer import base64url, jws
from authorizer.errors import InvalidTokenError, Reason
from authorizer.jwk import InvalidKeyError, parse_key, parse_key_set
from authorizer.jwk_thumbprint import thumbprint
from authorizer.jws import ALGORITHMS, ML_DSA, HeaderRules
from functions.shared.keys.signing_keys import external_mu, from_pem, make_sign, to_pem, to_public_jwk
from tests.support.dpop_proofs import private_key, proof, public_jwk
from tests.support.pyjwt_algorithms import ML_DSA_KEYS
from tests.support.tokens import ec_jwk, encode, jwks, rsa_jwk

# The examples of RFC 9964, appendix A.1: their seed is all zeros, and their signatures are deterministic.
# The thumbprint of the key, and the SHA-256 digest of the JWS, which is too long to be shown here.
EXAMPLES = {
    "ML-DSA-44": (
        "T4xl70S7MT6Zeq6r9V9fPJGVn76wfnXJ21-gyo0Gu6o",
        "2ae7b395a71470a610a0d8b6443fd4784d93ba2b7d0a752da58264eb0fd338e8",
    ),
    "ML-DSA-65": (
        "Suiu29qbfuaBaR4Ats-c6XQBePB_OpAxAwcTR_0KXVM",
        "bb1a49c32f37f5f750e73fcc6fd7cbd8cf683e8b0270b1420c02e2e63e66bc01",
    ),
    "ML-DSA-87": (
        "tRn1JNIkgMsABVQBlXeDHxAIcclh-2IX0UdDEzPt5XU",
        "7102258ffe720c7430bf087b3283867b559d7479d1142162369fec672e1804aa",
    ),
}
TEXT = "It\u2019s a dangerous business, Frodo, going out your door."
SEED = bytes(32)
RULES = HeaderRules(ML_DSA, frozenset((None,)))


def second(alg: str) -> Any:
    """Return the algorithm's implementation by dilithium-py."""
    ml_dsa: Any = pytest.importorskip("dilithium_py.ml_dsa", reason="dilithium-py is not installed")
    return getattr(ml_dsa, alg.replace("-", "_"))


@cache
def example_key(alg: str) -> Any:
    return ML_DSA_KEYS[alg][0].from_seed_bytes(SEED)


def example_jwk(name: str, **members: object) -> dict[str, Any]:
    """Return the public key of the RFC's example; `...` removes a member."""
    jwk = to_public_jwk(example_key(name).public_key()) | {"kid": EXAMPLES[name][0]} | members
    return {member: value for member, value in jwk.items() if value is not ...}


@pytest.mark.parametrize("alg", EXAMPLES)
def test_rfc9964_a1_example_verifies(alg: str) -> None:
    """The second implementation makes the RFC's JWS again, to the byte, and Gatehouse verifies it."""
    kid, digest = EXAMPLES[alg]
    header = f'{{"alg":"{alg}","kid":"{kid}"}}'
    signing_input = f"{encode(header.encode())}.{encode(TEXT.encode())}"
    public, secret = second(alg).key_derive(SEED)
    assert example_jwk(alg)["pub"] == encode(public)
    token = f"{signing_input}.{encode(second(alg).sign(secret, signing_input.encode(), deterministic=True))}"
    assert hashlib.sha256(token.encode()).hexdigest() == digest
    unverified = jws.parse(token, RULES)
    key = parse_key_set(jwks(example_jwk(alg)), ML_DSA).keys[unverified.header.kid]
    key.verify(alg, unverified.signature, unverified.signing_input)


@pytest.mark.parametrize("alg", EXAMPLES)
def test_rfc9964_6_thumbprint_has_alg_kty_and_pub(alg: str) -> None:
    assert thumbprint(example_jwk(alg, use="sig", kid="any")) == EXAMPLES[alg][0]
    for missing in ("alg", "pub"):
        with pytest.raises(InvalidTokenError):
            thumbprint(example_jwk(alg, **{missing: ...}))


@pytest.mark.parametrize("alg", EXAMPLES)
def test_second_implementation_verifies_signatures(alg: str) -> None:
    signature = make_sign(alg, example_key(alg))(b"data")
    public, secret = second(alg).key_derive(SEED)
    assert second(alg).verify(public, b"data", signature)
    parse_key(example_jwk(alg), ALGORITHMS).verify(alg, second(alg).sign(secret, b"data"), b"data")
    # RFC 9964, 5: the context is empty.
    with pytest.raises(InvalidTokenError):
        parse_key(example_jwk(alg), ALGORITHMS).verify(alg, second(alg).sign(secret, b"data", ctx=b"c"), b"data")


@given(st.integers(0, 8 * 2420 - 1))
def test_both_implementations_reject_the_same_signatures(bit: int) -> None:
    """Flips each kind of bit: challenge, response, and the hints, whose encoding must be unique."""
    alg = "ML-DSA-44"
    public, secret = second(alg).key_derive(SEED)
    signature = bytearray(_signature(alg, secret))
    signature[bit // 8] ^= 1 << bit % 8
    assert not second(alg).verify(public, b"data", bytes(signature))
    with pytest.raises(InvalidTokenError, match=f"^{Reason.SIGNATURE_INVALID}$"):
        parse_key(example_jwk(alg), ALGORITHMS).verify(alg, bytes(signature), b"data")


@cache
def _signature(alg: str, secret: bytes) -> bytes:
    signature: bytes = second(alg).sign(secret, b"data", deterministic=True)
    return signature


VECTORS = json.loads((Path(__file__).parent / "vectors" / "ml_dsa_wycheproof.json").read_text())["tests"]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: f"{vector['alg']} {vector['id']}")
def test_wycheproof_vectors_have_their_result(vector: dict[str, Any]) -> None:
    """A selection of Project Wycheproof's: malformed hints, norms at their limits, values without reduction."""
    alg = vector["alg"]
    message, signature = (base64url.decode(vector[name].encode()) for name in ("message", "signature"))
    jwk = {"kty": "AKP", "alg": alg, "kid": "key", "pub": vector["public_key"]}
    if "ZeroPublicKey" in vector["flags"]:  # a valid signature, which anyone can make
        with pytest.raises(InvalidKeyError, match=f"^{Reason.KEY_WEAK}$"):
            parse_key(jwk, ALGORITHMS)
        return
    key = parse_key(jwk, ALGORITHMS)
    with nullcontext() if vector["result"] == "valid" else pytest.raises(InvalidTokenError):
        key.verify(alg, signature, message)


UNFIT: dict[str, tuple[dict[str, Any], Reason]] = {
    "alg of other parameters": (example_jwk("ML-DSA-44", alg="ML-DSA-65"), Reason.KEY_MALFORMED),
    "alg of another type": (example_jwk("ML-DSA-44", alg="ES256"), Reason.KEY_ALGORITHM),
    "alg in lower case": (example_jwk("ML-DSA-44", alg="ml-dsa-44"), Reason.KEY_ALGORITHM),
    "an unknown AKP algorithm": (example_jwk("ML-DSA-44", alg="SLH-DSA-SHA2-128s"), Reason.KEY_ALGORITHM),
    "a curve": (example_jwk("ML-DSA-44", crv="P-256"), Reason.KEY_TYPE),
    "pub missing": (example_jwk("ML-DSA-44", pub=None), Reason.KEY_MALFORMED),
    "pub too short": (example_jwk("ML-DSA-44", pub=encode(bytes(1311))), Reason.KEY_MALFORMED),
    "pub too long": (example_jwk("ML-DSA-44", pub=encode(bytes(1313))), Reason.KEY_MALFORMED),
    "a key that anyone can sign for": (
        example_jwk("ML-DSA-44", pub=encode(b"\x07" * 32 + bytes(1280))),
        Reason.KEY_WEAK,
    ),
    "ML-DSA as OKP": (example_jwk("ML-DSA-44", kty="OKP", crv="ML-DSA-44"), Reason.KEY_TYPE),
}


@pytest.mark.parametrize(("jwk", "reason"), UNFIT.values(), ids=UNFIT)
def test_unusable_key_has_a_reason(jwk: dict[str, Any], reason: Reason) -> None:
    with pytest.raises(InvalidKeyError, match=f"^{reason}$"):
        parse_key(jwk, ALGORITHMS)


def test_published_seed_disables_the_key_id() -> None:
    private = example_jwk("ML-DSA-44", priv=encode(SEED))
    key_set = parse_key_set(jwks(private, rsa_jwk()), ALGORITHMS)
    assert key_set.refused == {private["kid"]: Reason.KEY_PRIVATE}


@pytest.mark.parametrize("alg", EXAMPLES)
def test_private_key_is_stored_as_its_seed(alg: str) -> None:
    pem = to_pem(example_key(alg))
    assert len(pem) < 200
    assert from_pem(pem).private_bytes_raw() == SEED  # type: ignore[union-attr]


@pytest.mark.parametrize("alg", EXAMPLES)
def test_fips204_6_2_external_mu_equals_the_message(alg: str) -> None:
    public, secret = second(alg).key_derive(SEED)
    message = b"x" * 5000
    mu = external_mu(public, message)
    assert second(alg).verify(public, message, example_key(alg).sign_mu(mu))
    parse_key(example_jwk(alg), ALGORITHMS).verify(alg, second(alg).sign_external_mu(secret, mu), message)


@pytest.mark.parametrize("alg", sorted(ML_DSA))
def test_proof_fits_into_the_headers_of_api_gateway(alg: str) -> None:
    """API Gateway takes 10,240 bytes of headers, request line included."""
    made = proof(alg, nonce="n" * 24, ath="a" * 43)
    assert (len(made) < 10_240 - 1024) == (alg in jws.PROOF_ALGORITHMS)
    assert len(made) <= jws.MAX_PROOF_LENGTH or alg == "ML-DSA-87"
    assert public_jwk(alg) == to_public_jwk(private_key(alg).public_key())  # type: ignore[arg-type]


MODULES = """
import sys
import authorizer.handler, functions.issue_token.handler
from authorizer.jwk import parse_key_set
from authorizer.jws import ALGORITHMS
assert parse_key_set(sys.argv[1].encode(), ALGORITHMS).keys
print(*sys.modules)
"""


def test_modules_of_other_algorithms_are_not_imported() -> None:
    """Those who use RSA keys only do not pay for the imports of others."""
    arguments = [sys.executable, "-c", MODULES, jwks(rsa_jwk()).decode()]
    loaded = subprocess.run(arguments, check=True, capture_output=True, text=True).stdout.split()
    package = "cryptography.hazmat.primitives.asymmetric"
    assert f"{package}.rsa" in loaded
    assert not {f"{package}.{name}" for name in ("ec", "ed25519", "mldsa")}.intersection(loaded)


def test_other_libraries_ignore_the_keys_in_a_key_set() -> None:
    """PyJWT and joserfc, which have no ML-DSA, still find the RSA key."""
    members = [rsa_jwk("rsa", alg="RS256"), *(example_jwk(alg, use="sig") for alg in EXAMPLES), ec_jwk(alg="ES256")]
    document = json.loads(jwks(*members))
    assert [key.key_id for key in jwt.PyJWKSet.from_dict(document).keys] == ["rsa", "ec"]
    assert [key.kid for key in KeySet.import_key_set(document).keys] == ["rsa", "ec"]


def test_older_cryptography_reads_the_other_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(asymmetric, "mldsa")
    monkeypatch.setitem(sys.modules, f"{asymmetric.__name__}.mldsa", None)
    key_set = parse_key_set(jwks(example_jwk("ML-DSA-44"), rsa_jwk("rsa")), ALGORITHMS)
    assert (list(key_set.keys), key_set.left_out) == (["rsa"], (Reason.KEY_TYPE,))
