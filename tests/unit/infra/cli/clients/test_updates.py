"""`gatehouse clients update`, and the defaults and warnings of `create`."""

import json
from pathlib import Path

from functions.issue_token.grants import default_audience
from functions.shared.clients.client import TokenProfile
from tests.support.cli import CommandLine
from tests.support.server import client
from tests.support.spiffe import BUNDLE_ENDPOINT, WORKLOAD, TrustDomain, spiffe_rules

API = "https://api.example"


def test_profile_follows_from_the_audience(gatehouse: CommandLine) -> None:
    audience = ("--audience", API, "--scope", "country.read")
    created = gatehouse("clients", "create", "shop", *audience)
    made = gatehouse.clients.get("shop").record
    assert (made.token_profile, default_audience(made)) == (TokenProfile.AT_JWT, (API,))
    assert "clients update" not in created.stderr
    rejected = gatehouse("clients", "create", "other", *audience, "--token-profile", "plain")
    assert (rejected.code, f"{API} rejects them" in rejected.stderr) == (0, True)
    warned = gatehouse("clients", "create", "plain").stderr
    assert gatehouse.clients.get("plain").record.token_profile is TokenProfile.PLAIN
    assert "Client plain has no scopes, so its tokens open no route." in warned
    assert "gatehouse clients update plain --add-scope SCOPE" in warned


def test_update_changes_named_fields_only(gatehouse: CommandLine) -> None:
    gatehouse.clients.put(client(disabled=True), None)
    options = ("--name", "Shop", "--token-lifetime", "600", "--add-scope", "x")
    updated = gatehouse("clients", "update", "service-client-jwt", *options)
    assert updated.code == 0, updated.stderr
    assert updated.stdout.splitlines() == [
        "~ service-client-jwt  (change)",
        "    name: A service → Shop",
        "    scopes: +x",
        "    token_lifetime: (the default) → 600",
    ]
    scopes = frozenset({"country.read", "customer.read", "customer.write", "x"})
    assert gatehouse.clients.get("service-client-jwt").record == client(
        name="Shop", token_lifetime=600, scopes=scopes, disabled=True
    )


def test_update_replaces_a_list_and_removes_a_scope(gatehouse: CommandLine) -> None:
    gatehouse.clients.put(client(), None)
    update = ("clients", "update", "service-client-jwt")
    assert gatehouse(*update, "--scope", "a", "--scope", "b").code == 0
    assert gatehouse(*update, "--remove-scope", "a").code == 0
    assert gatehouse.clients.get("service-client-jwt").record.scopes == frozenset({"b"})
    refused = gatehouse(*update, "--remove-scope", "a")
    assert (refused.code, "has no scope a" in refused.stderr) == (2, True)


def test_update_adds_the_implied_method(gatehouse: CommandLine) -> None:
    gatehouse.clients.put(client(), None)
    update = ("clients", "update", "service-client-jwt")
    assert gatehouse(*update, "--jwks-uri", "https://client.example/jwks").code == 0
    made = gatehouse.clients.get("service-client-jwt").record
    assert made.authentication_methods == client().authentication_methods | {"private_key_jwt"}
    assert made.secrets == client().secrets
    assert gatehouse(*update, "--method", "private_key_jwt").code == 0
    made = gatehouse.clients.get("service-client-jwt").record
    assert made.authentication_methods == {"private_key_jwt"}


def test_update_preserves_assertion_rules(gatehouse: CommandLine, tmp_path: Path) -> None:
    rules = {"jwks_uri": "https://client.example/jwks", "signing_alg": "PS256"}
    file = tmp_path / "clients.json"
    file.write_text(json.dumps({"clients": [{"client_id": "shop", "assertion": rules}]}))
    gatehouse("clients", "apply", str(file), "--yes")
    gatehouse("clients", "update", "shop", "--jwks-uri", "https://client.example/new")
    made = gatehouse.clients.get("shop").record.assertion
    assert made is not None
    assert (made.jwks_uri, made.signing_alg) == ("https://client.example/new", "PS256")


def test_spiffe_client_is_created_and_updated(gatehouse: CommandLine, tmp_path: Path) -> None:
    bundle, document = tmp_path / "bundle.json", json.dumps(TrustDomain().bundle(), sort_keys=True)
    bundle.write_text(document)
    options = ("--spiffe-id", WORKLOAD, "--spiffe-bundle-endpoint", BUNDLE_ENDPOINT)
    assert gatehouse("clients", "create", "worker", *options).code == 0
    made = gatehouse.clients.get("worker").record
    assert made.authentication_methods == {"spiffe_jwt"}
    assert made.spiffe == spiffe_rules()
    options = ("--method", "spiffe_x509", "--spiffe-bundle", str(bundle))
    assert gatehouse("clients", "update", "worker", *options).code == 0
    updated = gatehouse("clients", "update", "worker", "--spiffe-id", "spiffe://example.org/ns/*")
    assert (updated.code, updated.stderr.count("scope")) == (0, 2)
    made = gatehouse.clients.get("worker").record
    assert made.authentication_methods == {"spiffe_x509"}
    assert made.spiffe == spiffe_rules("spiffe://example.org/ns/*", bundle=document)
    assert gatehouse("clients", "update", "worker", "--spiffe-jwks-uri", "https://oidc.example/keys").code == 2
    shown = json.loads(gatehouse("clients", "show", "worker", "--json").stdout)
    assert shown["spiffe"]["bundle"]["spiffe_sequence"] == 1


def test_update_resets_fields_and_switches_dpop(gatehouse: CommandLine) -> None:
    gatehouse.clients.put(client(token_lifetime=600, default_scopes=("country.read",)), None)
    update = ("clients", "update", "service-client-jwt")
    gatehouse(*update, "--reset", "token_lifetime", "--reset", "default_scopes", "--dpop")
    made = gatehouse.clients.get("service-client-jwt").record
    assert made == client(dpop_bound_access_tokens=True)
    gatehouse(*update, "--no-dpop")
    assert gatehouse.clients.get("service-client-jwt").record == client()


def test_claims_are_created_replaced_shown_and_reset(gatehouse: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "claims.yaml"
    file.write_text("level: 1\nteams: [a, b]\ntenant: red\n", encoding="utf-8")
    assert gatehouse("clients", "create", "a", "--scope", "x", "--claim", "tenant=b=c", "--claim", "v=1.0").code == 0
    assert gatehouse.clients.get("a").record.claims == {"tenant": "b=c", "v": "1.0"}
    assert gatehouse("clients", "update", "a", "--claims", str(file), "--claim", "tenant=blue").code == 0
    claims = {"level": 1, "teams": ["a", "b"], "tenant": "blue"}
    assert gatehouse("clients", "show", "a", "--json").json["claims"] == claims
    assert "tenant: blue" in gatehouse("clients", "show", "a").stdout
    assert gatehouse("clients", "update", "a", "--name", "A").code == 0
    assert gatehouse.clients.get("a").record.claims == claims
    gatehouse("clients", "update", "a", "--reset", "claims")
    assert gatehouse.clients.get("a").record.claims == {}


def test_update_shows_a_dry_run_and_no_change(gatehouse: CommandLine) -> None:
    gatehouse.clients.put(client(), None)
    update = ("clients", "update", "service-client-jwt")
    dry = gatehouse(*update, "--name", "Shop", "--dry-run", "--json").json
    assert dry["dry_run"] is True
    assert dry["changes"][0]["fields"] == {"name": {"from": "A service", "to": "Shop"}}
    assert gatehouse.clients.get("service-client-jwt").record == client()
    same = gatehouse(*update, "--name", "A service")
    assert (same.code, same.stdout.strip()) == (0, "No differences.")


def test_invalid_client_is_rejected(gatehouse: CommandLine, tmp_path: Path) -> None:
    gatehouse.clients.put(client(), None)
    (tmp_path / "claims.yaml").write_text("[a]", encoding="utf-8")
    bundle = ("--spiffe-bundle-endpoint", BUNDLE_ENDPOINT)
    for options, problem in (
        ((), "No change was named."),
        (("--token-profile", "at+jwt"), "needs an audience"),
        (("--scope", "a b"), "is not a valid scope"),
        (("--default-scope", "x"), "must be among"),
        (("--token-lifetime", "4h"), "not a valid number of seconds"),
        (("--claim", "tenant"), "The claim tenant has no value."),
        (("--claim", "sub=a"), "claims has the name sub"),
        (("--claims", str(tmp_path / "claims.yaml")), "does not have an object"),
        (("--jwks-uri", "http://a.example/k"), "jwks_uri is an http URL"),
        (("--audience-signing-algorithm", "=RS256"), "Write AUDIENCE=ALGORITHM"),
        (("--audience-signing-algorithm", f"{API}=RS256"), "one of the client's audiences"),
        (("--audience-signing-algorithm", "service-client-jwt=HS256"), "must be one of RS256"),
        (("--spiffe-id", WORKLOAD), "needs exactly one of spiffe_bundle_endpoint, bundle and jwks_uri"),
        (bundle, "lacks the field spiffe_id"),
        (("--spiffe-id", "spiffe://Example.org/a", *bundle), "pattern"),
        (("--spiffe-id", "spiffe://example.org/a/..", *bundle), "SPIFFE ID"),
        (("--spiffe-id", "spiffe://example.org", *bundle), "has a path"),
        (("--method", "spiffe_jwt"), "spiffe_jwt has nothing to be checked by"),
    ):
        refused = gatehouse("clients", "update", "service-client-jwt", *options)
        assert (refused.code, refused.stdout) == (2, "")
        assert problem in refused.stderr
    assert gatehouse("clients", "update", "absent", "--name", "x").code == 3
    assert gatehouse.clients.get("service-client-jwt").record == client()


def test_audiences_have_signing_algorithms(gatehouse: CommandLine) -> None:
    option = "--audience-signing-algorithm"
    created = gatehouse("clients", "create", "shop", "--audience", API, option, f"{API}=ML-DSA-44")
    assert created.code == 0, created.stderr
    assert gatehouse.clients.get("shop").record.signing_algorithm_for([API]) == "ML-DSA-44"
    assert gatehouse("clients", "update", "shop", "--reset", "audience_signing_algorithms").code == 0
    assert gatehouse.clients.get("shop").record.signing_algorithm_for([API]) == "RS256"
