"""DPoP proofs: RFC 9449, 4.3, check by check."""

from collections.abc import Callable

import pytest

from authorizer.claims import LEEWAY
from authorizer.dpop import MAX_PROOF_AGE, normal_url, verify_proof
from authorizer.errors import InvalidTokenError, Reason
from authorizer.jwk_thumbprint import thumbprint
from authorizer.jws import PROOF_ALGORITHMS
from tests.support.dpop_proofs import proof, public_jwk
from tests.support.memory_server import TOKEN_URL
from tests.support.server import NOW

# RFC 9449, 4.1 and 6.1.
EXAMPLE = (
    "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNo"
    "UklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERW"
    "clUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh"
    "0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8"
    "v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg"
)
EXAMPLE_TIME = 1_562_262_616
EXAMPLE_JKT = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"


def test_rfc9449_4_1_example_is_valid() -> None:
    verified = verify_proof(EXAMPLE, "POST", "https://server.example.com/token", EXAMPLE_TIME)
    assert verified.jkt == EXAMPLE_JKT
    assert verified.jti == "-BwC3ESc6acc2lTc"
    assert verified.issued_at == EXAMPLE_TIME
    assert (verified.nonce, verified.ath) == (None, None)


@pytest.mark.parametrize("alg", sorted(PROOF_ALGORITHMS))
def test_rfc9449_4_3_each_algorithm_is_valid(alg: str) -> None:
    ath = "a" * 43
    verified = verify_proof(proof(alg, nonce="n", ath=ath), "POST", TOKEN_URL, NOW)
    assert verified.jkt == thumbprint(public_jwk(alg))
    assert (verified.nonce, verified.ath) == ("n", ath)


def test_rfc7638_3_optional_members_do_not_matter() -> None:
    jwk = public_jwk() | {"alg": "ES256", "use": "sig", "kid": "any"}
    verified = verify_proof(proof(header={"jwk": jwk}), "POST", TOKEN_URL, NOW)
    assert verified.jkt == thumbprint(public_jwk())


def _changed_signature() -> str:
    head, _, signature = proof().rpartition(".")
    return f"{head}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}"


BAD: dict[str, tuple[Callable[[], str], Reason]] = {
    "2 not a JWT": (lambda: "abc", Reason.SEGMENT_COUNT),
    # Five segments: the parser takes them for a JWE.
    "2 two proofs in one header": (lambda: f"{proof()},{proof()}", Reason.TOKEN_ENCRYPTED),
    "2 too long": (lambda: proof(x="x" * 9216), Reason.TOKEN_TOO_LONG),
    "3 no jti": (lambda: proof(jti=None), Reason.JTI_MISSING),
    "3 a jti that is no text": (lambda: proof(jti=7), Reason.JTI_MALFORMED),
    "3 a long jti": (lambda: proof(jti="j" * 257), Reason.JTI_MALFORMED),
    "3 no htm": (lambda: proof(htm=None), Reason.HTM_OTHER),
    "3 no htu": (lambda: proof(htu=None), Reason.HTU_OTHER),
    "3 no iat": (lambda: proof(iat=None), Reason.IAT_MISSING),
    "4 no typ": (lambda: proof(header={"typ": None}), Reason.TYP_NOT_ALLOWED),
    "4 typ JWT": (lambda: proof(header={"typ": "JWT"}), Reason.TYP_NOT_ALLOWED),
    "4 typ of an access token": (lambda: proof(header={"typ": "at+jwt"}), Reason.TYP_NOT_ALLOWED),
    "5 the key is for another alg": (
        lambda: proof(header={"jwk": public_jwk() | {"alg": "RS256"}}),
        Reason.ALG_NOT_OF_KEY,
    ),
    "6 another key": (lambda: proof(header={"jwk": public_jwk(number=2)}), Reason.SIGNATURE_INVALID),
    "6 a changed signature": (_changed_signature, Reason.SIGNATURE_INVALID),
    "6 no key": (lambda: proof(header={"jwk": None}), Reason.KEY_MALFORMED),
    "6 a key of another type": (lambda: proof(header={"jwk": public_jwk("EdDSA")}), Reason.KEY_ALGORITHM),
    "6 half a key": (lambda: proof(header={"jwk": {"kty": "EC", "crv": "P-256"}}), Reason.KEY_MALFORMED),
    "6 a type that is no text": (lambda: proof(header={"jwk": {"kty": []}}), Reason.KEY_TYPE),
    "8 another method": (lambda: proof(htm="GET"), Reason.HTM_OTHER),
    "8 the method in lower case": (lambda: proof(htm="post"), Reason.HTM_OTHER),
    "9 another path": (lambda: proof(htu=TOKEN_URL + "s"), Reason.HTU_OTHER),
    "9 a list": (lambda: proof(htu=[TOKEN_URL]), Reason.HTU_OTHER),
    "10 a nonce that is no text": (lambda: proof(nonce=1), Reason.NONCE_MALFORMED),
    "10 a long nonce": (lambda: proof(nonce="n" * 257), Reason.NONCE_MALFORMED),
    "11 a minute old": (lambda: proof(now=NOW - MAX_PROOF_AGE), Reason.PROOF_TOO_OLD),
    "11 from the future": (lambda: proof(now=NOW + LEEWAY + 1), Reason.IAT_IN_FUTURE),
    "11 an iat that is no number": (lambda: proof(iat="now"), Reason.IAT_MALFORMED),
    "12 an ath that is no digest": (lambda: proof(ath="a"), Reason.ATH_MALFORMED),
    "a foreign header member": (lambda: proof(header={"crit": ["x"]}), Reason.CRIT_PRESENT),
}


@pytest.mark.parametrize(("make", "reason"), BAD.values(), ids=BAD)
def test_rfc9449_4_3_invalid_proof_is_rejected(make: Callable[[], str], reason: Reason) -> None:
    with pytest.raises(InvalidTokenError, match=f"^{reason}$"):
        verify_proof(make(), "POST", TOKEN_URL, NOW)


def test_rfc9449_4_3_other_algorithm_is_rejected() -> None:
    with pytest.raises(InvalidTokenError, match=Reason.ALG_NOT_ALLOWED):
        verify_proof(proof("RS256"), "POST", TOKEN_URL, NOW, frozenset(("ES256",)))


@pytest.mark.parametrize("age", [MAX_PROOF_AGE - 1, 0, -LEEWAY])
def test_rfc9449_4_3_clocks_may_differ(age: float) -> None:
    assert verify_proof(proof(now=NOW - age), "POST", TOKEN_URL, NOW)


@pytest.mark.parametrize(
    ("htu", "url"),
    [
        ("https://a/b?x=y", "https://a/b"),
        ("https://a/b#x", "https://a/b"),
        ("HTTPS://A/b", "https://a/b"),
        ("https://a:443/b", "https://a/b"),
        ("http://a:80", "http://a/"),
        ("https://a/%7eb/%2f", "https://a/~b/%2F"),
        ("https://a/c/../b/./d", "https://a/b/d"),
        ("https://a/b/..", "https://a/"),
        ("https://a/b/.", "https://a/b/"),
        ("https://[::1]:443/b", "https://[::1]/b"),
    ],
)
def test_rfc9449_4_3_urls_are_normalised(htu: str, url: str) -> None:
    assert verify_proof(proof(htu=htu), "POST", url, NOW)


@pytest.mark.parametrize(
    ("htu", "url"),
    [
        ("http://a/b", "https://a/b"),
        ("https://a:444/b", "https://a/b"),
        ("https://a:0/b", "https://a/b"),
        ("https://a/B", "https://a/b"),
        ("https://a/b/", "https://a/b"),
        ("https://a/b%2Fc", "https://a/b/c"),
        ("https://a@a/b", "https://a/b"),
        ("https://a.evil/b", "https://a/b"),
        ("https://a/b\n", "https://a/b"),
        ("https:/a/b", "https://a/b"),
        ("//a/b", "https://a/b"),
        ("/b", "https://a/b"),
        ("", "https://a/b"),
        ("https://a:x/b", "https://a/b"),
        ("https://[a/b", "https://a/b"),
        ("https://a/" + "b" * 2048, "https://a/b"),
    ],
)
def test_rfc9449_4_3_other_url_is_rejected(htu: str, url: str) -> None:
    with pytest.raises(InvalidTokenError, match=r"htu_other|token_too_long"):
        verify_proof(proof(htu=htu), "POST", url, NOW)


def test_normal_url_is_unchanged() -> None:
    assert normal_url("https://a:443/b/c") == "https://a:443/b/c"


def test_proof_is_stored_until_it_is_too_old() -> None:
    verified = verify_proof(proof(iat=NOW + 0.5), "POST", TOKEN_URL, NOW)
    assert verified.replayable_until == NOW + MAX_PROOF_AGE + 1
    with pytest.raises(InvalidTokenError, match="proof_too_old"):
        verify_proof(proof(iat=NOW + 0.5), "POST", TOKEN_URL, verified.replayable_until)
