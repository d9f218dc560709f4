"""SPIFFE IDs, and clients that are registered by one."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.shared.clients.client import from_item, to_item
from functions.shared.clients.spiffe_rules import MAX_SPIFFE_ID_LENGTH, SpiffeRules, parse_spiffe_id
from functions.shared.clients.trust_bundle import TrustBundle
from tests.support.server import client
from tests.support.spiffe import BUNDLE_ENDPOINT, DOMAIN, WORKLOAD, TrustDomain, spiffe_rules, workload_client

LONGEST = f"spiffe://{DOMAIN}/".ljust(MAX_SPIFFE_ID_LENGTH, "a")


@pytest.mark.parametrize(
    ("spiffe_id", "trust_domain", "path"),
    [
        (WORKLOAD, DOMAIN, "/ns/payments/sa/worker"),
        ("spiffe://example.org", "example.org", ""),
        ("spiffe://192.0.2.1/a", "192.0.2.1", "/a"),
        ("spiffe://a_b-c.d/..a/.b/c..", "a_b-c.d", "/..a/.b/c.."),
        (LONGEST, DOMAIN, LONGEST.removeprefix(f"spiffe://{DOMAIN}")),
    ],
)
def test_spiffe_id_2_valid_id_is_read(spiffe_id: str, trust_domain: str, path: str) -> None:
    found = parse_spiffe_id(spiffe_id)
    assert found
    assert (found.trust_domain, found.path, str(found)) == (trust_domain, path, spiffe_id)


@pytest.mark.parametrize(
    "candidate",
    [
        "",
        None,
        7,
        [WORKLOAD],
        "example.org/a",
        "https://example.org/a",
        "SPIFFE://example.org/a",
        "spiffe:/example.org/a",
        "spiffe:///a",
        "spiffe://Example.org/a",
        "spiffe://EXAMPLE.ORG/a",
        "spiffe://example.org:443/a",
        "spiffe://user@example.org/a",
        "spiffe://[::1]/a",
        "spiffe://ex%61mple.org/a",
        "spiffe://exämple.org/a",
        f"spiffe://{'a' * 256}/a",
        "spiffe://example.org/",
        "spiffe://example.org/a/",
        "spiffe://example.org//a",
        "spiffe://example.org/a/./b",
        "spiffe://example.org/a/../b",
        "spiffe://example.org/..",
        "spiffe://example.org/.",
        "spiffe://example.org/a%2fb",
        "spiffe://example.org/%61",
        "spiffe://example.org/a?b",
        "spiffe://example.org/a#b",
        "spiffe://example.org/a*",
        "spiffe://example.org/*",
        "spiffe://example.org/a b",
        "spiffe://example.org/ä",
        "spiffe://example.org/a\n",
        " spiffe://example.org/a",
        "spiffe://example.org/a\\b",
        f"{LONGEST}a",
    ],
)
def test_spiffe_id_2_other_text_is_rejected(candidate: object) -> None:
    assert parse_spiffe_id(candidate) is None


@pytest.mark.parametrize(
    ("registered", "presented", "admitted"),
    [
        ("spiffe://example.org/client/*", "spiffe://example.org/client/123", True),
        ("spiffe://example.org/client/*", "spiffe://example.org/client/1/2", True),
        ("spiffe://example.org/client/*", "spiffe://example.org/client123", False),
        ("spiffe://example.org/client/*", "spiffe://example.org/client", False),
        ("spiffe://example.org/client/*", "spiffe://example.org/Client/1", False),
        ("spiffe://example.org/client/*", "spiffe://other.example/client/1", False),
        ("spiffe://example.org/*", "spiffe://example.org/a", True),
        ("spiffe://example.org/*", "spiffe://example.org", False),
        ("spiffe://example.org/*", "spiffe://example.org.evil.example/a", False),
        ("spiffe://example.org/a", "spiffe://example.org/a", True),
        ("spiffe://example.org/a", "spiffe://example.org/ab", False),
        ("spiffe://example.org/a", "spiffe://example.org/a/b", False),
        ("spiffe://example.org/a", "spiffe://other.example/a", False),
    ],
)
def test_spiffe_client_auth_5_1_prefix_has_whole_segments(registered: str, presented: str, *, admitted: bool) -> None:
    rules = SpiffeRules(spiffe_id=registered, spiffe_bundle_endpoint=BUNDLE_ENDPOINT)
    spiffe_id = parse_spiffe_id(presented)
    assert spiffe_id
    assert rules.admits(spiffe_id) is admitted
    assert rules.trust_domain == DOMAIN


_SEGMENTS = st.lists(st.sampled_from(["a", "ab", "A", ".a", "a.b", "-", "_"]), min_size=1, max_size=4)


@given(_SEGMENTS, _SEGMENTS, st.sampled_from(["example.org", "example.org.evil", "a"]))
def test_prefix_compares_segments(registered: list[str], presented: list[str], trust_domain: str) -> None:
    rules = spiffe_rules(f"spiffe://example.org/{'/'.join(registered)}/*")
    spiffe_id = parse_spiffe_id(f"spiffe://{trust_domain}/{'/'.join(presented)}")
    assert spiffe_id
    is_below = len(presented) > len(registered) and presented[: len(registered)] == registered
    assert rules.admits(spiffe_id) is (is_below and trust_domain == DOMAIN)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
_MEMBERS = st.fixed_dictionaries(
    {"use": st.sampled_from(["jwt-svid", "x509-svid"]) | _JSON},
    optional=dict.fromkeys(("kty", "crv", "x", "y", "n", "e", "kid", "alg", "x5c", "d"), _JSON),
)


@given(st.lists(_MEMBERS | _JSON, max_size=3), _JSON, _JSON)
def test_any_bundle_is_read_or_rejected(keys: list[object], sequence: object, hint: object) -> None:
    document = {"keys": keys, "spiffe_sequence": sequence, "spiffe_refresh_hint": hint}
    try:
        bundle = TrustBundle(DOMAIN, json.dumps(document).encode())
    except ValueError:
        return
    assert not bundle.jwt_keys("ES256").keys
    assert not bundle.authorities


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"spiffe_id": "spiffe://example.org"}, "has a path"),
        ({"spiffe_id": "spiffe://example.org/a*"}, "prefix of path segments"),
        ({"spiffe_id": "spiffe://example.org/*/b"}, "prefix of path segments"),
        ({"spiffe_id": "spiffe://*/a"}, "prefix of path segments"),
        ({"spiffe_id": "spiffe://Example.org/a"}, "prefix of path segments"),
        ({"spiffe_id": "spiffe://example.org/a//*"}, "prefix of path segments"),
        ({"spiffe_id": "/*"}, "prefix of path segments"),
        ({"spiffe_bundle_endpoint": ""}, "one of spiffe_bundle_endpoint, bundle and jwks_uri"),
        ({"jwks_uri": "https://keys.example"}, "one of spiffe_bundle_endpoint, bundle and jwks_uri"),
        ({"spiffe_bundle_endpoint": "http://bundles.example"}, "spiffe_bundle_endpoint is an http URL"),
        ({"spiffe_bundle_endpoint": "https://user@bundles.example"}, "spiffe_bundle_endpoint is not"),
        ({"spiffe_bundle_endpoint": "", "jwks_uri": "ftp://keys.example"}, "jwks_uri is not"),
        ({"lifetime": 0}, "lives 1 to"),
        ({"lifetime": 86_401}, "lives 1 to"),
        ({"spiffe_bundle_endpoint": "", "bundle": "{}"}, "not a JWK Set"),
        (
            {"spiffe_bundle_endpoint": "", "bundle": '{"keys": [{"kty": "EC", "use": "sig"}]}'},
            "has no key with the use",
        ),
        ({"spiffe_bundle_endpoint": "", "bundle": '{"keys": [{"use": "jwt-svid", "d": "x"}]}'}, "private"),
    ],
)
def test_invalid_registration_is_refused(changes: dict[str, object], fault: str) -> None:
    given: dict[str, object] = {"spiffe_id": WORKLOAD, "spiffe_bundle_endpoint": BUNDLE_ENDPOINT} | changes
    with pytest.raises(ValueError, match=fault):
        SpiffeRules(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "rules",
    [
        {"lifetime": 300},
        {"bundle": json.dumps(TrustDomain().bundle())},
        {"jwks_uri": "https://oidc.example/keys", "lifetime": 60, "one_time": True},
    ],
)
def test_record_of_a_client_has_its_spiffe_rules(rules: dict[str, Any]) -> None:
    known = workload_client(**rules)
    assert from_item(to_item(known)) == known


def test_record_of_other_clients_is_as_before() -> None:
    assert "spiffe" not in to_item(client())
    assert from_item(to_item(client())).spiffe is None


def test_x509_svids_need_a_bundle() -> None:
    with pytest.raises(ValueError, match="spiffe_x509 has nothing to be checked by"):
        workload_client(WORKLOAD, "spiffe_x509", jwks_uri="https://oidc.example/keys")
