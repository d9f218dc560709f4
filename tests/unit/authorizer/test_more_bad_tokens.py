"""Invalid tokens beyond the numbered cases: odd spellings of each fault."""

import json
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from jwt.utils import base64url_decode

from authorizer.clock import Deadline
from authorizer.errors import InvalidTokenError, Reason
from tests.strictness.cases import (
    ISSUER,
    MODULUS,
    OTHER_ISSUER,
    World,
    claims,
    forge,
    forge_claims,
    forge_header,
    mint,
    verifier,
)
from tests.support.tokens import (
    CLIENT,
    KID,
    NOW,
    ec_jwk,
    ec_key,
    ed25519_jwk,
    ed25519_key,
    encode,
    rsa_jwk,
    rsa_key,
    sign,
)

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
ED25519_ORDER = 2**252 + 27742317777372353535851937790883648493
ES256 = World((ec_jwk(),), frozenset({"ES256"}))
PS256 = World((rsa_jwk(alg="PS256"),), frozenset({"PS256"}))
EDDSA = World((ed25519_jwk(),), frozenset({"EdDSA"}))
MIXED = World(
    (rsa_jwk(), rsa_jwk("pss", rsa_key(), alg="PS256"), ec_jwk(), ed25519_jwk()),
    frozenset({"RS256", "PS256", "ES256", "EdDSA"}),
)


def _payload(more: str, **changes: object) -> str:
    """Sign valid claims with more members, verbatim."""
    return forge(payload=f"{json.dumps(claims(**changes))[:-1]},{more}}}".encode())


def _header(text: str) -> str:
    return forge(text.encode())


def _signed_by(alg: str, kid: str, sign: Callable[[bytes], bytes]) -> str:
    header = encode(json.dumps({"alg": alg, "kid": kid}).encode())
    signing_input = f"{header}.{encode(json.dumps(claims()).encode())}"
    return f"{signing_input}.{encode(sign(signing_input.encode()))}"


def _es256(r_and_s: Callable[[int, int], bytes]) -> str:
    def sign(data: bytes) -> bytes:
        return r_and_s(*decode_dss_signature(ec_key("ec").sign(data, ec.ECDSA(hashes.SHA256()))))

    return _signed_by("ES256", "ec", sign)


def _es256_der() -> str:
    return _signed_by("ES256", "ec", lambda raw: ec_key("ec").sign(raw, ec.ECDSA(hashes.SHA256())))


def _two(r: int, s: int) -> bytes:
    return r.to_bytes(32) + s.to_bytes(32)


def _ps256(salt: int, mgf_hash: hashes.HashAlgorithm | None = None) -> str:
    pss = padding.PSS(padding.MGF1(mgf_hash or hashes.SHA256()), salt)
    return _signed_by("PS256", KID, lambda raw: rsa_key().sign(raw, pss, hashes.SHA256()))


def _eddsa(change: Callable[[bytes], bytes]) -> str:
    return _signed_by("EdDSA", "ed", lambda raw: change(ed25519_key("ed").sign(raw)))


def _larger_s(signature: bytes) -> bytes:
    s = int.from_bytes(signature[32:], "little") + ED25519_ORDER
    return signature[:32] + s.to_bytes(32, "little")


def _small_order_signature() -> str:
    """Return a token that any key of small order has signed: R is the neutral point, S is 0."""
    return _signed_by("EdDSA", "ed", lambda _: (1).to_bytes(32, "little") + bytes(32))


def _signed_over(what: Callable[[str, str], bytes]) -> str:
    """Sign other bytes than those that a token's signature covers."""
    header, payload, _ = mint().split(".")
    return f"{header}.{payload}.{encode(sign(what(header, payload)))}"


def _rearranged(form: str) -> str:
    header, payload, signature = mint().split(".")
    return form.format(h=header, p=payload, s=signature)


STRUCTURES: dict[str, tuple[Callable[[], str], Reason]] = {
    "percent-encoded dots": (lambda: mint().replace(".", "%2E"), Reason.SEGMENT_COUNT),
    "full-width dots": (lambda: mint().replace(".", "\uff0e"), Reason.SEGMENT_ALPHABET),
    "a Cyrillic letter": (lambda: "\u0435" + mint()[1:], Reason.SEGMENT_ALPHABET),
    "a NUL at the end": (lambda: mint() + "\x00", Reason.SEGMENT_ALPHABET),
    "the tilde of selective disclosure": (lambda: mint() + "~", Reason.SEGMENT_ALPHABET),
    "a disclosure": (lambda: f"{mint()}~{encode(b'[1]')}~", Reason.SEGMENT_ALPHABET),
    "a dot before": (lambda: "." + mint(), Reason.SEGMENT_COUNT),
    "a dot behind": (lambda: mint() + ".", Reason.SEGMENT_COUNT),
    "no payload": (lambda: _rearranged("{h}..{s}"), Reason.PAYLOAD_NOT_JSON),
    "the payload twice": (lambda: _rearranged("{p}.{p}.{s}"), Reason.ALG_MISSING),
    "the header twice": (lambda: _rearranged("{h}.{h}.{s}"), Reason.ISS_MISSING),
    "the signature twice": (lambda: _rearranged("{h}.{p}.{s}{s}"), Reason.SIGNATURE_LENGTH),
    "a signature of the header": (lambda: _signed_over(lambda header, _: header.encode()), Reason.SIGNATURE_INVALID),
    "a signature of the payload": (lambda: _signed_over(lambda _, payload: payload.encode()), Reason.SIGNATURE_INVALID),
    "a signature of what is encoded": (
        lambda: _signed_over(lambda *parts: b".".join(map(base64url_decode, parts))),
        Reason.SIGNATURE_INVALID,
    ),
    "a signature of both without a dot": (
        lambda: _signed_over(lambda *parts: "".join(parts).encode()),
        Reason.SIGNATURE_INVALID,
    ),
}

HEADERS: dict[str, tuple[Callable[[], str], Reason]] = {
    "alg spelt with an escape, twice": (
        lambda: _header('{"alg":"RS256","\\u0061lg":"none","kid":"key-1"}'),
        Reason.HEADER_DUPLICATE_MEMBER,
    ),
    "Alg in place of alg": (lambda: _header('{"Alg":"RS256","kid":"key-1"}'), Reason.ALG_MISSING),
    "alg with a zero width space": (lambda: forge_header(alg="RS256\u200b"), Reason.ALG_NOT_ALLOWED),
    "alg of full-width letters": (lambda: forge_header(alg="\uff32\uff33\uff12\uff15\uff16"), Reason.ALG_NOT_ALLOWED),
    "alg with a NUL": (lambda: forge_header(alg="RS256\x00"), Reason.ALG_NOT_ALLOWED),
    "alg none with spaces": (lambda: forge_header(alg=" none "), Reason.ALG_NOT_ALLOWED),
    "alg an object": (lambda: forge_header(alg={"RS256": 1}), Reason.ALG_NOT_STRING),
    "alg false": (lambda: forge_header(alg=False), Reason.ALG_NOT_STRING),
    "HS512 in lower case": (lambda: forge_header(alg="hs512"), Reason.ALG_SYMMETRIC),
    "an algorithm of encryption": (lambda: forge_header(alg="RSA-OAEP"), Reason.ALG_NOT_ALLOWED),
    "the signature suite's name": (lambda: forge_header(alg="SHA256withRSA"), Reason.ALG_NOT_ALLOWED),
    "kid with a byte order mark": (lambda: forge_header(kid="\ufeff" + KID), Reason.KID_CHARACTERS),
    "kid with a combining letter": (lambda: forge_header(kid=KID + "\u0301"), Reason.KID_CHARACTERS),
    "kid with a space at its end": (lambda: forge_header(kid=KID + " "), Reason.KID_UNKNOWN),
    "kid in another case": (lambda: forge_header(kid=KID.upper()), Reason.KID_UNKNOWN),
    "kid a list": (lambda: forge_header(kid=[KID]), Reason.KID_NOT_STRING),
    "kid of DEL": (lambda: forge_header(kid="\x7f"), Reason.KID_CHARACTERS),
    "typ with a parameter": (lambda: forge_header(typ="JWT; charset=utf-8"), Reason.TYP_NOT_ALLOWED),
    "typ with application twice": (lambda: forge_header(typ="application/application/jwt"), Reason.TYP_NOT_ALLOWED),
    "typ with a space": (lambda: forge_header(typ="JWT "), Reason.TYP_NOT_ALLOWED),
    "typ a list": (lambda: forge_header(typ=["JWT"]), Reason.TYP_NOT_STRING),
    "typ of a JWE": (lambda: forge_header(typ="JOSE"), Reason.TYP_NOT_ALLOWED),
    "b64 false, spelt with an escape": (
        lambda: _header('{"alg":"RS256","kid":"key-1","\\u0062\\u0036\\u0034":false}'),
        Reason.B64_PRESENT,
    ),
    "b64 null": (lambda: forge_header(b64=None), Reason.B64_PRESENT),
    "zip empty": (lambda: forge_header(zip=""), Reason.ZIP_PRESENT),
    "cty null": (lambda: forge_header(cty=None), Reason.CTY_PRESENT),
    "jwk null": (lambda: forge_header(jwk=None), Reason.JWK_PRESENT),
    "crit and alg none": (lambda: forge_header(alg="none", crit=["exp"]), Reason.CRIT_PRESENT),
    "single quotes": (lambda: _header("{'alg':'RS256','kid':'key-1'}"), Reason.HEADER_NOT_JSON),
    "a comma at the end": (lambda: _header('{"alg":"RS256","kid":"key-1",}'), Reason.HEADER_NOT_JSON),
    "a comment": (lambda: _header('{"alg":"RS256",/**/"kid":"key-1"}'), Reason.HEADER_NOT_JSON),
    "a no-break space": (lambda: _header('{"alg":"RS256",\u00a0"kid":"key-1"}'), Reason.HEADER_NOT_JSON),
    "a form feed": (lambda: _header('{"alg":"RS256",\f"kid":"key-1"}'), Reason.HEADER_NOT_JSON),
    "a NUL at the end": (lambda: _header('{"alg":"RS256","kid":"key-1"}\x00'), Reason.HEADER_NOT_JSON),
    "a bare control character": (lambda: _header('{"alg":"RS256","kid":"key-1","x":"\x01"}'), Reason.HEADER_NOT_JSON),
    "a nested member twice": (
        lambda: _header('{"alg":"RS256","kid":"key-1","x":[{"a":1,"a":1}]}'),
        Reason.HEADER_DUPLICATE_MEMBER,
    ),
    "an overlong letter": (lambda: forge(b'{"\xc1\xa1lg":"RS256","kid":"key-1"}'), Reason.HEADER_NOT_UTF8),
    "a surrogate in UTF-8": (lambda: forge(b'{"alg":"RS256","kid":"\xed\xa0\x80"}'), Reason.HEADER_NOT_UTF8),
    "half a surrogate pair in a name": (
        lambda: _header('{"alg":"RS256","kid":"key-1","\\udc00":1}'),
        Reason.HEADER_SURROGATE,
    ),
    "a password of many rounds": (lambda: forge_header(alg="PBES2-HS256+A128KW", p2c=10**9), Reason.ALG_NOT_ALLOWED),
    "kid percent-encoded": (lambda: forge_header(kid="%6bey-1"), Reason.KID_UNKNOWN),
    "typ of another tree": (lambda: forge_header(typ="text/at+jwt"), Reason.TYP_NOT_ALLOWED),
    "typ of full-width letters": (lambda: forge_header(typ="\uff4a\uff57\uff54"), Reason.TYP_NOT_ALLOWED),
    "typ of a client's assertion": (lambda: forge_header(typ="client-authentication+jwt"), Reason.TYP_NOT_ALLOWED),
    "typ of an introspection answer": (lambda: forge_header(typ="token-introspection+jwt"), Reason.TYP_NOT_ALLOWED),
    "UTF-32": (lambda: forge('{"alg":"RS256","kid":"key-1"}'.encode("utf-32-be")), Reason.HEADER_NOT_JSON),
}

PAYLOADS: dict[str, tuple[Callable[[], str], Reason]] = {
    "exp beyond a double's integers": (lambda: _payload('"exp":9007199254740993', exp=...), Reason.PAYLOAD_NUMBER),
    "exp with a plus": (lambda: _payload('"exp":+1700000060', exp=...), Reason.PAYLOAD_NOT_JSON),
    "exp with a leading zero": (lambda: _payload('"exp":01700000060', exp=...), Reason.PAYLOAD_NOT_JSON),
    "exp in hexadecimal": (lambda: _payload('"exp":0x7fffffff', exp=...), Reason.PAYLOAD_NOT_JSON),
    "exp with underscores": (lambda: _payload('"exp":1_700_000_060', exp=...), Reason.PAYLOAD_NOT_JSON),
    "exp of Arabic digits": (lambda: _payload('"exp":\u0661\u0667', exp=...), Reason.PAYLOAD_NOT_JSON),
    "exp 1e3": (lambda: _payload('"exp":1e3', exp=..., iat=..., nbf=...), Reason.EXPIRED),
    "exp 1e300": (lambda: _payload('"exp":1e300', exp=...), Reason.LIFETIME_TOO_LONG),
    "exp -0": (lambda: _payload('"exp":-0', exp=..., iat=..., nbf=...), Reason.EXPIRED),
    "exp -0.0": (lambda: _payload('"exp":-0.0', exp=..., iat=..., nbf=...), Reason.EXPIRED),
    "exp in milliseconds": (lambda: forge_claims(exp=(NOW + 60) * 1000), Reason.LIFETIME_TOO_LONG),
    "exp a list": (lambda: forge_claims(exp=[NOW + 60]), Reason.EXP_MALFORMED),
    "exp an object": (lambda: forge_claims(exp={"": NOW + 60}), Reason.EXP_MALFORMED),
    "exp with a space in its name": (lambda: _payload(f'"exp ":{NOW + 60}', exp=...), Reason.EXP_MISSING),
    "exp a hair ago": (lambda: _payload(f'"exp":{NOW}.0000001e0', exp=..., iat=NOW + 1), Reason.IAT_AFTER_EXP),
    "exp and EXP, the first one missing": (lambda: _payload(f'"EXP":{NOW + 60}', exp=...), Reason.EXP_MISSING),
    "iat in milliseconds": (lambda: forge_claims(iat=NOW * 1000), Reason.IAT_AFTER_EXP),
    "iat 1e308": (lambda: _payload('"iat":1e308', iat=...), Reason.IAT_AFTER_EXP),
    "iat before all time": (lambda: forge_claims(iat=-1), Reason.IAT_MALFORMED),
    "iat 0": (lambda: forge_claims(iat=0), Reason.LIFETIME_TOO_LONG),
    "nbf false": (lambda: forge_claims(nbf=False), Reason.NBF_MALFORMED),
    "nbf 1e300": (lambda: _payload('"nbf":1e300', nbf=...), Reason.NOT_YET_VALID),
    "nbf an object": (lambda: forge_claims(nbf={}), Reason.NBF_MALFORMED),
    "a number of -Infinity": (lambda: _payload('"x":-Infinity'), Reason.PAYLOAD_NUMBER),
    "a nested number of 1e309": (lambda: _payload('"x":[{"y":1e309}]'), Reason.PAYLOAD_NUMBER),
    "a nested integer of 17 digits": (lambda: _payload('"x":[99999999999999999]'), Reason.PAYLOAD_NUMBER),
    "a deeply nested member twice": (
        lambda: _payload('"x":[[[{"a":{"b":1,"\\u0062":2}}]]]'),
        Reason.PAYLOAD_DUPLICATE_MEMBER,
    ),
    "the empty name twice": (lambda: _payload('"":1,"":1'), Reason.PAYLOAD_DUPLICATE_MEMBER),
    "aud a nested list": (lambda: forge_claims(aud=[[CLIENT]]), Reason.AUD_MALFORMED),
    "aud a list with null": (lambda: forge_claims(aud=[CLIENT, None]), Reason.AUD_MALFORMED),
    "aud a list with an empty text": (lambda: forge_claims(aud=[CLIENT, ""]), Reason.AUD_MALFORMED),
    "aud a list in a text": (lambda: forge_claims(aud=f'["{CLIENT}"]'), Reason.AUD_OTHER),
    "aud several in a text": (lambda: forge_claims(aud=f"{CLIENT} other"), Reason.AUD_OTHER),
    "aud with a NUL": (lambda: forge_claims(aud=CLIENT + "\x00"), Reason.AUD_OTHER),
    "aud decomposed": (lambda: forge_claims(aud=CLIENT + "\u0301"), Reason.AUD_OTHER),
    "iss with a default port": (lambda: forge_claims(iss=ISSUER.replace(".com", ".com:443")), Reason.ISS_UNKNOWN),
    "iss with user information": (lambda: forge_claims(iss=ISSUER.replace("://", "://x@")), Reason.ISS_UNKNOWN),
    "iss with a fragment": (lambda: forge_claims(iss=ISSUER + "#"), Reason.ISS_UNKNOWN),
    "iss percent-encoded": (lambda: forge_claims(iss=ISSUER.replace("auth", "%61uth")), Reason.ISS_UNKNOWN),
    "iss with a line feed": (lambda: forge_claims(iss=ISSUER + "\n"), Reason.ISS_UNKNOWN),
    "iss an object": (lambda: forge_claims(iss={"url": ISSUER}), Reason.ISS_NOT_STRING),
    "iss twice, once escaped": (lambda: _payload(f'"\\u0069ss":"{OTHER_ISSUER}"'), Reason.PAYLOAD_DUPLICATE_MEMBER),
    "sub a list": (lambda: forge_claims(sub=[CLIENT]), Reason.SUB_MALFORMED),
    "sub with a right-to-left mark": (lambda: forge_claims(sub="\u202eroot"), Reason.SUB_MALFORMED),
    "sub with an escape sequence": (lambda: forge_claims(sub="\x1b[31mroot"), Reason.SUB_MALFORMED),
    "scope true": (lambda: forge_claims(scope=True), Reason.SCOPE_MALFORMED),
    "scope nested": (lambda: forge_claims(scope=[["country.read"]]), Reason.SCOPE_MALFORMED),
    "scope with commas and spaces": (lambda: forge_claims(scope="country.read, "), Reason.SCOPE_MALFORMED),
    "scope with a no-break space": (
        lambda: forge_claims(scope="country.read\u00a0customer.read"),
        Reason.SCOPE_MALFORMED,
    ),
    "scope with a backslash": (lambda: forge_claims(scope="a\\b"), Reason.SCOPE_MALFORMED),
    "scope with a line feed at its end": (lambda: forge_claims(scope="country.read\n"), Reason.SCOPE_MALFORMED),
    "scope star among others": (lambda: forge_claims(scope="country.read *"), Reason.SCOPE_WILDCARD),
    "scp null beside scope": (lambda: forge_claims(scp=None), Reason.SCOPE_MALFORMED),
    "jti null": (lambda: forge_claims(jti=None), Reason.JTI_MALFORMED),
    "jti with a tab": (lambda: forge_claims(jti="a\tb"), Reason.JTI_MALFORMED),
    "client_id null": (lambda: forge_claims(client_id=None), Reason.CLIENT_ID_MALFORMED),
    "azp a list": (lambda: forge_claims(azp=[CLIENT]), Reason.CLIENT_ID_MALFORMED),
    "cnf null": (lambda: forge_claims(cnf=None), Reason.CNF_MALFORMED),
    "cnf a list": (lambda: forge_claims(cnf=[{"jkt": "A" * 43}]), Reason.CNF_MALFORMED),
    "cnf with padding": (lambda: forge_claims(cnf={"jkt": "A" * 43 + "="}), Reason.CNF_MALFORMED),
    "cnf in another case": (lambda: forge_claims(cnf={"JKT": "A" * 43}), Reason.CNF_UNKNOWN),
    "token_use null": (lambda: forge_claims(token_use=None), Reason.ID_TOKEN),
    "aud in capitals": (lambda: forge_claims(aud=CLIENT.upper()), Reason.AUD_OTHER),
    "aud an object": (lambda: forge_claims(aud={CLIENT: True}), Reason.AUD_MALFORMED),
    "nbf after exp": (lambda: forge_claims(nbf=NOW + 90, exp=NOW + 60), Reason.NOT_YET_VALID),
    "exp a moment ago": (lambda: forge_claims(exp=NOW - 0.001), Reason.IAT_AFTER_EXP),
    "sub with a no-break space": (lambda: forge_claims(sub="a\u00a0b"), Reason.SUB_MALFORMED),
    "scope an object": (lambda: forge_claims(scope={"country.read": 1}), Reason.SCOPE_MALFORMED),
    "scope two in one item": (lambda: forge_claims(scope=["a b"]), Reason.SCOPE_MALFORMED),
    "cnf with a line feed": (lambda: forge_claims(cnf={"jkt": "A" * 43 + "\n"}), Reason.CNF_MALFORMED),
    "cnf of a whole key": (lambda: forge_claims(cnf={"jwk": rsa_jwk()}), Reason.CNF_UNKNOWN),
    "UTF-16": (lambda: forge(payload=json.dumps(claims()).encode("utf-16")), Reason.PAYLOAD_NOT_UTF8),
    "a byte order mark": (
        lambda: forge(payload=b"\xef\xbb\xbf" + json.dumps(claims()).encode()),
        Reason.PAYLOAD_NOT_JSON,
    ),
    "s_hash": (lambda: forge_claims(s_hash="h"), Reason.ID_TOKEN),
}

SIGNATURES: dict[str, tuple[Callable[[], str], Reason, World]] = {
    "ES256 in DER": (_es256_der, Reason.SIGNATURE_LENGTH, ES256),
    "ES256 with r of 0": (lambda: _es256(lambda _, s: _two(0, s)), Reason.SIGNATURE_INVALID, ES256),
    "ES256 with s of 0": (lambda: _es256(lambda r, _: _two(r, 0)), Reason.SIGNATURE_INVALID, ES256),
    "ES256 with r and s of 0": (lambda: _es256(lambda _r, _s: bytes(64)), Reason.SIGNATURE_INVALID, ES256),
    "ES256 with r and s of the order": (
        lambda: _es256(lambda _r, _s: _two(P256_ORDER, P256_ORDER)),
        Reason.SIGNATURE_INVALID,
        ES256,
    ),
    "ES256 with r and s exchanged": (lambda: _es256(lambda r, s: _two(s, r)), Reason.SIGNATURE_INVALID, ES256),
    "ES256 with a byte too many": (lambda: _es256(lambda r, s: b"\x00" + _two(r, s)), Reason.SIGNATURE_LENGTH, ES256),
    "PS256 without salt": (lambda: _ps256(0), Reason.SIGNATURE_INVALID, PS256),
    "PS256 with the longest salt": (
        lambda: _ps256(padding.PSS.MAX_LENGTH),  # type: ignore[arg-type]
        Reason.SIGNATURE_INVALID,
        PS256,
    ),
    "PS256 with a salt of 20 bytes": (lambda: _ps256(20), Reason.SIGNATURE_INVALID, PS256),
    "PS256 with SHA-1 in its mask": (
        lambda: _ps256(32, hashes.SHA1()),  # noqa: S303 - that is what is to be refused
        Reason.SIGNATURE_INVALID,
        PS256,
    ),
    "EdDSA with S beyond the order": (lambda: _eddsa(_larger_s), Reason.SIGNATURE_INVALID, EDDSA),
    "EdDSA with a byte too few": (lambda: _eddsa(lambda raw: raw[:-1]), Reason.SIGNATURE_LENGTH, EDDSA),
    "EdDSA of zeros": (lambda: _eddsa(lambda _: bytes(64)), Reason.SIGNATURE_INVALID, EDDSA),
    "an Ed25519 key of small order": (
        _small_order_signature,
        Reason.KEY_WEAK,
        World((ed25519_jwk(x=encode((1).to_bytes(32, "little"))),), frozenset({"EdDSA"})),
    ),
    "RS256 under the id of an EC key": (lambda: forge_header(kid="ec"), Reason.ALG_NOT_OF_KEY, MIXED),
    "RS256 under the id of the same key for PS256": (lambda: forge_header(kid="pss"), Reason.ALG_NOT_OF_KEY, MIXED),
    "PS256 under the id of a key for RS256": (lambda: _ps256(32), Reason.ALG_NOT_OF_KEY, MIXED),
    "EdDSA named Ed25519": (lambda: _signed_by("Ed25519", "ed", ed25519_key("ed").sign), Reason.ALG_NOT_ALLOWED, MIXED),
    "an EC point off the curve": (
        lambda: _es256(_two),
        Reason.KEY_MALFORMED,
        World((ec_jwk(y=encode((2).to_bytes(32))),), frozenset({"ES256"})),
    ),
    "an EC point at infinity": (
        lambda: _es256(_two),
        Reason.KEY_MALFORMED,
        World((ec_jwk(x=encode(bytes(32)), y=encode(bytes(32))),), frozenset({"ES256"})),
    ),
    "an RSA exponent of 0": (mint, Reason.KEY_EXPONENT, World((rsa_jwk(e="AA"),))),
    "an RSA exponent of n": (mint, Reason.KEY_EXPONENT, World((rsa_jwk(e=encode(MODULUS.to_bytes(256))),))),
    "a key that is a list": (mint, Reason.KID_UNKNOWN, World(([rsa_jwk()],))),  # type: ignore[arg-type]
}


def _refusal(token: str, world: World = World()) -> Reason:  # noqa: B008 - nothing changes it
    with pytest.raises(InvalidTokenError) as refused:
        verifier(world).verify(token, NOW, Deadline(1))
    return refused.value.reason


@pytest.mark.parametrize(("make", "reason"), STRUCTURES.values(), ids=STRUCTURES.keys())
def test_odd_text_is_rejected_with_its_reason(make: Callable[[], str], reason: Reason) -> None:
    assert _refusal(make()) is reason


@pytest.mark.parametrize(("make", "reason"), (HEADERS | PAYLOADS).values(), ids=(HEADERS | PAYLOADS).keys())
def test_odd_header_or_payload_is_rejected(make: Callable[[], str], reason: Reason) -> None:
    assert _refusal(make()) is reason


@pytest.mark.parametrize(("make", "reason", "world"), SIGNATURES.values(), ids=SIGNATURES.keys())
def test_odd_signature_or_key_is_rejected(make: Callable[[], str], reason: Reason, world: World) -> None:
    assert _refusal(make(), world) is reason


GOOD: dict[str, tuple[Callable[[], str], World]] = {
    "ES256": (lambda: _es256(_two), ES256),
    "PS256": (lambda: _ps256(32), PS256),
    "EdDSA": (lambda: _eddsa(bytes), EDDSA),
    "RS256 among keys of other types": (mint, MIXED),
    "exp with a fraction": (lambda: forge_claims(exp=NOW + 0.5, iat=NOW), World()),
    "exp in scientific notation": (lambda: _payload('"exp":1.70000006e9', exp=...), World()),
    "typ in another case": (lambda: forge_header(typ="application/JWT"), World()),
    "names that look like claims": (
        lambda: _payload('"EXP":1,"\\u0435xp":1,"iss ":"x","__proto__":{"sub":"root"}'),
        World(),
    ),
    "an escape in a claim's name": (
        lambda: forge(payload=json.dumps(claims()).replace('"iss"', '"\\u0069ss"').encode()),
        World(),
    ),
}


@pytest.mark.parametrize(("make", "world"), GOOD.values(), ids=GOOD.keys())
def test_unusual_valid_token_is_accepted(make: Callable[[], str], world: World) -> None:
    assert verifier(world).verify(make(), NOW, Deadline(1)).subject == CLIENT
