"""Trust rules: what they match, when two are ambiguous, and which are refused."""

import re
from dataclasses import replace
from itertools import product
from time import process_time
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.shared.clients.assertion_rules import FederationRule
from functions.shared.clients.trust_rule import (
    FailedClaim,
    FederatedClient,
    GrantProfile,
    Match,
    TrustRule,
    federated_clients,
    federations_overlap,
    from_item,
    patterns_intersect,
    to_item,
)
from functions.shared.storage.errors import StorageCorruptError
from tests.support.server import client
from tests.support.spiffe import spiffe_rules

ISSUER: Final = "https://token.actions.githubusercontent.com"
CLAIMS: Final = {
    "iss": ISSUER,
    "sub": "repo:acme/shop:environment:prod",
    "repository": "acme/shop",
    "environment": "prod",
    "run_attempt": 1,
    "groups": ["deployers", "readers"],
    "https://sts.amazonaws.com/": {"aws_account": "123456789012", "tags": {"team": "data"}},
}


def rule(**changes: Any) -> TrustRule:
    return TrustRule(
        **{
            "name": "deploy",
            "issuer": ISSUER,
            "client_id": "deployer",
            "claims": {"repository": "acme/shop"},
            **changes,
        }
    )


@pytest.mark.parametrize(
    "claims",
    [
        {"repository": "acme/shop"},
        {"sub": "repo:acme/*"},
        {"sub": "repo:*:environment:prod"},
        {"environment": ["staging", "prod"]},
        {"environment": ["st*", "pr*"]},
        {"run_attempt": 1},
        {"run_attempt": [1, 2]},
        {"groups": "deployers"},
        {"groups": ["admins", "read*"]},
        {"https://sts.amazonaws.com/": {"aws_account": "123456789012", "tags": {"team": ["data", "web"]}}},
    ],
    ids=str,
)
def test_rule_matches_claims_that_meet_all_conditions(claims: dict[str, Any]) -> None:
    assert rule(claims=claims).match(CLAIMS) == Match("repo:acme/shop:environment:prod", {})


@pytest.mark.parametrize(
    "claims",
    [
        {"repository": "acme/sho"},
        {"repository": "acme/shop "},
        {"repository": "Acme/shop"},
        {"sub": "repo:acme/*:environment:production"},
        {"environment": ["staging", "pro"]},
        {"environment": "prod*prod"},
        {"run_attempt": True},
        {"run_attempt": "1"},
        {"run_attempt": [2, "1"]},
        {"groups": "deploy"},
        {"repository": {"name": "acme/shop"}},
        {"https://sts.amazonaws.com/": {"aws_account": "123456789012", "org_id": "o-1"}},
        {"https://sts.amazonaws.com/": "123456789012"},
        {"missing": "x"},
    ],
    ids=str,
)
def test_failed_claims_are_named(claims: dict[str, Any]) -> None:
    (name, wanted), *_ = claims.items()
    assert rule(claims={"sub": "repo:*", **claims}).match(CLAIMS) == [FailedClaim(name, wanted, CLAIMS.get(name))]


@pytest.mark.parametrize("subject", [None, 7, "", ["a"]], ids=repr)
def test_assertion_needs_a_subject(subject: object) -> None:
    assert rule().match(CLAIMS | {"sub": subject}) == [FailedClaim("sub", "a text", subject)]


def test_rule_chooses_the_subject_and_copies_claims_that_exist() -> None:
    chosen = rule(subject="shop", copied_claims=frozenset({"environment", "repository", "ref"}))
    assert chosen.match(CLAIMS) == Match("shop", {"environment": "prod", "repository": "acme/shop"})


def test_too_long_copied_claims_do_not_match() -> None:
    failed = rule(copied_claims=frozenset({"ref"})).match(CLAIMS | {"ref": "r" * 2000})
    assert isinstance(failed, list)
    assert failed[0].name == "ref"


def test_id_jag_must_name_the_client() -> None:
    profile = rule(profile=GrantProfile.ID_JAG, claims={})
    assert profile.match(CLAIMS | {"client_id": "deployer"}) == Match(str(CLAIMS["sub"]), {})
    assert profile.match(CLAIMS | {"client_id": "other"}) == [FailedClaim("client_id", "deployer", "other")]
    assert profile.match(CLAIMS) == [FailedClaim("client_id", "deployer", None)]
    assert (profile.is_one_time, profile.requires_client) == (True, True)
    assert (profile.admits_type("oauth-id-jag+jwt"), profile.admits_type("jwt"), profile.admits_type(None)) == (
        *(True, False, False),
    )


def test_match_takes_linear_time() -> None:
    slow = rule(claims={"sub": ["a" * 50 + "*" + "b" * 50] * 30})
    started = process_time()
    for _ in range(20):
        assert isinstance(slow.match({"sub": "a" * 8000}), list)
    assert process_time() - started < 0.5


@given(st.text(alphabet="ab*", max_size=5), st.text(alphabet="ab*", max_size=5))
def test_patterns_intersect_if_a_text_matches_both(one: str, other: str) -> None:
    expressions = [re.compile(".*".join(map(re.escape, each.split("*")))) for each in (one, other)]
    length = len(one) + len(other)
    texts = ("".join(letters) for size in range(length + 1) for letters in product("ab", repeat=size))
    expected = any(all(each.fullmatch(text) for each in expressions) for text in texts)
    assert patterns_intersect(one, other) is expected


@pytest.mark.parametrize(
    ("one", "other", "is_ambiguous"),
    [
        ({"claims": {"environment": "prod"}}, {"claims": {"repository": "acme/shop"}}, True),
        ({"claims": {"environment": "prod"}}, {"claims": {"environment": "staging"}}, False),
        ({"claims": {"environment": ["prod", "staging"]}}, {"claims": {"environment": ["dev", "prod"]}}, True),
        ({"claims": {"environment": ["prod", "staging"]}}, {"claims": {"environment": ["dev", "test"]}}, False),
        ({"claims": {"sub": "repo:acme/*"}}, {"claims": {"sub": "repo:*:environment:prod"}}, True),
        ({"claims": {"sub": "repo:acme/*"}}, {"claims": {"sub": "repo:other/*"}}, False),
        ({"claims": {"run_attempt": 1}}, {"claims": {"run_attempt": True}}, False),
        ({"claims": {"a": {"b": "1", "c": "2"}}}, {"claims": {"a": {"b": "1", "d": "2"}}}, True),
        ({"claims": {"a": {"b": "1"}}}, {"claims": {"a": {"b": "2"}}}, False),
        ({"claims": {"a": {"b": "1"}}}, {"claims": {"a": "1"}}, False),
        ({}, {"issuer": "https://other.example"}, False),
        ({}, {"audience": "https://other.example"}, False),
        ({}, {"disabled": True}, False),
        ({}, {"profile": GrantProfile.ID_JAG}, False),
        ({"profile": GrantProfile.ID_JAG}, {"profile": GrantProfile.ID_JAG, "client_id": "other"}, False),
        ({"profile": GrantProfile.ID_JAG}, {"profile": GrantProfile.ID_JAG}, True),
    ],
    ids=str,
)
def test_two_rules_overlap_unless_a_condition_differs(
    one: dict[str, Any], other: dict[str, Any], *, is_ambiguous: bool
) -> None:
    a, b = rule(**one), rule(**other, name="other")
    assert (a.overlaps(b), b.overlaps(a)) == (is_ambiguous, is_ambiguous)


@pytest.mark.parametrize(
    ("other", "is_ambiguous"),
    [
        ({}, True),
        ({"subject": "repo:acme/shop:*"}, True),
        ({"subject": "repo:other/*"}, False),
        ({"audience": "https://other.example"}, False),
        ({"issuer": "https://other.example"}, False),
        ({"claims": {"ref": "main", "actor": "a"}}, True),
        ({"claims": {"ref": "dev"}}, False),
        ({"claims": {"ref": True}}, False),
    ],
    ids=str,
)
def test_two_federated_clients_overlap_unless_a_rule_differs(other: dict[str, Any], *, is_ambiguous: bool) -> None:
    plain = FederationRule(issuer=ISSUER, audience="gatehouse", subject="repo:acme/*", claims={"ref": "main"})
    assert federations_overlap(plain, replace(plain, **other)) is is_ambiguous
    one, another = (
        FederatedClient(ISSUER, name, (each,)) for name, each in (("a", plain), ("b", replace(plain, **other)))
    )
    assert one.overlaps(another) is is_ambiguous


@pytest.mark.parametrize(
    ("one", "other", "is_ambiguous"),
    [
        ("/a", "/a", True),
        ("/a", "/b", False),
        ("/a", "/a/b", False),
        ("/a/*", "/a/b", True),
        ("/a/*", "/a", False),
        ("/a/*", "/ab", False),
        ("/a/*", "/a/b/*", True),
        ("/a/*", "/ab/*", False),
        ("/*", "/a", True),
    ],
)
def test_two_spiffe_clients_overlap_if_one_id_has_both(one: str, other: str, *, is_ambiguous: bool) -> None:
    domain = "spiffe://example.org"
    first, second = (FederatedClient(domain, path, spiffe_id=domain + path) for path in (one, other))
    assert first.overlaps(second) is second.overlaps(first) is is_ambiguous
    assert not first.overlaps(FederatedClient(domain, "c"))
    assert FederatedClient(domain, "c", spiffe_id=f"{domain}/*").admits({"sub": domain + one.replace("*", "x")})
    assert not first.admits({"sub": one})
    assert not first.admits({})


def test_long_list_in_a_claim_is_compared_up_to_a_limit() -> None:
    groups = rule(claims={"groups": "deployers"})
    assert groups.match({"sub": "a", "groups": ["x"] * 199 + ["deployers"]}) == Match("a", {})
    assert groups.match({"sub": "a", "groups": ["x"] * 200 + ["deployers"]}) != Match("a", {})


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"name": ""}, "A rule's name"),
        ({"name": "a#b"}, "A rule's name"),
        ({"client_id": "a\nb"}, "A client_id"),
        ({"issuer": "http://issuer.example"}, "The issuer of a rule"),
        ({"issuer": f"{ISSUER}/{'a' * 512}"}, "more than 512 bytes"),
        ({"issuer": "spiffe://acme.example"}, "has no discovery"),
        ({"spiffe_bundle_endpoint": "https://bundles.example"}, "is a trust domain"),
        (
            {"issuer": "spiffe://a", "spiffe_bundle_endpoint": "http://bundles.example"},
            "spiffe_bundle_endpoint is an http",
        ),
        (
            {"issuer": "spiffe://a", "spiffe_bundle_endpoint": "https://a", "jwks_uri": "https://a"},
            "one of jwks, jwks_uri and spiffe_bundle_endpoint",
        ),
        ({"issuer": "spiffe://acme.example/path"}, "The issuer of a rule"),
        ({"jwks_uri": "ftp://issuer.example"}, "jwks_uri"),
        ({"jwks_uri": f"{ISSUER}/jwks", "jwks": "{}"}, "one of jwks"),
        ({"jwks": '{"keys": []}'}, "no usable public signing key"),
        ({"algorithms": frozenset({"HS256"})}, "is signed with one of"),
        ({"claims": {}}, "needs a condition"),
        ({"claims": {"sub": "*"}}, "at most one"),
        ({"claims": {"sub": ""}}, "at most one"),
        ({"claims": {"sub": "a*b*c"}}, "at most one"),
        ({"claims": {"sub": []}}, "list of alternatives"),
        ({"claims": {"sub": [["a"]]}}, "list of alternatives"),
        ({"claims": {"a": {"b": ["x"] * 51}}}, "a.b has more than 50 alternatives"),
        ({"claims": {"a": {}}}, "has no members"),
        ({"claims": {"a": {"b": "*"}}}, "a.b is a text"),
        ({"claims": {"a": float("nan")}}, "JSON object"),
        ({"claims": {"aud": "x"}}, "always checked"),
        ({"claims": {"a": "x" * 5000}}, "at most 4096 bytes"),
        ({"max_age": 0}, "is accepted for"),
        ({"lifetime": 1}, "A token lives"),
        ({"scopes": frozenset({"*"})}, "not valid"),
        ({"audiences": frozenset({""})}, "not valid"),
        ({"subject": "a\nb"}, "A subject is"),
        ({"subject": "a" * 257}, "A subject is"),
        ({"copied_claims": frozenset({"client_id"})}, "reserved"),
        ({"profile": GrantProfile.ID_JAG, "audience": "https://other.example"}, "audience of an ID-JAG"),
        ({"profile": GrantProfile.ID_JAG, "claims": {"client_id": "other"}}, "client_id of an ID-JAG"),
    ],
    ids=str,
)
def test_faulty_rules_are_refused(changes: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        rule(**changes)


def test_records_are_read_as_they_were_written() -> None:
    every = rule(
        claims={"run_attempt": 1, "flag": True, "a": {"b": ["x", 1.5]}},
        jwks_uri=f"{ISSUER}/jwks",
        algorithms=frozenset({"RS256", "ES256"}),
        scopes=frozenset({"b", "a"}),
        audiences=frozenset({"https://api.example"}),
        copied_claims=frozenset({"environment"}),
        accepts_token_endpoint=True,
    )
    federation = (
        FederationRule(issuer="https://b.example", audience="x", subject="a"),
        FederationRule(issuer=ISSUER, audience="x", subject="a*"),
        FederationRule(issuer=ISSUER, audience="x", subject="b", claims={"n": 1}),
    )
    methods = frozenset({"federated_jwt", "spiffe_x509"})
    service = client("service", authentication_methods=methods, federation=federation, spiffe=spiffe_rules())
    pointers = federated_clients(service)
    issuers = [("https://b.example", 1), (ISSUER, 2), ("spiffe://example.org", 0)]
    assert [(each.issuer, len(each.rules)) for each in pointers] == issuers
    assert not federated_clients(replace(service, authentication_methods=frozenset({"client_secret_basic"})))
    svids = rule(issuer="spiffe://example.org", spiffe_bundle_endpoint="https://bundles.example")
    entries: list[TrustRule | FederatedClient] = [every, svids, rule(profile=GrantProfile.ID_JAG), *pointers]
    for entry in entries:
        assert from_item(to_item(entry)) == entry


@pytest.mark.parametrize(
    "broken",
    [{"schema_version": {"N": "2"}}, {"entry": {"S": "other#x"}}, {"claims": {"S": "{"}}, {"max_age": {"S": "1"}}],
)
def test_broken_records_are_detected(broken: dict[str, Any]) -> None:
    with pytest.raises(StorageCorruptError):
        from_item(to_item(rule()) | broken)
