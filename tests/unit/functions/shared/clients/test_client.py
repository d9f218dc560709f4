import re
from contextlib import suppress
from typing import Any

import pytest

from authorizer.jws import ALGORITHMS
from functions.shared.clients.assertion_rules import AssertionRules, FederationRule
from functions.shared.clients.certificate_name import CertificateName, CertificateNameKind
from functions.shared.clients.client import Client, TokenFormat, TokenProfile, from_item, is_client_id, to_item
from functions.shared.clients.client_secrets import StoredSecret, digest_imported
from functions.shared.clients.supported import SIGNING_ALGORITHMS
from functions.shared.storage import dynamodb_items
from functions.shared.storage.errors import StorageCorruptError
from tests.support.mutations import mutations
from tests.support.server import client

FULL = client(
    secrets=(StoredSecret("sha256$" + "a" * 64, 1, 2), StoredSecret("sha256$" + "b" * 64)),
    assertion=AssertionRules(
        jwks_uri="https://client.example/jwks",
        signing_alg="ES256",
        lifetime=60,
        accepts_token_endpoint=True,
        requires_typ=True,
    ),
    federation=(
        FederationRule(
            issuer="https://issuer.example",
            audience="https://us",
            subject="repo:org/*",
            claims={"run": 1, "nested": {"public": True}},
            max_age=600,
            one_time=True,
        ),
    ),
    certificate_name=CertificateName(CertificateNameKind.SAN_DNS, "client.example"),
    certificate_thumbprints=frozenset({"t" * 43}),
    grant_types=frozenset({"client_credentials", "another"}),
    default_scopes=("customer.read", "country.read"),
    token_format=TokenFormat.OPAQUE,
    token_profile=TokenProfile.AT_JWT,
    token_lifetime=600,
    audience=("https://b", "https://a"),
    resource_scopes=frozenset({"country.read"}),
    resource_audiences=frozenset({"https://me"}),
    allowed_resources=frozenset({"https://c"}),
    exchange_subjects=frozenset({"caller"}),
    signing_algorithm="ES256",
    audience_signing_algorithms={"https://a": "ML-DSA-44", "https://c": "RS256"},
    dpop_bound_access_tokens=True,
    dpop_nonce_required=True,
    claims={"tenant": "blue", "level": 1, "weight": 0.5, "teams": ["a", {"b": None}]},
    disabled=True,
)


@pytest.mark.parametrize("known", [client(), FULL])
def test_client_round_trips(known: Client) -> None:
    assert from_item(to_item(known)) == known


def test_items_format_is_stable() -> None:
    # Stored items must stay readable: this is the format of the tables.
    assert to_item(FULL) == {
        "schema_version": {"N": "1"},
        "client_id": {"S": "service-client-jwt"},
        "name": {"S": "A service"},
        "authentication_methods": {"L": [{"S": "client_secret_basic"}, {"S": "client_secret_post"}]},
        "secrets": {
            "L": [
                {"M": {"digest": {"S": "sha256$" + "a" * 64}, "not_before": {"N": "1"}, "expires_at": {"N": "2"}}},
                {
                    "M": {
                        "digest": {"S": "sha256$" + "b" * 64},
                        "not_before": {"NULL": True},
                        "expires_at": {"NULL": True},
                    }
                },
            ]
        },
        "assertion": {
            "M": {
                "jwks": {"S": ""},
                "jwks_uri": {"S": "https://client.example/jwks"},
                "signing_alg": {"S": "ES256"},
                "lifetime": {"N": "60"},
                "accepts_token_endpoint": {"BOOL": True},
                "requires_typ": {"BOOL": True},
            }
        },
        "federation": {
            "L": [
                {
                    "M": {
                        "issuer": {"S": "https://issuer.example"},
                        "audience": {"S": "https://us"},
                        "subject": {"S": "repo:org/*"},
                        "claims": {"S": '{"nested": {"public": true}, "run": 1}'},
                        "max_age": {"N": "600"},
                        "one_time": {"BOOL": True},
                    }
                }
            ]
        },
        "certificate_name": {"M": {"kind": {"S": "san_dns"}, "value": {"S": "client.example"}}},
        "certificate_thumbprints": {"L": [{"S": "t" * 43}]},
        "grant_types": {"L": [{"S": "another"}, {"S": "client_credentials"}]},
        "scopes": {"L": [{"S": "country.read"}, {"S": "customer.read"}, {"S": "customer.write"}]},
        "default_scopes": {"L": [{"S": "customer.read"}, {"S": "country.read"}]},
        "token_format": {"S": "opaque"},
        "token_profile": {"S": "at+jwt"},
        "token_lifetime": {"N": "600"},
        "audience": {"L": [{"S": "https://b"}, {"S": "https://a"}]},
        "resource_scopes": {"L": [{"S": "country.read"}]},
        "resource_audiences": {"L": [{"S": "https://me"}]},
        "allowed_resources": {"L": [{"S": "https://c"}]},
        "exchange_subjects": {"L": [{"S": "caller"}]},
        "signing_algorithm": {"S": "ES256"},
        "audience_signing_algorithms": {"M": {"https://a": {"S": "ML-DSA-44"}, "https://c": {"S": "RS256"}}},
        "dpop_bound_access_tokens": {"BOOL": True},
        "dpop_nonce_required": {"BOOL": True},
        "tls_client_certificate_bound_access_tokens": {"BOOL": False},
        "claims": {"S": '{"tenant":"blue","level":1,"weight":0.5,"teams":["a",{"b":null}]}'},
        "disabled": {"BOOL": True},
    }


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("schema_version", {"N": "2"}),
        ("claims", {"M": {}}),
        ("audience_signing_algorithms", {"M": {}}),
        ("audience_signing_algorithms", {"L": [{"S": "https://a"}]}),
        ("audience_signing_algorithms", {"M": {"https://a": {"N": "1"}}}),
        ("claims", {"S": "tenant"}),
        ("claims", {"S": '{"sub":"another"}'}),
        ("client_id", {"S": "ä"}),
        ("name", {"N": "1"}),
        ("scopes", {"S": "country.read"}),
        ("scopes", {"L": [{"N": "1"}]}),
        ("default_scopes", {"L": [{"S": "not.allowed"}]}),
        ("schema_version", {"B": b"1"}),
        ("secrets", {"S": ""}),
        ("secrets", {"M": {}}),
        ("secrets", {"L": [{"M": {}}]}),
        ("secrets", {"L": [{"S": "sha256"}]}),
        ("assertion", {"S": "rules"}),
        ("assertion", {"M": {}}),
        ("federation", {"M": {}}),
        ("federation", {"L": [{"M": {}}]}),
        ("certificate_name", {"M": {"kind": {"S": "phone"}, "value": {"S": "1"}}}),
        ("certificate_thumbprints", {"L": [{"S": "short"}]}),
        ("token_format", {"S": "saml"}),
        ("token_profile", {"S": "other"}),
        ("token_lifetime", {"N": "1.5"}),
        ("token_lifetime", {"S": "600"}),
        ("token_lifetime", {"N": "86401"}),
        ("disabled", {"S": "false"}),
    ],
)
def test_malformed_attribute_makes_a_record_unreadable(attribute: str, value: dict[str, Any]) -> None:
    with pytest.raises(StorageCorruptError):
        from_item({**to_item(FULL), attribute: value})


@pytest.mark.parametrize("attribute", sorted(to_item(FULL).keys() - {"claims", "audience_signing_algorithms"}))
def test_missing_attribute_makes_a_record_unreadable(attribute: str) -> None:
    item = to_item(FULL)
    del item[attribute]
    with pytest.raises(StorageCorruptError, match=attribute):
        from_item(item)


def test_unknown_values_make_a_record_unreadable() -> None:
    read = 0
    for where, changed in mutations(dynamodb_items.from_item(to_item(FULL), schema_version=1)):
        item = dynamodb_items.to_item(changed)
        with suppress(StorageCorruptError):
            assert _unordered(to_item(from_item(item))) == _unordered(item), where
            read += 1
    assert read > 40


def _unordered(part: Any) -> Any:
    """Return a part of an item with sorted lists, because some are sets."""
    if isinstance(part, dict):
        return {name: _unordered(value) for name, value in part.items()}
    return sorted(map(repr, map(_unordered, part))) if isinstance(part, list) else part


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"client_id": ""}, "client_id"),
        ({"client_id": "x" * 129}, "client_id"),
        ({"scopes": frozenset({"two words"})}, "scope"),
        ({"resource_scopes": frozenset({'quo"te'})}, "scope"),
        ({"scopes": frozenset({"*"})}, "not *"),
        ({"default_scopes": ("other",)}, "Default scopes"),
        ({"authentication_methods": frozenset({"client_secret_jwt"})}, "authentication method"),
        ({"authentication_methods": frozenset({"private_key_jwt"})}, "nothing to be checked by"),
        ({"authentication_methods": frozenset({"federated_jwt"})}, "nothing to be checked by"),
        ({"authentication_methods": frozenset({"tls_client_auth"})}, "nothing to be checked by"),
        ({"authentication_methods": frozenset({"self_signed_tls_client_auth"})}, "nothing to be checked by"),
        ({"certificate_thumbprints": frozenset({"AA:BB"})}, "thumbprint"),
        ({"token_lifetime": 1}, "lives"),
        ({"token_lifetime": 86_401}, "lives"),
        ({"token_profile": TokenProfile.AT_JWT}, "audience"),
        ({"audience": ("api", "")}, "audience"),
        ({"resource_audiences": frozenset({""})}, "audience"),
        ({"signing_algorithm": "HS256"}, "signing algorithm"),
        ({"audience": ("api",), "audience_signing_algorithms": {"api": "HS256"}}, "signing algorithm"),
        ({"audience": ("api",), "audience_signing_algorithms": {"other": "RS256"}}, "one of the client's audiences"),
        ({"allowed_resources": frozenset({"api#x"})}, "absolute URI"),
        ({"secrets": tuple(StoredSecret(digest_imported(text)) for text in "ab")}, "imported secret"),
    ],
)
def test_invalid_client_cannot_be_created(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=re.escape(complaint)):
        client(**changes)


@pytest.mark.parametrize(
    ("text", "possible"),
    [("a", True), ("a b~", True), ("x" * 128, True), ("x" * 129, False), ("", False)]
    + [(text, False) for text in ("a\n", "a\x00", "é", "\x7f")],
)
def test_client_id_is_up_to_128_visible_ascii_characters(text: str, *, possible: bool) -> None:
    assert is_client_id(text) is possible


def test_signing_algorithms_are_verifiable() -> None:
    assert set(SIGNING_ALGORITHMS) <= ALGORITHMS
