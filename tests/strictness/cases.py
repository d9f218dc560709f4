"""Tokens that must be rejected, and valid ones: one table for tests and document.

`tests/unit/authorizer/test_verifier.py` holds the authorizer to it, and `make strictness` shows the same tokens to
other verifiers and writes docs/strictness.md. Each token is signed by the key that its issuer publishes, unless its
fault is the signature: nothing but the fault can be the reason. A case's number groups its variants.
"""

import hmac
import json
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, NamedTuple

import jwt
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from authorizer.claims import ClaimRules
from authorizer.clock import Clocks
from authorizer.errors import Reason
from authorizer.https_client import Response
from authorizer.jwk import parse_key_set
from authorizer.jwks_cache import JwksCache
from authorizer.verifier import TrustedIssuer, Verifier, header_rules
from tests.support import tokens
from tests.support.clock import ManualClock
from tests.support.tokens import CLIENT, KID, NOW, ec_jwk, encode, jwks, rsa_jwk, rsa_key

ISSUER = "https://auth.example.com/ms-auth-server"
OTHER_ISSUER = "https://other.example.com"
API = "https://api.example.com"
THUMBPRINT = "A" * 43
RS256 = frozenset({"RS256"})


class World(NamedTuple):
    """The trust settings of a verifier. `keys` of None means the issuer's one valid key.

    `client_ids` empty means any. `require_at_jwt` asks for RFC 9068's type and claims.
    """

    keys: tuple[Mapping[str, Any], ...] | None = None
    algorithms: frozenset[str] = RS256
    audience: str = CLIENT
    client_ids: frozenset[str] = frozenset()
    require_at_jwt: bool = False

    def key_set(self) -> bytes:
        """Write the issuer's JWKS."""
        return jwks(*((rsa_jwk(),) if self.keys is None else self.keys))


class Case(NamedTuple):
    """An invalid token. `number` is its row in docs/strictness.md."""

    number: int
    name: str
    make: Callable[[], str]
    reason: Reason
    world: World = World()


class Control(NamedTuple):
    """A valid token, which shows that a verifier accepts any."""

    name: str
    make: Callable[[], str]
    world: World = World()


def verifier(world: World) -> Verifier:
    """Return Gatehouse's verifier of this world, which also trusts a second issuer."""
    return Verifier(
        {
            ISSUER: TrustedIssuer(
                key_cache(world.key_set(), world.algorithms),
                ClaimRules(ISSUER, frozenset({world.audience}), world.client_ids, 86_400),
            ),
            OTHER_ISSUER: TrustedIssuer(
                key_cache(jwks(rsa_jwk("other")), RS256), ClaimRules(OTHER_ISSUER, frozenset(), frozenset(), 86_400)
            ),
        },
        header_rules(world.algorithms, require_at_jwt=world.require_at_jwt),
        remembered_tokens=16,
    )


def key_cache(key_set: bytes, algorithms: frozenset[str]) -> JwksCache:
    """Return the cache of a key set that never changes."""
    clock = ManualClock()
    return JwksCache(
        lambda _etag, _seconds: Response(200, {}, key_set),
        lambda raw: parse_key_set(raw, algorithms),
        Clocks(clock, clock),
    )


def claims(**changes: object) -> dict[str, Any]:
    """Return the claims of a valid token with changes; `...` removes a claim."""
    # Scopes as one text, because aws-jwt-verify refuses every token that lists them.
    good = {"iss": ISSUER, "scope": "country.read customer.read"}
    return tokens.claims(NOW, **(good | changes))


def at_jwt_claims(**changes: object) -> dict[str, Any]:
    """Return the claims of a good RFC 9068 access token, changed."""
    return tokens.at_jwt_claims(NOW, **({"iss": ISSUER} | changes))


def mint(payload: Mapping[str, Any] | None = None, **header: object) -> str:
    """Sign claims as an honest issuer does."""
    return tokens.mint(payload or claims(), KID, **header)


def forge(header: object = ..., payload: object = ..., **key: rsa.RSAPrivateKey) -> str:
    """Sign any header and payload with a true key."""
    return tokens.forge(header, claims() if payload is ... else payload, **key)


def forge_header(**members: object) -> str:
    """Sign good claims under a good header with other members; ... leaves one out."""
    header = {"alg": "RS256", "kid": KID} | members
    return forge({name: value for name, value in header.items() if value is not ...})


def forge_claims(**changes: object) -> str:
    """Sign a good header over changed claims; ... leaves one out."""
    return forge(payload=claims(**changes))


def _split(token: str) -> tuple[str, str, str]:
    header, payload, signature = token.split(".")
    return header, payload, signature


def _resigned(change: Callable[[bytes], bytes]) -> str:
    header, payload, signature = _split(mint())
    raw = change(jwt.utils.base64url_decode(signature))
    return f"{header}.{payload}.{encode(raw)}"


def _flattened() -> str:
    header, payload, signature = _split(mint())
    return json.dumps({"protected": header, "payload": payload, "signature": signature})


def _hs256(secret: bytes) -> str:
    header = encode(json.dumps({"alg": "HS256", "kid": KID}).encode())
    signing_input = f"{header}.{encode(json.dumps(claims()).encode())}"
    mac = hmac.digest(secret, signing_input.encode(), sha256)
    return f"{signing_input}.{encode(mac)}"


def _pss() -> str:
    header, payload, _ = _split(mint())
    signed = f"{header}.{payload}"
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    return f"{signed}.{encode(rsa_key().sign(signed.encode(), pss, hashes.SHA256()))}"


def _raw_rsa(block: bytes) -> str:
    """Sign an encoded block of our making with the private exponent alone."""
    header, payload, _ = _split(mint())
    numbers = rsa_key().private_numbers()
    signature = pow(int.from_bytes(block), numbers.d, numbers.public_numbers.n).to_bytes(256)
    return f"{header}.{payload}.{encode(signature)}"


_SHA256_PREFIX = bytes.fromhex("3031300d060960864801650304020105000420")
_SHA256_PREFIX_WITHOUT_NULL = bytes.fromhex("302f300b0609608648016503040201 0420".replace(" ", ""))
_SHA1_PREFIX = bytes.fromhex("3021300906052b0e03021a05000414")


def _block(prefix: bytes, digest: bytes | None = None, *, short: int = 0, after: bytes = b"") -> str:
    header, payload, _ = _split(mint())
    digest = digest or sha256(f"{header}.{payload}".encode()).digest()
    tail = prefix + digest + after
    filler = b"\xff" * (256 - 3 - len(tail) - short)
    return _raw_rsa(b"\x00\x01" + filler + b"\x00" + tail + b"\x00" * short)


def _public(encoding: Encoding, form: PublicFormat) -> bytes:
    return rsa_key().public_key().public_bytes(encoding, form)


def _bumped(character: str) -> str:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return alphabet[alphabet.index(character) + 1]


MODULUS = rsa_key().public_key().public_numbers().n
STRUCTURE: dict[str, tuple[Callable[[], str], Reason]] = {
    "1 empty": (lambda: "", Reason.TOKEN_EMPTY),
    "2 one segment": (lambda: _split(mint())[0], Reason.SEGMENT_COUNT),
    "2 two segments": (lambda: ".".join(_split(mint())[:2]), Reason.SEGMENT_COUNT),
    "2 four segments": (lambda: mint() + ".e30", Reason.SEGMENT_COUNT),
    "2 dots only": (lambda: "..", Reason.HEADER_NOT_JSON),
    "3 encrypted": (lambda: mint() + ".e30.e30", Reason.TOKEN_ENCRYPTED),
    "4 JSON serialization": (_flattened, Reason.TOKEN_IN_JSON_FORM),
    "5 leading space": (lambda: " " + mint(), Reason.SEGMENT_WHITESPACE),
    "5 trailing newline": (lambda: mint() + "\n", Reason.SEGMENT_WHITESPACE),
    "5 trailing tab": (lambda: mint() + "\t", Reason.SEGMENT_WHITESPACE),
    "6 padding": (lambda: mint() + "==", Reason.SEGMENT_PADDED),
    "7 plus and slash": (lambda: mint().rpartition(".")[0] + "." + "+/" + "A" * 340, Reason.SEGMENT_ALPHABET),
    "8 exclamation mark": (lambda: mint().replace(".", ".!", 1), Reason.SEGMENT_ALPHABET),
    "8 question mark": (lambda: mint() + "?", Reason.SEGMENT_ALPHABET),
    "8 newline inside": (lambda: mint().replace(".", ".\n", 1), Reason.SEGMENT_WHITESPACE),
    "8 letter outside ASCII": (lambda: mint() + "\u00e9", Reason.SEGMENT_ALPHABET),
    "9 spare bits": (lambda: mint()[:-1] + _bumped(mint()[-1]), Reason.SEGMENT_SPARE_BITS),
    "10 length 1 mod 4": (lambda: mint() + "AAA", Reason.SEGMENT_LENGTH),
    "11 token too long": (lambda: forge_claims(extra="x" * 8000), Reason.TOKEN_TOO_LONG),
    "11 header too long": (lambda: forge_header(extra="x" * 1024), Reason.HEADER_TOO_LONG),
}
HEADER: dict[str, tuple[Callable[[], str], Reason]] = {
    **{
        f"14 alg {alg}": (lambda alg=alg: forge_header(alg=alg), Reason.ALG_NONE)  # type: ignore[misc]
        for alg in ("none", "None", "NONE", "nOnE")
    },
    "14 alg none without signature": (lambda: forge_header(alg="none").rpartition(".")[0] + ".", Reason.ALG_NONE),
    "15 alg missing": (lambda: forge_header(alg=...), Reason.ALG_MISSING),
    "15 alg null": (lambda: forge_header(alg=None), Reason.ALG_NOT_STRING),
    "15 alg number": (lambda: forge_header(alg=256), Reason.ALG_NOT_STRING),
    "15 alg list": (lambda: forge_header(alg=["RS256"]), Reason.ALG_NOT_STRING),
    "15 alg in lower case": (lambda: forge_header(alg="rs256"), Reason.ALG_NOT_ALLOWED),
    "16 HS256 with the PEM": (
        lambda: _hs256(_public(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)),
        Reason.ALG_SYMMETRIC,
    ),
    "16 HS256 with the DER": (
        lambda: _hs256(_public(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)),
        Reason.ALG_SYMMETRIC,
    ),
    "16 HS256 with the JWK": (lambda: _hs256(json.dumps(rsa_jwk()).encode()), Reason.ALG_SYMMETRIC),
    "16 HS256 with the modulus": (lambda: _hs256(MODULUS.to_bytes(256)), Reason.ALG_SYMMETRIC),
    "17 HS256 with no secret": (lambda: _hs256(b""), Reason.ALG_SYMMETRIC),
    "17 HS256 with NUL": (lambda: _hs256(b"\x00"), Reason.ALG_SYMMETRIC),
    "17 HS256 with a common secret": (lambda: _hs256(b"secret"), Reason.ALG_SYMMETRIC),
    **{
        f"18 {alg} where RS256 is due": (
            lambda alg=alg: forge_header(alg=alg),  # type: ignore[misc]
            Reason.ALG_NOT_ALLOWED,
        )
        for alg in ("RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA", "Ed25519", "ML-DSA-44")
    },
    "20 embedded key": (lambda: forge_header(jwk=rsa_jwk("attacker")), Reason.JWK_PRESENT),
    "21 jku": (lambda: forge_header(jku="https://evil.example/jwks"), Reason.JKU_PRESENT),
    "22 x5u": (lambda: forge_header(x5u="https://evil.example/pem"), Reason.X5U_PRESENT),
    "23 x5c": (lambda: forge_header(x5c=["MIIB"]), Reason.X5C_PRESENT),
    "24 x5t without kid": (lambda: forge_header(kid=..., x5t="AAAA"), Reason.KID_MISSING),
    "24 x5t#S256 without kid": (lambda: forge_header(kid=..., **{"x5t#S256": THUMBPRINT}), Reason.KID_MISSING),
    "24 x5t that is a kid, next to another": (lambda: forge_header(kid="unknown", x5t=KID), Reason.KID_UNKNOWN),
    "25 unknown crit": (lambda: forge_header(crit=["x"], x=1), Reason.CRIT_PRESENT),
    "26 empty crit": (lambda: forge_header(crit=[]), Reason.CRIT_PRESENT),
    "27 crit alg": (lambda: forge_header(crit=["alg"]), Reason.CRIT_PRESENT),
    "28 crit string": (lambda: forge_header(crit="exp"), Reason.CRIT_PRESENT),
    "28 crit duplicate": (lambda: forge_header(crit=["x", "x"], x=1), Reason.CRIT_PRESENT),
    "28 crit null": (lambda: forge_header(crit=None), Reason.CRIT_PRESENT),
    "29 b64 false": (lambda: forge_header(b64=False), Reason.B64_PRESENT),
    "29 b64 false with crit": (lambda: forge_header(b64=False, crit=["b64"]), Reason.CRIT_PRESENT),
    "30 b64 true with crit": (lambda: forge_header(b64=True, crit=["b64"]), Reason.CRIT_PRESENT),
    "31 zip": (lambda: forge_header(zip="DEF"), Reason.ZIP_PRESENT),
    "31 enc": (lambda: forge_header(enc="A256GCM"), Reason.ENC_PRESENT),
    "32 nested": (lambda: forge_header(cty="JWT"), Reason.CTY_PRESENT),
    "34 typ dpop+jwt": (lambda: forge_header(typ="dpop+jwt"), Reason.TYP_NOT_ALLOWED),
    "34 typ logout+jwt": (lambda: forge_header(typ="logout+jwt"), Reason.TYP_NOT_ALLOWED),
    "34 typ secevent+jwt": (lambda: forge_header(typ="application/secevent+jwt"), Reason.TYP_NOT_ALLOWED),
    "34 typ empty": (lambda: forge_header(typ=""), Reason.TYP_NOT_ALLOWED),
    "35 typ number": (lambda: forge_header(typ=1), Reason.TYP_NOT_STRING),
    "35 typ null": (lambda: forge_header(typ=None), Reason.TYP_NOT_STRING),
    "36 kid missing": (lambda: forge_header(kid=...), Reason.KID_MISSING),
    "36 kid null": (lambda: forge_header(kid=None), Reason.KID_NOT_STRING),
    "36 kid number": (lambda: forge_header(kid=1), Reason.KID_NOT_STRING),
    "36 kid object": (lambda: forge_header(kid={"a": 1}), Reason.KID_NOT_STRING),
    "36 kid empty": (lambda: forge_header(kid=""), Reason.KID_CHARACTERS),
    "37 kid over the cap": (lambda: forge_header(kid="k" * 257), Reason.KID_TOO_LONG),
    "37 kid of 10 KB": (lambda: forge_header(kid="k" * 10_240), Reason.TOKEN_TOO_LONG),
    "38 kid with CRLF": (lambda: forge_header(kid="a\r\nb"), Reason.KID_CHARACTERS),
    "38 kid with NUL": (lambda: forge_header(kid="a\x00"), Reason.KID_CHARACTERS),
    "38 kid with a lone surrogate": (lambda: forge(b'{"alg":"RS256","kid":"\\ud800"}'), Reason.HEADER_SURROGATE),
    **{
        f"39 kid {kid}": (lambda kid=kid: forge_header(kid=kid), Reason.KID_UNKNOWN)  # type: ignore[misc]
        for kid in ("../../dev/null", "/dev/null", "' OR '1'='1", "key-1|/usr/bin/id")
    },
    "40 alg twice": (lambda: forge(b'{"alg":"RS256","alg":"RS256","kid":"key-1"}'), Reason.HEADER_DUPLICATE_MEMBER),
    "40 kid twice": (lambda: forge(b'{"alg":"RS256","kid":"other","kid":"key-1"}'), Reason.HEADER_DUPLICATE_MEMBER),
    "41 header array": (lambda: forge([]), Reason.HEADER_NOT_OBJECT),
    "41 header string": (lambda: forge("RS256"), Reason.HEADER_NOT_OBJECT),
    "41 header UTF-16": (lambda: forge('{"alg":"RS256","kid":"key-1"}'.encode("utf-16")), Reason.HEADER_NOT_UTF8),
    "41 header with BOM": (lambda: forge('\ufeff{"alg":"RS256","kid":"key-1"}'.encode()), Reason.HEADER_NOT_JSON),
    "41 header with trailing garbage": (lambda: forge(b'{"alg":"RS256","kid":"key-1"}x'), Reason.HEADER_NOT_JSON),
    "41 header too deep": (
        lambda: forge(b'{"alg":"RS256","kid":"key-1","x":' + b"[" * 99 + b"]" * 99 + b"}"),
        Reason.HEADER_TOO_DEEP,
    ),
    "41 header with NaN": (lambda: forge(b'{"alg":"RS256","kid":"key-1","x":NaN}'), Reason.HEADER_NUMBER),
}
SIGNATURE: dict[str, tuple[Callable[[], str], Reason]] = {
    "42 empty": (lambda: mint().rpartition(".")[0] + ".", Reason.SIGNATURE_EMPTY),
    "43 truncated": (lambda: _resigned(lambda raw: raw[:-1]), Reason.SIGNATURE_LENGTH),
    "43 one bit flipped": (lambda: _resigned(lambda raw: raw[:-1] + bytes([raw[-1] ^ 1])), Reason.SIGNATURE_INVALID),
    "43 payload changed": (
        lambda: ".".join((_split(mint())[0], *_split(forge_claims(sub="root"))[1:2], _split(mint())[2])),
        Reason.SIGNATURE_INVALID,
    ),
    "44 leading zero byte": (lambda: _resigned(lambda raw: b"\x00" + raw), Reason.SIGNATURE_LENGTH),
    "44 trailing zero byte": (lambda: _resigned(lambda raw: raw + b"\x00"), Reason.SIGNATURE_LENGTH),
    "45 s plus n": (
        lambda: _resigned(lambda raw: (int.from_bytes(raw) + MODULUS).to_bytes(257)),
        Reason.SIGNATURE_LENGTH,
    ),
    "45 s is n": (lambda: _resigned(lambda _: MODULUS.to_bytes(256)), Reason.SIGNATURE_INVALID),
    "45 s is 0": (lambda: _resigned(lambda _: bytes(256)), Reason.SIGNATURE_INVALID),
    "45 s is 1": (lambda: _resigned(lambda _: (1).to_bytes(256)), Reason.SIGNATURE_INVALID),
    "45 s is n - 1": (lambda: _resigned(lambda _: (MODULUS - 1).to_bytes(256)), Reason.SIGNATURE_INVALID),
    "46 missing NULL": (lambda: _block(_SHA256_PREFIX_WITHOUT_NULL), Reason.SIGNATURE_INVALID),
    "46 short padding, garbage after": (lambda: _block(_SHA256_PREFIX, short=32), Reason.SIGNATURE_INVALID),
    "46 garbage inside": (lambda: _block(_SHA256_PREFIX, after=b"\x05\x00"), Reason.SIGNATURE_INVALID),
    "46 another hash": (lambda: _block(_SHA1_PREFIX, b"\x00" * 20), Reason.SIGNATURE_INVALID),
    "46 no padding at all": (
        lambda: _raw_rsa(sha256(mint().rpartition(".")[0].encode()).digest()),
        Reason.SIGNATURE_INVALID,
    ),
    "47 PSS": (_pss, Reason.SIGNATURE_INVALID),
    "48 another key with our kid": (lambda: forge(key=rsa_key("other")), Reason.SIGNATURE_INVALID),
    "49 kid of one issuer, iss of another": (
        lambda: forge({"alg": "RS256", "kid": "other"}, key=rsa_key("other")),
        Reason.KID_UNKNOWN,
    ),
    "49 iss of the other issuer": (lambda: forge_claims(iss=OTHER_ISSUER), Reason.KID_UNKNOWN),
}
PAYLOAD: dict[str, tuple[Callable[[], str], Reason]] = {
    "57 array": (lambda: forge(payload=[claims()]), Reason.PAYLOAD_NOT_OBJECT),
    "57 string": (lambda: forge(payload="claims"), Reason.PAYLOAD_NOT_OBJECT),
    "57 null": (lambda: forge(payload=None), Reason.PAYLOAD_NOT_OBJECT),
    "57 empty": (lambda: forge(payload=b""), Reason.PAYLOAD_NOT_JSON),
    "58 invalid UTF-8": (
        lambda: forge(payload=json.dumps(claims()).encode()[:-1] + b',"x":"\xff"}'),
        Reason.PAYLOAD_NOT_UTF8,
    ),
    "58 UTF-16": (lambda: forge(payload=json.dumps(claims()).encode("utf-16")), Reason.PAYLOAD_NOT_UTF8),
    "58 BOM": (lambda: forge(payload=b"\xef\xbb\xbf" + json.dumps(claims()).encode()), Reason.PAYLOAD_NOT_JSON),
    "59 trailing garbage": (lambda: forge(payload=json.dumps(claims()).encode() + b"{}"), Reason.PAYLOAD_NOT_JSON),
    **{
        f"60 {name} twice": (
            lambda member=member: forge(payload=json.dumps(claims()).encode()[:-1] + member),  # type: ignore[misc]
            Reason.PAYLOAD_DUPLICATE_MEMBER,
        )
        for name, member in {
            "exp": b',"exp":9999999999}',
            "sub": b',"sub":"root"}',
            "escaped sub": b',"\\u0073ub":"root"}',
            "nested cnf member": b',"cnf":{"jkt":"a","jkt":"b"}}',
        }.items()
    },
    "61 depth": (lambda: forge(payload=b'{"x":' + b"[" * 2500 + b"]" * 2500 + b"}"), Reason.PAYLOAD_TOO_DEEP),
    "61 depth 17": (lambda: forge(payload=b'{"x":' * 17 + b"1" + b"}" * 17), Reason.PAYLOAD_TOO_DEEP),
    **{
        f"62 {name}": (
            lambda number=number: forge(  # type: ignore[misc]
                payload=json.dumps(claims(exp=...)).encode()[:-1] + b',"exp":' + number + b"}"
            ),
            Reason.PAYLOAD_NUMBER,
        )
        for name, number in {
            "5000 digits": b"9" * 5000,
            "1e999": b"1e999",
            "NaN": b"NaN",
            "Infinity": b"Infinity",
        }.items()
    },
    "62 lone surrogate": (lambda: forge(payload=json.dumps(claims(sub="\ud800")).encode()), Reason.PAYLOAD_SURROGATE),
    "63 exp missing": (lambda: forge_claims(exp=...), Reason.EXP_MISSING),
    "64 exp null": (lambda: forge_claims(exp=None), Reason.EXP_MALFORMED),
    "64 exp true": (lambda: forge_claims(exp=True), Reason.EXP_MALFORMED),
    "64 exp negative": (lambda: forge_claims(exp=-1), Reason.EXP_MALFORMED),
    "64 exp string": (lambda: forge_claims(exp=str(NOW + 60)), Reason.EXP_MALFORMED),
    "65 exp is now": (lambda: forge_claims(exp=NOW, iat=NOW - 60), Reason.EXPIRED),
    "65 exp has passed": (lambda: forge_claims(exp=NOW - 1, iat=NOW - 60), Reason.EXPIRED),
    "66 year 9999": (lambda: forge_claims(exp=253_402_300_799), Reason.LIFETIME_TOO_LONG),
    "66 over the cap": (lambda: forge_claims(exp=NOW + 86_401), Reason.LIFETIME_TOO_LONG),
    "66 over the cap without iat": (lambda: forge_claims(exp=NOW + 86_401, iat=...), Reason.LIFETIME_TOO_LONG),
    "67 nbf in the future": (lambda: forge_claims(nbf=NOW + 31), Reason.NOT_YET_VALID),
    "67 nbf string": (lambda: forge_claims(nbf=str(NOW)), Reason.NBF_MALFORMED),
    "67 nbf null": (lambda: forge_claims(nbf=None), Reason.NBF_MALFORMED),
    "68 iat in the future": (lambda: forge_claims(iat=NOW + 31), Reason.IAT_IN_FUTURE),
    "68 iat true": (lambda: forge_claims(iat=True), Reason.IAT_MALFORMED),
    "68 iat string": (lambda: forge_claims(iat=str(NOW)), Reason.IAT_MALFORMED),
    "68 iat is exp": (lambda: forge_claims(iat=NOW + 10, exp=NOW + 10), Reason.IAT_AFTER_EXP),
    "68 iat after exp": (lambda: forge_claims(iat=NOW + 20, exp=NOW + 10), Reason.IAT_AFTER_EXP),
    "69 aud missing": (lambda: forge_claims(aud=...), Reason.AUD_MISSING),
    "69 aud other": (lambda: forge_claims(aud=API), Reason.AUD_OTHER),
    "69 aud cut short": (lambda: forge_claims(aud=CLIENT[:-1]), Reason.AUD_OTHER),
    "69 aud with a suffix": (lambda: forge_claims(aud=CLIENT + "/"), Reason.AUD_OTHER),
    "69 aud in another case": (lambda: forge_claims(aud=CLIENT.upper()), Reason.AUD_OTHER),
    "69 aud empty list": (lambda: forge_claims(aud=[]), Reason.AUD_MALFORMED),
    "69 aud object": (lambda: forge_claims(aud={"a": CLIENT}), Reason.AUD_MALFORMED),
    "69 aud number": (lambda: forge_claims(aud=1), Reason.AUD_MALFORMED),
    "69 aud null": (lambda: forge_claims(aud=None), Reason.AUD_MALFORMED),
    "69 aud empty string": (lambda: forge_claims(aud=""), Reason.AUD_MALFORMED),
    "69 aud list with a number": (lambda: forge_claims(aud=[CLIENT, 1]), Reason.AUD_MALFORMED),
    "70 iss missing": (lambda: forge_claims(iss=...), Reason.ISS_MISSING),
    "70 iss list": (lambda: forge_claims(iss=[ISSUER]), Reason.ISS_NOT_STRING),
    "70 iss null": (lambda: forge_claims(iss=None), Reason.ISS_NOT_STRING),
    **{
        f"70 iss {issuer}": (
            lambda issuer=issuer: forge_claims(iss=issuer),  # type: ignore[misc]
            Reason.ISS_UNKNOWN,
        )
        for issuer in (
            ISSUER + "/",
            ISSUER.upper(),
            ISSUER[:-1],
            "https://auth.example.com",
            ISSUER + "\u200b",
            ISSUER.replace("a", "\u0430", 1),
            ISSUER.replace("https", "http"),
        )
    },
    "71 sub missing": (lambda: forge_claims(sub=...), Reason.SUB_MISSING),
    "71 sub empty": (lambda: forge_claims(sub=""), Reason.SUB_MALFORMED),
    "71 sub number": (lambda: forge_claims(sub=1), Reason.SUB_MALFORMED),
    "71 sub null": (lambda: forge_claims(sub=None), Reason.SUB_MALFORMED),
    "71 sub with CRLF": (lambda: forge_claims(sub="a\r\nb"), Reason.SUB_MALFORMED),
    "71 sub too long": (lambda: forge_claims(sub="a" * 257), Reason.SUB_MALFORMED),
    **{
        f"72 scope {name}": (
            lambda scope=scope: forge_claims(scope=scope),  # type: ignore[misc]
            Reason.SCOPE_MALFORMED,
        )
        for name, scope in {
            "number": 1,
            "object": {"country.read": True},
            "null": None,
            "list item with a space": ["country.read customer.read"],
            "list item number": [1],
            "list item empty": [""],
            "tab between": "country.read\tcustomer.read",
            "newline between": "country.read\ncustomer.read",
            "two spaces": "country.read  customer.read",
            "trailing space": "country.read ",
            "only a space": " ",
            "quotation mark": 'country."read',
        }.items()
    },
    "72 scope star": (lambda: forge_claims(scope="*"), Reason.SCOPE_WILDCARD),
    "72 scope star in a list": (lambda: forge_claims(scope=["*"]), Reason.SCOPE_WILDCARD),
    "73 scope and scp disagree": (
        lambda: forge_claims(scope="country.read", scp=["customer.read"]),
        Reason.SCOPE_CONTRADICTION,
    ),
    "74 nonce": (lambda: forge_claims(nonce="n"), Reason.ID_TOKEN),
    "74 at_hash": (lambda: forge_claims(at_hash="h"), Reason.ID_TOKEN),
    "74 token_use id": (lambda: forge_claims(token_use="id"), Reason.ID_TOKEN),
    "74 events": (lambda: forge_claims(events={}), Reason.EVENT_TOKEN),
    "75 client_id number": (lambda: forge_claims(client_id=1), Reason.CLIENT_ID_MALFORMED),
    "75 client_id empty": (lambda: forge_claims(client_id=""), Reason.CLIENT_ID_MALFORMED),
    "75 client_id and azp disagree": (lambda: forge_claims(client_id="a", azp="b"), Reason.CLIENT_ID_CONTRADICTION),
    "75 cid and appid disagree": (lambda: forge_claims(cid="a", appid="b"), Reason.CLIENT_ID_CONTRADICTION),
    "76 cnf string": (lambda: forge_claims(cnf="jkt"), Reason.CNF_MALFORMED),
    "76 cnf empty": (lambda: forge_claims(cnf={}), Reason.CNF_MALFORMED),
    "76 cnf unknown": (lambda: forge_claims(cnf={"jwk": {}}), Reason.CNF_UNKNOWN),
    "76 cnf known and unknown": (lambda: forge_claims(cnf={"jkt": THUMBPRINT, "kid": "x"}), Reason.CNF_UNKNOWN),
    "76 cnf double": (lambda: forge_claims(cnf={"jkt": THUMBPRINT, "x5t#S256": THUMBPRINT}), Reason.CNF_SEVERAL),
    "76 cnf thumbprint too short": (lambda: forge_claims(cnf={"jkt": "short"}), Reason.CNF_MALFORMED),
}


def roca_modulus() -> int:
    """Return a number that leaves a power of 65537 on division by every small prime."""
    product = 1
    for prime in (p for p in range(3, 400, 2) if all(p % q for q in range(3, p, 2))):
        product *= prime
    modulus = pow(65537, 12345, product) + product * (2**2047 // product + 1)
    return modulus if modulus % 2 else modulus + product


def _signed_under_e_1() -> str:
    """Return a token that verifies under the exponent 1, for which anyone can make a signature."""
    header, payload, _ = _split(mint())
    digest = sha256(f"{header}.{payload}".encode()).digest()
    block = b"\x00\x01" + b"\xff" * 202 + b"\x00" + _SHA256_PREFIX + digest
    return f"{header}.{payload}.{encode(block)}"


def _without(claim: str) -> str:
    return mint(at_jwt_claims(**{claim: ...}), typ="at+jwt")


_AT_JWT = World(audience=API, require_at_jwt=True)
_ML_DSA_JWK = {"kty": "AKP", "kid": KID, "alg": "ML-DSA-44", "pub": encode(b"\x01" * 1312)}
_TWO_ALGORITHMS = frozenset({"RS256", "PS256"})
_OUR_CLIENT = World(client_ids=frozenset({CLIENT}))
_Row = tuple["Callable[[], str]", Reason, World]
ELSEWHERE: dict[str, _Row] = {
    "19 key for PS256": (mint, Reason.ALG_NOT_OF_KEY, World((rsa_jwk(alg="PS256"),), _TWO_ALGORITHMS)),
    "19 key for RS384": (mint, Reason.ALG_NOT_OF_KEY, World((rsa_jwk(alg="RS384"),), frozenset({"RS256", "RS384"}))),
    "19 key for ML-DSA-44": (mint, Reason.ALG_NOT_OF_KEY, World((_ML_DSA_JWK,), frozenset({"RS256", "ML-DSA-44"}))),
    "33 typ JWT where at+jwt is due": (lambda: mint(at_jwt_claims(), typ="JWT"), Reason.TYP_NOT_ALLOWED, _AT_JWT),
    "33 no typ where at+jwt is due": (lambda: mint(at_jwt_claims()), Reason.TYP_NOT_ALLOWED, _AT_JWT),
    **{
        f"33 at+jwt without {claim}": (lambda claim=claim: _without(claim), reason, _AT_JWT)  # type: ignore[misc]
        for claim, reason in {
            "aud": Reason.AUD_MISSING,
            "client_id": Reason.CLIENT_ID_MISSING,
            "iat": Reason.IAT_MISSING,
            "jti": Reason.JTI_MISSING,
            "exp": Reason.EXP_MISSING,
            "sub": Reason.SUB_MISSING,
        }.items()
    },
    "50 use enc": (mint, Reason.KEY_USE, World((rsa_jwk(use="enc"),))),
    "50 key_ops encrypt": (mint, Reason.KEY_OPERATIONS, World((rsa_jwk(key_ops=["encrypt"]),))),
    "51 kty oct": (mint, Reason.KEY_PRIVATE, World(({"kty": "oct", "kid": KID, "k": "AAAA"},))),
    "51 kty EC": (mint, Reason.KEY_ALGORITHM, World((ec_jwk() | {"kid": KID},))),
    "51 kty AKP": (mint, Reason.KEY_ALGORITHM, World((_ML_DSA_JWK,))),
    "51 kty AKP without alg": (
        mint,
        Reason.KEY_MALFORMED,
        World(
            ({name: value for name, value in _ML_DSA_JWK.items() if name != "alg"},), frozenset({"RS256", "ML-DSA-44"})
        ),
    ),
    "52 RSA of 1024 bits": (
        lambda: forge(key=rsa_key("small", 1024)),
        Reason.KEY_SIZE,
        World((rsa_jwk(key=rsa_key("small", 1024)),)),
    ),
    "53 e is 1": (_signed_under_e_1, Reason.KEY_EXPONENT, World((rsa_jwk(e="AQ"),))),
    "53 e is even": (mint, Reason.KEY_EXPONENT, World((rsa_jwk(e="AQAA"),))),
    "53 n is 0": (mint, Reason.KEY_SIZE, World((rsa_jwk(n="AA"),))),
    "53 n of a ROCA chip": (mint, Reason.KEY_WEAK, World((rsa_jwk(n=encode(roca_modulus().to_bytes(256))),))),
    "54 private member in the set": (mint, Reason.KEY_PRIVATE, World((rsa_jwk(d="AQAB"),))),
    "54 seed in the set": (mint, Reason.KEY_PRIVATE, World((_ML_DSA_JWK | {"priv": encode(bytes(32))},))),
    "55 two keys of one kid": (mint, Reason.KID_AMBIGUOUS, World((rsa_jwk(), rsa_jwk(key=rsa_key("other"))))),
    "75 client_id missing where it is pinned": (forge_claims, Reason.CLIENT_ID_MISSING, _OUR_CLIENT),
    "75 client_id of another client": (
        lambda: forge_claims(client_id="another"),
        Reason.CLIENT_ID_NOT_ALLOWED,
        _OUR_CLIENT,
    ),
}


def _numbered(table: Mapping[str, tuple[Callable[[], str], Reason] | _Row]) -> list[Case]:
    return [Case(int(title.split()[0]), title.split(" ", 1)[1], *row) for title, row in table.items()]


CASES = sorted(_numbered(STRUCTURE | HEADER | SIGNATURE | PAYLOAD) + _numbered(ELSEWHERE), key=lambda case: case.number)
CONTROLS = [
    Control("no typ", mint),
    Control("typ JWT", lambda: mint(typ="JWT")),
    Control("x5t", lambda: forge_header(x5t="AAAA")),
    Control("x5t#S256", lambda: forge_header(x5t=None, **{"x5t#S256": ["AAAA"]})),
    Control("whitespace in the JSON", lambda: forge(payload=json.dumps(claims(), indent=2).encode())),
    Control("empty scope", lambda: mint(claims(scope=""))),
    Control("scopes in a list", lambda: mint(claims(scope=["country.read", "customer.read"]))),
    Control("several audiences", lambda: mint(claims(aud=[API, CLIENT]))),
    Control("at+jwt", lambda: mint(at_jwt_claims(), typ="at+jwt"), _AT_JWT),
    Control("key with alg, use and key_ops", mint, World((rsa_jwk(alg="RS256", use="sig", key_ops=["verify"]),))),
]
