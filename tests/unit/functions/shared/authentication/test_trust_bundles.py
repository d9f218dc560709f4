"""Trust bundles of SPIFFE bundle endpoints: rotation, outages and malformed documents."""

import json
import time
from functools import partial
from typing import Any

import pytest

from authorizer import https_client
from authorizer.clock import Clocks
from authorizer.https_client import CheckAddress
from functions.shared.authentication.ssrf_guard import require_public, require_public_or_loopback
from functions.shared.authentication.trust_bundles import (
    DEFAULT_FRESH_SECONDS,
    LONGEST_FRESH_SECONDS,
    SHORTEST_FRESH_SECONDS,
    STALE_SECONDS,
    TrustBundles,
)
from functions.shared.clients.spiffe_rules import SpiffeRules
from functions.shared.clients.trust_bundle import TrustBundle
from functions.shared.web.oauth_errors import TemporarilyUnavailableError
from tests.support.answers_server import Reply, answers_server
from tests.support.clock import ManualClock
from tests.support.spiffe import BUNDLE_ENDPOINT, DOMAIN, BundleEndpoints, TrustDomain, spiffe_rules

ORG = TrustDomain()
RULES = spiffe_rules()


class Cache:
    """A cache of bundles, its endpoint, and its clock."""

    def __init__(self) -> None:
        self.web = BundleEndpoints()
        self.clock = ManualClock()
        self.bundles = TrustBundles(self.web.send, Clocks(self.clock, self.clock))

    def key_ids(self) -> list[str]:
        return [kid.split()[1] for kid in self.bundles.current(RULES).jwt_keys("ES256").keys]

    def publish(self, *authorities: str, **members: object) -> None:
        self.web.publish(TrustDomain(jwt_authorities=list(authorities)).bundle(**members))

    def fails(self) -> str:
        with pytest.raises(TemporarilyUnavailableError) as caught:
            self.bundles.current(RULES)
        assert caught.value.headers == {"Retry-After": "1"}
        return str(caught.value.reason)


@pytest.fixture
def cache() -> Cache:
    return Cache()


@pytest.mark.parametrize(
    ("hint", "fresh_for"),
    [
        (None, DEFAULT_FRESH_SECONDS),
        (300, 300),
        (900, 900),
        (0, SHORTEST_FRESH_SECONDS),
        (-1, SHORTEST_FRESH_SECONDS),
        (1, SHORTEST_FRESH_SECONDS),
        (2_419_200, LONGEST_FRESH_SECONDS),
    ],
)
def test_spiffe_federation_4_1_refresh_hint_is_bounded(cache: Cache, hint: int | None, fresh_for: int) -> None:
    cache.publish("jwt-1", spiffe_refresh_hint=hint)
    cache.key_ids()
    cache.clock.advance(fresh_for - 1)
    cache.key_ids()
    assert len(cache.web.fetched) == 1
    cache.clock.advance(1)
    cache.key_ids()
    assert len(cache.web.fetched) == 2


def test_rotation_has_both_authorities_and_ends_the_old_one(cache: Cache) -> None:
    assert cache.key_ids() == ["jwt-1"]
    cache.publish("jwt-1", "jwt-2", spiffe_sequence=2)
    cache.clock.advance(300)
    assert cache.key_ids() == ["jwt-1", "jwt-2"]
    cache.publish("jwt-2", spiffe_sequence=3)
    assert cache.key_ids() == ["jwt-1", "jwt-2"]
    cache.clock.advance(300)
    assert cache.key_ids() == ["jwt-2"]
    cache.publish(spiffe_sequence=4)
    cache.clock.advance(300)
    assert cache.key_ids() == []


def test_outage_uses_the_bundle_for_a_limited_time(cache: Cache) -> None:
    cache.key_ids()
    cache.web.responses.clear()
    cache.clock.advance(300 + STALE_SECONDS - 1)
    assert cache.key_ids() == ["jwt-1"]
    cache.clock.advance(1)
    assert cache.fails() == (
        f"no usable bundle of {DOMAIN} from {BUNDLE_ENDPOINT}: TimeoutError from {BUNDLE_ENDPOINT}"
    )
    cache.clock.advance(120)
    cache.publish("jwt-2")
    assert cache.key_ids() == ["jwt-2"]


@pytest.mark.parametrize(
    ("sequence", "then", "is_taken"),
    [
        (5, 4, False),
        (5, 0, False),
        (2**64 - 1, 2**64 - 2, False),
        (2**53 + 1, 2**53, False),
        (5, 5, True),
        (5, 6, True),
        (5, None, True),
        (None, 1, True),
        (2**53, 2**53 + 1, True),
    ],
)
def test_spiffe_bundle_4_1_1_older_sequence_is_not_taken(
    cache: Cache, sequence: int | None, then: int | None, *, is_taken: bool
) -> None:
    cache.publish("jwt-1", spiffe_sequence=sequence)
    cache.key_ids()
    cache.publish("jwt-2", spiffe_sequence=then)
    cache.clock.advance(300)
    assert cache.key_ids() == ["jwt-2" if is_taken else "jwt-1"]


def test_older_sequence_is_taken_after_the_stale_time(cache: Cache) -> None:
    """A trust domain that was set up again must not be locked out for ever."""
    cache.publish("jwt-1", spiffe_sequence=5)
    cache.key_ids()
    cache.publish("jwt-2", spiffe_sequence=1)
    cache.clock.advance(300 + STALE_SECONDS - 1)
    assert cache.key_ids() == ["jwt-1"]
    cache.clock.advance(120)
    assert cache.key_ids() == ["jwt-2"]


@pytest.mark.parametrize(
    ("document", "fault"),
    [
        (b"", "not_json"),
        (b"[]", "not_object"),
        (b"{}", "not a JWK Set"),
        (b'{"keys": {}}', "not a JWK Set"),
        (b'{"keys": [], "keys": []}', "duplicate_member"),
        (b'{"keys": [], "spiffe_sequence": 1.5}', "spiffe_sequence is not an integer"),
        (b'{"keys": [], "spiffe_sequence": true}', "spiffe_sequence is not an integer"),
        (b'{"keys": [], "spiffe_sequence": "next"}', "spiffe_sequence is not an integer"),
        (b'{"keys": [], "spiffe_sequence": 123456789012345678901}', "number"),
        (b'{"keys": [], "spiffe_refresh_hint": "300"}', "spiffe_refresh_hint is not an integer"),
        (b'{"keys": [], "spiffe_refresh_hint": true}', "spiffe_refresh_hint is not an integer"),
        (b'{"trust_domains": {"example.org": {"keys": []}}}', "not a JWK Set"),
        (b'{"keys": ' + b"[" * 50 + b"]" * 50 + b"}", "too_deep"),
    ],
)
def test_malformed_bundle_is_unavailable(cache: Cache, document: bytes, fault: str) -> None:
    cache.web.publish(document)
    assert cache.fails().endswith(f": {fault}")


@pytest.mark.parametrize("status", [204, 301, 302, 304, 307, 308, 401, 404, 500])
def test_other_status_is_unavailable(cache: Cache, status: int) -> None:
    """Redirects are not followed."""
    cache.web.publish(ORG.bundle(), status=status)
    assert cache.fails().endswith(f": status {status}")
    assert cache.web.fetched == [BUNDLE_ENDPOINT]


def test_endpoint_uses_https() -> None:
    rules = SpiffeRules(spiffe_id="spiffe://example.org/a", spiffe_bundle_endpoint="http://localhost:9/bundle")
    cache = Cache()
    with pytest.raises(TemporarilyUnavailableError) as caught:
        cache.bundles.current(rules)
    assert "not an https URL" in str(caught.value.reason)
    assert not cache.web.fetched


def test_failing_endpoint_does_not_delay_another(cache: Cache) -> None:
    for _ in range(3):
        with pytest.raises(TemporarilyUnavailableError):
            cache.bundles.current(spiffe_rules("spiffe://other.example/a"))
    assert cache.key_ids() == ["jwt-1"]


@pytest.mark.parametrize(
    ("changes", "number"),
    [
        ({}, 1),
        ({"x5c": ["", "unread"]}, 0),
        ({"x5c": []}, 0),
        ({"x5c": None}, 0),
        ({"x5c": [7]}, 0),
        ({"x5c": ["not base64"]}, 0),
        ({"x5c": ["AAAA"]}, 0),
        ({"d": "AA"}, 0),
        ({"kid": "kid"}, 1),
        ({"use": "jwt-svid"}, 0),
        ({"use": "sig"}, 0),
    ],
)
def test_x509_svid_6_2_authorities_are_read(changes: dict[str, Any], number: int) -> None:
    bundle = ORG.bundle()
    bundle["keys"][0] |= changes
    with_another = TrustDomain(x509_authorities=["x509-2"]).bundle()["keys"][:1]
    bundle["keys"] += with_another
    assert len(TrustBundle(DOMAIN, BundleEndpoints.write(bundle)).authorities) == number + 1


@pytest.mark.parametrize(
    ("uri", "is_used"),
    [
        ("spiffe://example.org", True),
        ("spiffe://example.org/", True),
        (None, True),
        ("spiffe://other.example", False),
        ("spiffe://example.org/a", False),
        ("https://example.org", False),
    ],
)
def test_x509_svid_3_2_authority_of_another_trust_domain_is_not_used(uri: str | None, *, is_used: bool) -> None:
    member = ORG.x509_member(ORG.authority(uri=uri))
    assert len(TrustBundle(DOMAIN, BundleEndpoints.write({"keys": [member]})).authorities) == is_used


@pytest.mark.parametrize(
    ("reply", "check_address", "fault"),
    [
        (Reply(200, json.dumps({"keys": [], "padding": "x" * 70_000})), require_public_or_loopback, "more than 65536"),
        (Reply(302, "", {"Location": "/moved"}), require_public_or_loopback, "status 302"),
        (Reply(200, json.dumps(ORG.bundle())), require_public, "ForbiddenAddressError"),
        (Reply(200, json.dumps(ORG.bundle())), require_public_or_loopback, None),
    ],
    ids=["huge", "redirect", "private address", "bundle"],
)
def test_requests_over_http_are_limited(reply: Reply, check_address: CheckAddress, fault: str | None) -> None:
    clock = ManualClock()
    with answers_server() as server:
        server.answers |= {"GET /bundle": reply, "GET /moved": Reply(200, json.dumps(ORG.bundle()))}
        send = partial(https_client.send, check_address=check_address)
        bundles = TrustBundles(send, Clocks(clock, time.monotonic), http=True)
        rules = SpiffeRules(spiffe_id="spiffe://example.org/a", spiffe_bundle_endpoint=f"{server.url}/bundle")
        if fault is None:
            assert bundles.current(rules).sequence == 1
            return
        with pytest.raises(TemporarilyUnavailableError) as caught:
            bundles.current(rules)
        assert fault in str(caught.value.reason)
        assert not [asked for asked in server.received if asked.path == "/moved"]
