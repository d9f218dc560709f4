import json
from collections.abc import Sequence

import pytest

from functions.publish_jwks.handler import JwksPublisher
from functions.shared.keys import key_ring
from functions.shared.keys.key_ring import JWKS_MAX_AGE, CachedKeyRing
from functions.shared.web.audit import AuditEntry
from functions.shared.web.endpoint import ProxyResponse
from functions.shared.web.proxy_request import read_event
from tests.support.aws import KEY_RING_SECRET
from tests.support.clock import ManualClock
from tests.support.memory_stores import MemorySecrets
from tests.support.proxy_events import proxy_event
from tests.support.server import NOW, key, ring, secrets


def _get(store: MemorySecrets | None = None, *, if_none_match: str | Sequence[str] | None = None) -> ProxyResponse:
    clock = ManualClock(NOW)
    publisher = JwksPublisher(CachedKeyRing(store or secrets(), KEY_RING_SECRET, clock), clock)
    headers = {} if if_none_match is None else {"If-None-Match": if_none_match}
    return publisher(read_event(proxy_event("GET", "/oauth2/jwks", headers=headers)), AuditEntry("publish_jwks"))


@pytest.mark.parametrize(
    ("alg", "members"),
    [("RS256", {"e", "n"}), ("PS256", {"e", "n"}), ("ES256", {"crv", "x", "y"}), ("EdDSA", {"crv", "x"})],
)
def test_rfc7518_6_only_public_members_are_published(alg: str, members: set[str]) -> None:
    (jwk,) = json.loads(_get(secrets(key(1, alg)))["body"])["keys"]
    assert jwk.keys() == {"kty", "kid", "use", "alg"} | members
    assert jwk["alg"] == alg


@pytest.mark.parametrize(
    ("times", "max_age", "kids"),
    [
        ({}, JWKS_MAX_AGE, {key(1).kid, key(2).kid}),
        ({"publish_from": NOW + 100}, 100, {key(2).kid}),
        ({"publish_until": NOW + 7}, 7, {key(1).kid, key(2).kid}),
        ({"publish_until": NOW + 1000}, JWKS_MAX_AGE, {key(1).kid, key(2).kid}),
        ({"publish_from": NOW + 100, "publish_until": NOW + 200}, 100, {key(2).kid}),
        ({"publish_until": NOW}, JWKS_MAX_AGE, {key(2).kid}),
    ],
)
def test_published_keys_are_cacheable_until_a_planned_change(
    times: dict[str, int], max_age: int, kids: set[str]
) -> None:
    store = secrets(key(1), key(2))
    document = json.loads(key_ring.to_json(ring(key(1), key(2))))
    document["keys"][0] |= times
    store.write(KEY_RING_SECRET, json.dumps(document))
    answer = _get(store)
    assert {jwk["kid"] for jwk in json.loads(answer["body"])["keys"]} == kids
    assert answer["headers"]["Cache-Control"] == f"public, max-age={max_age}"
    assert answer["headers"]["Access-Control-Allow-Origin"] == "*"
    assert answer["headers"]["Content-Type"] == "application/json"


def test_etag_is_strong_and_changes_with_the_keys() -> None:
    first, same, other = (_get(secrets(key(number)))["headers"]["ETag"] for number in (1, 1, 2))
    assert first.startswith('"')
    assert first == same != other


TAG = _get()["headers"]["ETag"]


@pytest.mark.parametrize(
    "if_none_match",
    [TAG, f"W/{TAG}", f'"other", {TAG}', "*", ['"other"', TAG]],
    ids=["the tag", "weak", "in a list", "any", "in a second line"],
)
def test_matching_etag_gets_304(if_none_match: str | list[str]) -> None:
    answer = _get(if_none_match=if_none_match)
    assert (answer["statusCode"], answer["body"]) == (304, "")
    assert answer["headers"]["ETag"] == TAG
    assert answer["headers"]["Cache-Control"] == f"public, max-age={JWKS_MAX_AGE}"


@pytest.mark.parametrize(
    "if_none_match", ["", '"other"', TAG.strip('"'), TAG[:-2] + '"'], ids=["empty", "another", "without quotes", "cut"]
)
def test_other_etag_gets_the_key_set(if_none_match: str) -> None:
    assert _get(if_none_match=if_none_match)["statusCode"] == 200
