"""Composition of the authorizer from its settings."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from authorizer.clock import Deadline
from authorizer.https_client import Request, Response
from authorizer.scope_map import ScopeMapError
from authorizer.settings import SettingsError
from tests.support.authorizer_sandbox import Sandbox
from tests.support.policies import allows
from tests.support.tokens import (
    ISSUER,
    KID,
    NOW,
    STAGE_ARN,
    claims,
    forge,
    forge_claims,
    jwks,
    mint,
    rest_event,
    rsa_jwk,
    rsa_key,
)


@pytest.fixture
def seed(tmp_path: Path) -> Path:
    path = tmp_path / "jwks.json"
    path.write_bytes(jwks(rsa_jwk()))
    return path


def test_seed_works_for_its_issuer_while_issuers_are_down(seed: Path) -> None:
    other = "https://other.example.com"
    others = json.dumps({other: {"jwks_uri": f"{other}/keys", "audience": "api"}})
    sandbox = Sandbox(JWKS_SEED=str(seed), OTHER_ISSUERS=others)
    sandbox.down = True
    assert sandbox.decide(rest_event(mint()))
    assert sandbox.outcome(forge_claims(iss=other, aud="api")) == "500 key_set_unavailable"


def test_dated_seed_needs_no_fetch_at_start(seed: Path) -> None:
    seed.write_text(json.dumps({"keys": [rsa_jwk()], "fetched_at": NOW - 60}))
    sandbox = Sandbox(JWKS_SEED=str(seed))
    assert sandbox.decide(rest_event(mint()))
    assert sandbox.requests == []
    assert (sandbox.last_line()["key_set"], sandbox.last_line()["key_set_age"]) == ("fresh", 60)


@pytest.mark.parametrize(
    "seed",
    [
        "[]",
        '{"keys": [], "fetched_at": "today"}',
        '{"fetched_at": true}',
        '{"fetched_at": null}',
        '{"fetched_at": -1}',
        '{"fetched_at": 1700000000000}',  # in milliseconds it would be fresh in every new sandbox
    ],
)
def test_unreadable_seed_stops_the_start(tmp_path: Path, seed: str) -> None:
    (tmp_path / "jwks.json").write_text(seed)
    with pytest.raises(SettingsError, match="JWKS_SEED"):
        Sandbox(JWKS_SEED=str(tmp_path / "jwks.json"))


@pytest.mark.parametrize("kind", ["file", "text"])
def test_scope_map_is_a_file_or_a_text(tmp_path: Path, kind: str) -> None:
    text = '\n {"thing.read": ["GET /thing"]}'
    scope_map = tmp_path / "map.json"
    scope_map.write_text(text)
    sandbox = Sandbox(SCOPE_MAP=str(scope_map) if kind == "file" else text)
    document = sandbox.decide(rest_event(forge_claims(scope="thing.read")))["policyDocument"]
    assert allows(document, f"{STAGE_ARN}/GET/thing")
    assert not allows(document, f"{STAGE_ARN}/GET/country")


def test_invalid_scope_map_stops_the_start(tmp_path: Path) -> None:
    text = '{"thing.read": ["ANY /thing"]}'
    scope_map = tmp_path / "map.json"
    scope_map.write_text(text)
    for said in (str(scope_map), text, "{"):
        with pytest.raises(ScopeMapError):
            Sandbox(SCOPE_MAP=said)


def test_oversized_scopes_are_named_at_start() -> None:
    scope_map = json.dumps({"small": ["GET /a"], "all of": [f"GET /{'x' * 50}/{n}" for n in range(80)], "none": []})
    notice = "all of opens more routes than a policy can name: its tokens are answered with 500"
    for simple, expected in (("false", [{"notice": notice}]), ("true", [])):
        log = Sandbox(AUDIENCE="api", SCOPE_MAP=scope_map, SIMPLE_RESPONSE=simple).log
        assert [json.loads(line) for line in log] == expected


def test_unopenable_route_is_named_once() -> None:
    scope_map = {"r": ["GET /a/{x}", "GET /a/{x}/c/b"], "s": ["GET /a/{x}/b"], "t": ["GET /t"]}
    sandbox = Sandbox(AUDIENCE="", SCOPE_MAP=json.dumps(scope_map))
    for scope in ("r", "t", "r s", "s", "r", "r t"):
        sandbox.decide(rest_event(forge_claims(scope=scope)))
    assert [line["notice"] for line in map(json.loads, sandbox.log[1:]) if "notice" in line] == [
        "r opens GET/a/*/c/b, which its policy has to deny: IAM cannot distinguish it from a closed route"
    ]


def test_keys_and_introspection_credentials_are_prepared() -> None:
    renewals: list[bool] = []
    sandbox = Sandbox(
        {"credential_source": lambda renew, _deadline: renewals.append(renew)},
        INTROSPECTION_URI=f"{ISSUER}/oauth2/introspect",
        INTROSPECTION_SECRET_ARN="arn:aws:secretsmanager:eu-west-1:123456789012:secret:x",
    )
    for fetch in sandbox.gate.preparations:
        fetch(Deadline(1))
    assert [request.url for request in sandbox.requests] == [f"{ISSUER}/oauth2/jwks"]
    assert renewals == [False]


def test_each_issuer_has_its_own_rules() -> None:
    other = "https://other.example.com"
    said = {"jwks_uri": f"{other}/keys", "audience": "api", "client_ids": ["theirs"]}

    class TwoIssuers(Sandbox):
        def send(self, request: Request) -> Response:
            """Publish a key with the same id for each of two issuers."""
            self.keys = [rsa_jwk(key=rsa_key("other") if "other" in request.url else rsa_key())]
            return super().send(request)

    sandbox = TwoIssuers(OTHER_ISSUERS=json.dumps({other: said}))

    def is_valid(key: str, **changes: object) -> bool:
        return sandbox.outcome(forge(payload=claims(NOW, **changes), key=rsa_key(key))) == "accepted"

    theirs = {"iss": other, "aud": "api", "client_id": "theirs"}
    assert is_valid(KID)
    assert is_valid("other", **theirs)
    assert not is_valid("other")
    assert not is_valid(KID, **theirs)
    assert not is_valid("other", **theirs | {"aud": "another"})
    assert not is_valid("other", **theirs | {"client_id": "ours"})
    assert not is_valid("other", **theirs | {"iss": f"{other}/"})
    sandbox.clock.advance(7)
    assert is_valid("other", **theirs)
    assert sandbox.last_line()["key_set_age"] == 7


class DiscoveredIssuer(Sandbox):
    """An issuer whose metadata names the URL of its keys. It can send 304 to every request for them."""

    def __init__(self) -> None:
        self.jwks_uri, self.is_unchanged = "https://old.example.com/keys", False
        super().__init__(JWKS_URI="discover")
        self.headers = {"etag": '"1"'}

    def send(self, request: Request) -> Response:
        if request.url == f"{ISSUER}/.well-known/openid-configuration":
            return Response(200, {}, json.dumps({"issuer": ISSUER, "jwks_uri": self.jwks_uri}).encode())
        return Response(304, {}, b"") if self.is_unchanged else super().send(request)


def test_moved_key_set_is_fetched_without_the_old_etag() -> None:
    sandbox = DiscoveredIssuer()
    for seconds in (0, 300):
        sandbox.clock.advance(seconds)
        assert sandbox.outcome(mint()) == "accepted"
    sandbox.jwks_uri, sandbox.keys = "https://new.example.com/keys", []
    sandbox.clock.advance(3600)
    assert sandbox.outcome(mint()) == "401 kid_unknown"
    old, new = "https://old.example.com/keys", "https://new.example.com/keys"
    fetched = [(request.url, request.headers.get("If-None-Match")) for request in sandbox.requests]
    assert fetched == [(old, None), (old, '"1"'), (new, None)]


def test_304_without_etag_from_new_address_is_ignored() -> None:
    sandbox = DiscoveredIssuer()
    assert sandbox.outcome(mint()) == "accepted"
    sandbox.jwks_uri, sandbox.is_unchanged = "https://new.example.com/keys", True
    sandbox.clock.advance(3600)
    assert sandbox.outcome(mint()) == "500 key_set_unavailable"


def test_unavailable_metadata_is_an_internal_error() -> None:
    sandbox = Sandbox(JWKS_URI="discover")
    sandbox.down = True
    assert sandbox.outcome(mint()) == "500 key_set_unavailable"


def test_unused_features_are_not_imported() -> None:
    code = (
        "import sys; from authorizer.app import build; "
        "from authorizer.settings import Settings; "
        f"build(Settings.from_env({{'ISSUER': {ISSUER!r}}}), emit=len); "
        "parts = ('introspection', 'proof_of_possession', 'dpop', 'state_table', 'multi_api', "
        "'aws'); "
        "print([m for m in parts "
        "if f'authorizer.{m}' in sys.modules])"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout
    assert output.strip() == "[]"
