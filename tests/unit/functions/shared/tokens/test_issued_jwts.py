import json
from typing import Any

import jwt
import pytest

from authorizer import jws
from authorizer.errors import InvalidTokenError, Reason
from functions.issue_token.grants import Grant
from functions.issue_token.minting import JwtMint, validity
from functions.shared.clients.client import TokenProfile
from functions.shared.keys import key_ring
from functions.shared.keys.key_ring import CachedKeyRing, UnusableKeyRingError
from functions.shared.keys.signers import LocalSigners
from functions.shared.tokens.token_lookup import IssuedJwts
from tests.support.aws import ISSUER, KEY_RING_SECRET, SIGNING_KEYS_SECRET
from tests.support.clock import ManualClock
from tests.support.memory_stores import MemoryDenyList, MemorySecrets
from tests.support.server import NOW, client, key, ring, secrets


def _mint(store: MemorySecrets, profile: TokenProfile = TokenProfile.PLAIN) -> str:
    warm = CachedKeyRing(store, KEY_RING_SECRET, ManualClock(NOW))
    mint = JwtMint(ISSUER, LocalSigners(warm, store, SIGNING_KEYS_SECRET))
    known = client(token_profile=profile, audience=("https://api",))
    grant = Grant(known, ("customer.read", "country.read"), known.audience)
    return mint.mint(grant, validity(NOW, known.token_lifetime)).text


def _jwts(store: MemorySecrets, clock: ManualClock | None = None) -> IssuedJwts:
    clock = clock or ManualClock(NOW)
    return IssuedJwts(ISSUER, CachedKeyRing(store, KEY_RING_SECRET, clock), MemoryDenyList(), clock)


@pytest.mark.parametrize("profile", TokenProfile)
def test_token_of_either_profile_is_recognised(profile: TokenProfile) -> None:
    store = secrets()
    issued = _jwts(store).verify(_mint(store, profile), NOW)
    assert issued.client_id == "service-client-jwt"
    assert issued.expires_at == NOW + 14_400
    assert issued.scopes == ("customer.read", "country.read")


def _signed(claims: dict[str, Any], signer: int = 1, **header: str) -> str:
    good = {"sub": "a", "aud": "a", "iss": ISSUER, "exp": NOW + 600, "iat": NOW, "nbf": NOW}
    headers = {"kid": key(1).kid, "typ": None, **header}
    return jwt.encode(good | claims, key(signer).private_pem, "RS256", headers=headers)


REFUSED = {
    "another issuer": (_signed({"iss": f"{ISSUER}/"}), Reason.ISS_UNKNOWN),
    "another key": (_signed({}, signer=2), Reason.SIGNATURE_INVALID),
    "an unknown key": (_signed({}, signer=2, kid=key(2).kid), Reason.KID_UNKNOWN),
    "expired": (_signed({"exp": NOW, "iat": NOW - 600}), Reason.EXPIRED),
    "a lifetime that we never grant": (_signed({"exp": NOW + 86_401}), Reason.LIFETIME_TOO_LONG),
    "no JWT at all": ("gh_at_token", Reason.SEGMENT_COUNT),
}


@pytest.mark.parametrize(("token", "reason"), REFUSED.values(), ids=REFUSED)
def test_other_tokens_are_rejected(token: str, reason: Reason) -> None:
    with pytest.raises(InvalidTokenError) as refusal:
        _jwts(secrets()).verify(token, NOW)
    assert refusal.value.reason is reason


def test_withdrawn_key_ends_cached_tokens() -> None:
    store, clock = secrets(), ManualClock(NOW)
    token, jwts = _mint(store), _jwts(store, clock)
    jwts.verify(token, NOW)
    document = json.loads(key_ring.to_json(ring()))
    document["keys"][0]["publish_until"] = NOW + 10
    store.write(KEY_RING_SECRET, json.dumps(document))
    clock.now += 60
    with pytest.raises(InvalidTokenError, match=Reason.KID_UNKNOWN):
        jwts.verify(token, clock.now)


def test_unavailable_ring_does_not_reject_a_token() -> None:
    token = _mint(secrets())
    with pytest.raises(UnusableKeyRingError):
        _jwts(MemorySecrets()).verify(token, NOW)


def test_jwt_is_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    store, parsed = secrets(), []
    token, parse_payload = _mint(store), jws.parse_payload

    def spy(raw: bytes) -> dict[str, object]:
        parsed.append(raw)
        return parse_payload(raw)

    monkeypatch.setattr(jws, "parse_payload", spy)
    jwts = _jwts(store)
    assert jwts.find(token, NOW) == jwts.find(token, NOW)
    assert len(parsed) == 1
