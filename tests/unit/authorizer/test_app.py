"""Composition of the authorizer from its settings."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from authorizer.app import build
from authorizer.clock import Deadline
from authorizer.errors import KeySetUnavailableError, Unauthorized
from authorizer.https_client import Request, Response
from authorizer.scope_map import ScopeMapError
from authorizer.settings import Settings, SettingsError
from tests.support.authorizer_events import decide
from tests.support.authorizer_sandbox import Sandbox
from tests.support.clock import ManualClock
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


def test_moved_key_set_is_fetched_without_the_old_etag() -> None:
    clock, fetched = ManualClock(), list[tuple[str, str | None]]()
    said = {"issuer": ISSUER, "jwks_uri": "https://old.example.com/keys"}
    published = {"https://old.example.com/keys": rsa_jwk(), "https://new.example.com/keys": None}

    def web(request: Request) -> Response:
        if request.url.endswith("/.well-known/openid-configuration"):
            return Response(200, {}, json.dumps(said).encode())
        etag = request.headers.get("If-None-Match")
        fetched.append((request.url, etag))
        if etag == '"1"':
            return Response(304, {"etag": '"1"'}, b"")
        key = published[request.url]
        return Response(200, {"etag": '"1"'}, jwks(key) if key else jwks())

    settings = Settings.from_env({"ISSUER": ISSUER, "JWKS_URI": "discover"})
    gate = build(settings, clock=clock, monotonic=clock, send=web, emit=lambda _: None)
    event = rest_event(mint())
    assert decide(gate, event, 1)
    clock.advance(300)
    assert decide(gate, event, 1)
    said["jwks_uri"] = "https://new.example.com/keys"
    clock.advance(3600)
    with pytest.raises(Unauthorized):
        decide(gate, event, 1)
    old, new = published
    assert fetched == [(old, None), (old, '"1"'), (new, None)]


def test_304_without_etag_from_new_address_is_ignored() -> None:
    clock, moved = ManualClock(), list[bool]()

    def web(request: Request) -> Response:
        if request.url.endswith("/.well-known/openid-configuration"):
            place = "new" if moved else "old"
            said = {"issuer": ISSUER, "jwks_uri": f"https://{place}.example.com/keys"}
            return Response(200, {}, json.dumps(said).encode())
        return Response(304, {}, b"") if moved else Response(200, {"etag": '"1"'}, jwks(rsa_jwk()))

    settings = Settings.from_env({"ISSUER": ISSUER, "JWKS_URI": "discover"})
    gate = build(settings, clock=clock, monotonic=clock, send=web, emit=lambda _: None)
    assert decide(gate, rest_event(mint()), 1)
    moved.append(True)
    clock.advance(3600)
    with pytest.raises(KeySetUnavailableError):
        decide(gate, rest_event(mint()), 1)


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
