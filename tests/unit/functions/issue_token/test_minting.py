import json

import jwt
import pytest

from authorizer.jws import MAX_TOKEN_LENGTH
from functions.issue_token.grants import Grant
from functions.issue_token.minting import JwtMint, Validity, mint_opaque
from functions.shared.clients.client import TokenProfile
from functions.shared.clients.supported import SIGNING_ALGORITHMS
from functions.shared.keys.key_ring import CachedKeyRing, UnusableKeyRingError
from functions.shared.keys.rotation import NewKey
from functions.shared.keys.signers import LocalSigners
from functions.shared.tokens.opaque_tokens import ActiveToken
from functions.shared.tokens.token_lookup import IssuedJwts
from functions.shared.web.oauth_errors import InvalidScopeError
from tests.support.aws import ISSUER, KEY_RING_SECRET, SIGNING_KEYS_SECRET
from tests.support.clock import ManualClock
from tests.support.memory_stores import MemoryDenyList, MemoryTokens
from tests.support.server import NOW, client, key, ring, secrets

TIMES = Validity(NOW, NOW + 600)


def _jwt_mint(*keys: NewKey) -> JwtMint:
    store = secrets(*keys)
    key_ring = CachedKeyRing(store, KEY_RING_SECRET, ManualClock(NOW))
    return JwtMint(ISSUER, LocalSigners(key_ring, store, SIGNING_KEYS_SECRET))


@pytest.mark.parametrize(
    ("profile", "header", "scope"),
    [(TokenProfile.PLAIN, {}, ["x", "y"]), (TokenProfile.AT_JWT, {"typ": "at+jwt"}, "x y")],
)
def test_jwt_has_the_header_and_scope_of_its_profile(
    profile: TokenProfile, header: dict[str, str], scope: object
) -> None:
    known = client(token_profile=profile, audience=("https://api",))
    token = _jwt_mint().mint(Grant(known, ("x", "y"), known.audience), TIMES)
    assert token.kid == key().kid
    assert jwt.get_unverified_header(token.text) == {"alg": "RS256", "kid": key().kid, **header}
    (jwk,) = ring().key_set(NOW)["keys"]
    payload = jwt.PyJWS().decode(token.text, jwt.PyJWK(jwk), algorithms=["RS256"])
    assert json.loads(payload)["scope"] == scope


@pytest.mark.parametrize("alg", SIGNING_ALGORITHMS)
def test_jwt_is_signed_with_its_clients_algorithm(alg: str) -> None:
    keys = [key(1, each) for each in SIGNING_ALGORITHMS]
    token = _jwt_mint(*keys).mint(Grant(client(signing_algorithm=alg), ("x",), ("a",)), TIMES)
    assert jwt.get_unverified_header(token.text) == {"alg": alg, "kid": key(1, alg).kid}
    warm = CachedKeyRing(secrets(*keys), KEY_RING_SECRET, ManualClock(NOW))
    verified = IssuedJwts(ISSUER, warm, MemoryDenyList(), ManualClock(NOW)).verify(token.text, NOW)
    assert verified.scopes == ("x",)


@pytest.mark.parametrize(
    ("audience", "alg"),
    [
        (("https://guarded",), "ML-DSA-44"),
        (("https://native",), "RS256"),
        (("https://other",), "RS256"),
        (("https://guarded", "https://native"), "RS256"),  # one algorithm for several audiences: the client's
    ],
)
def test_audience_may_have_its_own_signing_algorithm(audience: tuple[str, ...], alg: str) -> None:
    """A ring has RS256 for native guards and ML-DSA for Gatehouse's."""
    known = client(
        audience=("https://native", "https://other"),
        allowed_resources=frozenset({"https://guarded"}),
        audience_signing_algorithms={"https://guarded": "ML-DSA-44"},
    )
    token = _jwt_mint(key(), key(1, "ML-DSA-44")).mint(Grant(known, ("x",), audience), TIMES)
    assert jwt.get_unverified_header(token.text)["alg"] == alg


def test_algorithm_without_key_is_an_internal_error() -> None:
    with pytest.raises(UnusableKeyRingError, match="no ES256 key in the ring may sign now"):
        _jwt_mint().mint(Grant(client(signing_algorithm="ES256"), (), ("a",)), TIMES)


def test_oversized_jwt_is_not_issued() -> None:
    scopes = tuple(f"{number:03}.{'x' * 60}" for number in range(100))
    mint, known = _jwt_mint(), client(scopes=frozenset(scopes))
    longest = mint.mint(Grant(known, scopes[:80], ("a",)), TIMES).text
    assert MAX_TOKEN_LENGTH - 1000 < len(longest) <= MAX_TOKEN_LENGTH
    with pytest.raises(InvalidScopeError, match="fewer scopes"):
        mint.mint(Grant(known, scopes, ("a",)), TIMES)


def test_opaque_token_is_stored_by_digest() -> None:
    store = MemoryTokens()
    token = mint_opaque(ISSUER, store, Grant(client("a"), ("x",), ("https://api",)), TIMES)
    assert token.kid is None
    assert token.text not in repr(store.by_digest)
    assert store.find(token.text, NOW) == ActiveToken(
        client_id="a",
        subject="a",
        scopes=("x",),
        audience=("https://api",),
        issuer=ISSUER,
        issued_at=NOW,
        not_before=NOW,
        expires_at=NOW + 600,
    )
