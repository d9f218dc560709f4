"""Usable and unusable keys of a key set."""

from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from authorizer import base64url
from authorizer.errors import InvalidTokenError, KeySetUnavailableError, Reason
from authorizer.jwk import InvalidKeyError, parse_key, parse_key_set
from authorizer.jws import ALGORITHMS
from tests.support.tokens import ec_jwk, ec_key, ed25519_jwk, ed25519_key, encode, jwks, rsa_jwk, rsa_key, sign

RS256 = frozenset({"RS256"})
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
ED25519_ORDER = 2**252 + 27742317777372353535851937790883648493
MODULUS = rsa_key().public_key().public_numbers().n


def _number(value: int) -> str:
    return encode(value.to_bytes((value.bit_length() + 7) // 8))


def _little(value: int) -> bytes:
    return value.to_bytes(32, "little")


RSA_ALGORITHMS = frozenset(f"{scheme}{bits}" for scheme in ("RS", "PS") for bits in (256, 384, 512))
BOTH_NAMES = frozenset(("EdDSA", "Ed25519"))


@pytest.mark.parametrize(
    ("jwk", "algorithms"),
    [
        (rsa_jwk(), RSA_ALGORITHMS),
        (rsa_jwk(key=rsa_key("larger", 3072)), RSA_ALGORITHMS),
        *((rsa_jwk(alg=alg, use="sig", key_ops=["verify"]), {alg}) for alg in sorted(RSA_ALGORITHMS)),
        *((ec_jwk(bits=bits), {alg}) for bits, alg in ((256, "ES256"), (384, "ES384"), (521, "ES512"))),
        (ec_jwk(bits=384, alg="ES384"), {"ES384"}),
        (ed25519_jwk(), BOTH_NAMES),
        (ed25519_jwk(alg="EdDSA"), BOTH_NAMES),
        (ed25519_jwk(alg="Ed25519"), BOTH_NAMES),
    ],
)
def test_key_fixes_its_algorithms(jwk: dict[str, Any], algorithms: frozenset[str]) -> None:
    assert parse_key(jwk, ALGORITHMS).algorithms == algorithms


def test_key_has_accepted_algorithms_only() -> None:
    assert parse_key(rsa_jwk(), frozenset({"RS384", "PS256", "ES256"})).algorithms == {"RS384", "PS256"}
    for jwk in (rsa_jwk(), ec_jwk(bits=384)):
        with pytest.raises(InvalidKeyError, match=f"^{Reason.KEY_ALGORITHM}$"):
            parse_key(jwk, frozenset({"ES256"}))


KEYS: dict[str, tuple[dict[str, Any], Any]] = {
    **{alg: (rsa_jwk(), rsa_key()) for alg in sorted(RSA_ALGORITHMS)},
    **{f"ES{bits}": (ec_jwk(bits=size), ec_key("ec", size)) for bits, size in ((256, 256), (384, 384), (512, 521))},
    "EdDSA": (ed25519_jwk(), ed25519_key("ed")),
    "Ed25519": (ed25519_jwk(), ed25519_key("ed")),
}
SIGNATURES = {
    alg: jwt.get_algorithm_by_name("EdDSA" if alg == "Ed25519" else alg).sign(b"data", key)
    for alg, (_, key) in KEYS.items()
}


@pytest.mark.parametrize("alg", KEYS)
def test_key_verifies_only_its_own_signatures(alg: str) -> None:
    key, signature = parse_key(KEYS[alg][0], ALGORITHMS), SIGNATURES[alg]
    key.verify(alg, signature, b"data")
    for other, reason in (
        (signature[:-1] + bytes([signature[-1] ^ 1]), Reason.SIGNATURE_INVALID),
        (signature + b"\x00", Reason.SIGNATURE_LENGTH),
        (bytes(len(signature)), Reason.SIGNATURE_INVALID),
        (b"", Reason.SIGNATURE_EMPTY),
    ):
        with pytest.raises(InvalidTokenError, match=f"^{reason}$"):
            key.verify(alg, other, b"data")


@pytest.mark.parametrize("alg", KEYS)
def test_signature_is_invalid_under_another_algorithm(alg: str) -> None:
    for other, (jwk, _) in KEYS.items():
        if {alg, other} <= BOTH_NAMES or alg == other:
            continue
        key = parse_key(jwk, ALGORITHMS)
        for header, signature in ((other, SIGNATURES[alg]), (alg, SIGNATURES[other])):
            with pytest.raises(InvalidTokenError):
                key.verify(header, signature, b"data")


@pytest.mark.parametrize("alg", [*KEYS, "none", "HS256", "RS1", "rs256", ""])
def test_key_with_alg_refuses_every_other(alg: str) -> None:
    for own, (jwk, _) in KEYS.items():
        if alg != own and not {alg, own} <= BOTH_NAMES:
            with pytest.raises(InvalidTokenError, match=f"^{Reason.ALG_NOT_OF_KEY}$"):
                parse_key(jwk | {"alg": own}, ALGORITHMS).verify(alg, SIGNATURES[own], b"data")


def _ps256(salt: int, mask: hashes.HashAlgorithm | None = None) -> bytes:
    return rsa_key().sign(b"data", padding.PSS(padding.MGF1(mask or hashes.SHA256()), salt), hashes.SHA256())


ES256_DER = ec_key("ec").sign(b"data", ec.ECDSA(hashes.SHA256()))
R, S = (number.to_bytes(32) for number in decode_dss_signature(ES256_DER))
EDDSA = ed25519_key("ed").sign(b"data")
LARGER_S = EDDSA[:32] + _little(int.from_bytes(EDDSA[32:], "little") + ED25519_ORDER)


@pytest.mark.parametrize(
    ("jwk", "signature", "reason"),
    [
        (ec_jwk(), ES256_DER, Reason.SIGNATURE_LENGTH),
        (ec_jwk(), b"\x00" + R + S, Reason.SIGNATURE_LENGTH),
        (ec_jwk(), bytes(32) + S, Reason.SIGNATURE_INVALID),
        (ec_jwk(), R + bytes(32), Reason.SIGNATURE_INVALID),
        (ec_jwk(), P256_ORDER.to_bytes(32) * 2, Reason.SIGNATURE_INVALID),
        (ec_jwk(), S + R, Reason.SIGNATURE_INVALID),
        (rsa_jwk(alg="PS256"), _ps256(0), Reason.SIGNATURE_INVALID),
        (rsa_jwk(alg="PS256"), _ps256(20), Reason.SIGNATURE_INVALID),
        (rsa_jwk(alg="PS256"), _ps256(222), Reason.SIGNATURE_INVALID),  # the longest salt
        (rsa_jwk(alg="PS256"), _ps256(32, hashes.SHA512()), Reason.SIGNATURE_INVALID),
        (ed25519_jwk(), LARGER_S, Reason.SIGNATURE_INVALID),
        (ed25519_jwk(), EDDSA[:-1], Reason.SIGNATURE_LENGTH),
    ],
    ids=lambda value: "signature" if isinstance(value, bytes) else None,  # a random one has no stable id
)
def test_altered_signature_is_rejected(jwk: dict[str, Any], signature: bytes, reason: Reason) -> None:
    key = parse_key(jwk, ALGORITHMS)
    with pytest.raises(InvalidTokenError, match=f"^{reason}$"):
        key.verify(min(key.algorithms), signature, b"data")


UNFIT: dict[str, tuple[object, Reason]] = {
    "a string": ("key", Reason.KEY_MALFORMED),
    "no kid": ({**rsa_jwk(), "kid": None}, Reason.KEY_MALFORMED),
    "kid too long": (rsa_jwk() | {"kid": "k" * 257}, Reason.KEY_MALFORMED),
    "kid with a newline": (rsa_jwk() | {"kid": "a\n"}, Reason.KEY_MALFORMED),
    "private prime": (rsa_jwk(p="AQAB"), Reason.KEY_PRIVATE),
    "use null": (rsa_jwk(use=None), Reason.KEY_USE),
    "key_ops sign": (rsa_jwk(key_ops=["sign"]), Reason.KEY_OPERATIONS),
    "key_ops string": (rsa_jwk(key_ops="verify"), Reason.KEY_OPERATIONS),
    "key_ops twice": (rsa_jwk(key_ops=["verify", "verify"]), Reason.KEY_OPERATIONS),
    "key_ops number": (rsa_jwk(key_ops=["verify", 1]), Reason.KEY_OPERATIONS),
    "kty unknown": (rsa_jwk(kty="rsa"), Reason.KEY_TYPE),
    "kty list": (rsa_jwk(kty=[]), Reason.KEY_TYPE),
    "curve unknown": (ec_jwk(crv="secp256k1"), Reason.KEY_TYPE),
    "curve of another algorithm": (ec_jwk(alg="ES384"), Reason.KEY_ALGORITHM),
    "coordinates of another curve": (ec_jwk(crv="P-384"), Reason.KEY_MALFORMED),
    "alg of another type": (ec_jwk(alg="RS256"), Reason.KEY_ALGORITHM),
    "alg not allowed": (rsa_jwk(alg="RS1"), Reason.KEY_ALGORITHM),
    "alg list": (rsa_jwk(alg=["RS256"]), Reason.KEY_ALGORITHM),
    "alg null": (rsa_jwk(alg=None), Reason.KEY_ALGORITHM),
    "n missing": ({**rsa_jwk(), "n": None}, Reason.KEY_MALFORMED),
    "n not base64url": (rsa_jwk(n="a+b="), Reason.KEY_MALFORMED),
    "n not ASCII": (rsa_jwk(n="\u00e9"), Reason.KEY_MALFORMED),
    "n with a leading zero": (rsa_jwk(n=encode(b"\x00" + MODULUS.to_bytes(256))), Reason.KEY_MALFORMED),
    "n of 2047 bits": (rsa_jwk(n=_number(2**2047 - 1)), Reason.KEY_SIZE),
    "n of 8193 bits": (rsa_jwk(n=_number(2**8192 + 1)), Reason.KEY_SIZE),
    "n even": (rsa_jwk(n=_number(2**2047)), Reason.KEY_WEAK),
    "e of 33 bits": (rsa_jwk(e=_number(2**32 + 1)), Reason.KEY_EXPONENT),
    "e is 0": (rsa_jwk(e="AA"), Reason.KEY_EXPONENT),
    "e is 2": (rsa_jwk(e="Ag"), Reason.KEY_EXPONENT),
    "e is n": (rsa_jwk(e=_number(MODULUS)), Reason.KEY_EXPONENT),
    "EC point off the curve": (ec_jwk(x=encode(b"\x01" * 32)), Reason.KEY_MALFORMED),
    "EC point at infinity": (ec_jwk(x=encode(bytes(32)), y=encode(bytes(32))), Reason.KEY_MALFORMED),
    "EC coordinate too short": (ec_jwk(x=encode(b"\x01" * 31)), Reason.KEY_MALFORMED),
    **{
        f"Ed25519 key of small order, {name}": (ed25519_jwk(x=encode(point)), Reason.KEY_WEAK)
        for name, point in {
            "the neutral point": _little(1),
            "the neutral point with a sign": _little(1 + 2**255),
            "the neutral point beyond the field": _little(2**255 - 18),
            "order 2": _little(2**255 - 20),
            "order 4": _little(0),
            "order 8": bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
            "order 8, the other": bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
        }.items()
    },
    "Ed25519 key too short": (ed25519_jwk(x=encode(b"\x01" * 31)), Reason.KEY_MALFORMED),
}


@pytest.mark.parametrize(("jwk", "reason"), UNFIT.values(), ids=UNFIT.keys())
def test_unusable_key_has_a_reason(jwk: object, reason: Reason) -> None:
    with pytest.raises(InvalidKeyError, match=f"^{reason}$"):
        parse_key(jwk, ALGORITHMS)


CANNOT_VERIFY: dict[str, dict[str, Any]] = {
    "an encryption key": rsa_jwk("a", rsa_key("b"), use="enc"),
    "the same key for encryption": rsa_jwk("a", use="enc"),
    "an encryption algorithm": rsa_jwk("a", rsa_key("b"), alg="RSA-OAEP-256"),
    "an unknown algorithm": rsa_jwk("a", rsa_key("b"), alg="RS1"),
    "an algorithm that is not accepted": rsa_jwk("a", rsa_key("b"), alg="PS256"),
    "another key type": ec_jwk(kid="a"),
    "another curve": ec_jwk(kid="a", crv="P-521"),
    "an ML-DSA key": {"kty": "AKP", "kid": "a", "alg": "ML-DSA-65", "pub": "AAAA"},
    "an X25519 key": {"kty": "OKP", "kid": "a", "crv": "X25519", "x": "AAAA"},
    "a symmetric key": {"kty": "oct", "kid": "a", "k": "AAAA"},
    "key_ops without verify": rsa_jwk("a", rsa_key("b"), key_ops=["encrypt", "wrapKey"]),
    "a short key": rsa_jwk("a", rsa_key("small", 1024)),
    "a malformed key": rsa_jwk("a", n="?"),
}


@pytest.mark.parametrize("other", CANNOT_VERIFY.values(), ids=CANNOT_VERIFY)
def test_unverifiable_key_may_share_a_key_id(other: dict[str, Any]) -> None:
    for members in ((rsa_jwk("a"), other), (other, rsa_jwk("a"))):
        key_set = parse_key_set(jwks(*members), RS256)
        key_set.keys["a"].verify("RS256", sign(b"data", rsa_key("a")), b"data")
        assert key_set.refused == {}
        assert len(key_set.left_out) == 1


@pytest.mark.parametrize("members", [{}, {"use": "sig"}, {"alg": "RS256"}, {"x5t": "AAAA"}])
def test_duplicate_is_one_key(members: dict[str, Any]) -> None:
    key_set = parse_key_set(jwks(rsa_jwk("a"), rsa_jwk("a", **members)), RS256)
    key_set.keys["a"].verify("RS256", sign(b"data", rsa_key("a")), b"data")
    assert (key_set.refused, key_set.left_out) == ({}, ())


@pytest.mark.parametrize("others", [("RS384",), ("RS384", "PS256")])
def test_key_listed_with_several_algorithms_has_them_all(others: tuple[str, ...]) -> None:
    members = [rsa_jwk("a", alg=alg) for alg in ("RS256", *others)]
    for listed in (members, members[::-1]):
        key_set = parse_key_set(jwks(*listed, ec_jwk()), ALGORITHMS)
        assert key_set.keys["a"].algorithms == {"RS256", *others}
        assert (set(key_set.keys), key_set.left_out) == ({"a", "ec"}, ())


def test_real_key_set_shapes_are_read() -> None:
    """Members without `alg`, of all types, with certificates, next to types and uses that are not usable."""
    pair = rsa_key("pair")
    members = [
        rsa_jwk("r", x5c=["MIIB"], x5t="AAAA") | {"x5t#S256": "AAAA"},
        rsa_jwk("rs256", pair, alg="RS256"),
        rsa_jwk("rs384", pair, alg="RS384"),
        rsa_jwk("enc", use="enc", alg="RSA-OAEP"),
        *(ec_jwk(f"p{bits}", bits, use="sig", key_ops=["verify"]) for bits in (256, 384, 521)),
        ec_jwk("k1", crv="secp256k1"),
        ed25519_jwk("ed", alg="EdDSA"),
        {"kty": "OKP", "crv": "Ed448", "kid": "ed448", "x": "AAAA"},
        {"kty": "NEW", "kid": "new"},
        {"kty": "NEW"},
    ]
    key_set = parse_key_set(jwks(*members)[:-1] + b',"more":1}', ALGORITHMS)
    assert list(key_set.keys) == ["r", "rs256", "rs384", "p256", "p384", "p521", "ed"]
    assert key_set.refused == {
        "enc": Reason.KEY_USE,
        "k1": Reason.KEY_TYPE,
        "ed448": Reason.KEY_TYPE,
        "new": Reason.KEY_TYPE,
    }
    assert key_set.left_out == (*key_set.refused.values(), Reason.KEY_MALFORMED)


@pytest.mark.parametrize(
    "other", [rsa_jwk("a", rsa_key("b")), rsa_jwk("a", rsa_key("b"), alg="PS256"), ec_jwk(kid="a")]
)
def test_two_usable_keys_of_one_id_are_ambiguous(other: dict[str, Any]) -> None:
    for members in ((rsa_jwk("a"), other), (other, rsa_jwk("a")), (rsa_jwk("a"), other, other)):
        key_set = parse_key_set(jwks(*members, rsa_jwk("c")), ALGORITHMS)
        assert list(key_set.keys) == ["c"]
        assert key_set.refused == {"a": Reason.KID_AMBIGUOUS}


def test_published_private_key_disables_its_key_id() -> None:
    for members in ((rsa_jwk("a"), rsa_jwk("a", d="AQAB")), (rsa_jwk("a", d="AQAB"), rsa_jwk("a"))):
        key_set = parse_key_set(jwks(*members), RS256)
        assert (key_set.keys, key_set.refused) == ({}, {"a": Reason.KEY_PRIVATE})


def test_private_members_may_be_null() -> None:
    public = rsa_jwk(d=None, p=None, q=None, dp=None, dq=None, qi=None, oth=None, k=None)
    assert parse_key_set(jwks(public), RS256).keys.keys() == {rsa_jwk()["kid"]}


def test_empty_key_set_is_valid() -> None:
    assert parse_key_set(jwks(), RS256).keys == {}


@pytest.mark.parametrize("raw", [b"", b"<html>", b"[]", b"{}", b'{"keys":{}}', b'{"keys":[],"keys":[]}', b"\xff"])
def test_invalid_key_set_is_an_internal_error(raw: bytes) -> None:
    with pytest.raises(KeySetUnavailableError, match=f"^{Reason.KEY_SET_MALFORMED}$"):
        parse_key_set(raw, RS256)


# The examples of RFC 7515, A.2 and A.3, and RFC 8037, A.4: key, signed text, signature.
_CLAIMS = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
EXAMPLES: dict[str, tuple[dict[str, str], str, str]] = {
    "RS256": (
        {
            "kty": "RSA",
            "e": "AQAB",
            "n": (
                "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJ"
                "PMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0"
                "LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uD"
                "Zlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2"
                "PAcDTW9gb54h4FRWyuXpoQ"
            ),
        },
        f"eyJhbGciOiJSUzI1NiJ9.{_CLAIMS}",
        (
            "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W"
            "2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkS"
            "jtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnv"
            "Wh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"
        ),
    ),
    "ES256": (
        {
            "kty": "EC",
            "crv": "P-256",
            "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        },
        f"eyJhbGciOiJFUzI1NiJ9.{_CLAIMS}",
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
    ),
    "EdDSA": (
        {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
        "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc",
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
    ),
}


@pytest.mark.parametrize("alg", EXAMPLES)
def test_rfc7515_appendix_a_examples_verify(alg: str) -> None:
    jwk, signed, signature = EXAMPLES[alg]
    key = parse_key({**jwk, "kid": "example", "alg": alg}, ALGORITHMS)
    key.verify(alg, base64url.decode(signature.encode()), signed.encode())
