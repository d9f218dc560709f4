"""Policies and simple responses for recorded events of each type."""

import json
from pathlib import Path

import pytest

from authorizer.errors import UnsupportedEventError
from authorizer.responses import MAX_CLAIMS_LENGTH
from authorizer.settings import SettingsError
from tests.support.authorizer_events import KINDS, recorded, with_header
from tests.support.authorizer_sandbox import Sandbox
from tests.support.policies import allows
from tests.support.tokens import CLIENT, ISSUER, LIFETIME, NOW, forge_claims, mint

OTHER = "https://other.example.com"
SIMPLE = {"SIMPLE_RESPONSE": "true"}
ARNS = {
    "rest_token": "arn:aws:execute-api:eu-west-1:123456789012:abcdef1234/ms-system",
    "rest_request": "arn:aws:execute-api:eu-west-1:123456789012:abcdef1234/ms-system",
    "http_1": "arn:aws:execute-api:eu-west-1:123456789012:hijklm5678/ms-system",
    "http_2": "arn:aws:execute-api:eu-west-1:123456789012:hijklm5678/ms-system",
    "websocket_connect": "arn:aws:execute-api:eu-west-1:123456789012:nopqrs9012/live",
}
REQUESTS = tuple(kind for kind in KINDS if kind != "rest_token")


@pytest.fixture
def scope_map(tmp_path: Path) -> str:
    path = tmp_path / "scopes.json"
    path.write_text(
        json.dumps(
            {
                "country.read": ["$connect", "GET /country", "GET /country/code/{code}"],
                "file.read": ["GET /files/{path+}"],
            }
        )
    )
    return str(path)


@pytest.mark.parametrize("kind", KINDS)
def test_each_event_type_gets_a_policy_for_its_stage(kind: str, scope_map: str) -> None:
    event = recorded(kind, mint())
    answer = Sandbox(SCOPE_MAP=scope_map).decide(event)
    assert answer["principalId"] == CLIENT
    document = answer["policyDocument"]
    assert allows(document, event.get("methodArn") or event["routeArn"])
    for resource in document["Statement"][0]["Resource"]:
        assert resource.startswith(f"{ARNS[kind]}/")


@pytest.mark.parametrize("kind", KINDS)
def test_each_event_type_needs_a_valid_token(kind: str) -> None:
    sandbox = Sandbox()
    assert sandbox.refusal(recorded(kind, mint()[:-8] + "AAAAAAAA")) == "signature_invalid"
    assert sandbox.refusal(recorded(kind, mint(), "Basic")) == "scheme_wrong"


@pytest.mark.parametrize("kind", REQUESTS)
def test_12_two_authorization_headers_are_rejected(kind: str) -> None:
    event = recorded(kind, mint())
    value = f"Bearer {mint()}"
    name = "Authorization" if "Authorization" in event["headers"] else "authorization"
    assert Sandbox().refusal(with_header(event, name, value, value)) == "credentials_several"


def test_simple_response_is_about_the_requested_route(scope_map: str) -> None:
    sandbox = Sandbox(SCOPE_MAP=scope_map, **SIMPLE)
    answer = sandbox.decide(recorded("http_2", mint()))
    assert answer == {
        "isAuthorized": True,
        "context": {
            "iss": ISSUER,
            "sub": CLIENT,
            "client_id": CLIENT,
            "scope": "country.read customer.read customer.write",
            "exp": str(NOW + LIFETIME),
        },
    }
    assert sandbox.last_line()["decision"] == "allow"


@pytest.mark.parametrize(
    ("route_key", "scope", "is_authorized"),
    [
        ("GET /country", "country.read", True),
        ("GET /country/code/{other-name}", "country.read", True),
        ("ANY /country", "country.read", True),
        ("ANY /country/{code}", "country.read", False),
        ("POST /country", "country.read", False),
        ("GET /country", "file.read", False),
        ("GET /files/{proxy+}", "file.read", True),
        ("$default", "country.read", False),
        ("nonsense", "country.read", False),
    ],
)
def test_simple_response_allows_open_routes(route_key: str, scope: str, *, is_authorized: bool, scope_map: str) -> None:
    event = recorded("http_2", forge_claims(scope=scope)) | {"routeKey": route_key}
    sandbox = Sandbox(SCOPE_MAP=scope_map, **SIMPLE)
    assert sandbox.decide(event)["isAuthorized"] is is_authorized
    reason = None if is_authorized else "scope_insufficient"
    assert sandbox.last_line()["reason"] == reason


def test_simple_response_does_not_cover_other_routes(scope_map: str) -> None:
    sandbox = Sandbox(SCOPE_MAP=scope_map, **SIMPLE)
    event = recorded("http_2", mint())
    assert sandbox.decide(event)["isAuthorized"] is True
    assert sandbox.decide(event | {"routeKey": "DELETE /country"})["isAuthorized"] is False
    assert sandbox.decide(event)["isAuthorized"] is True


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "http_2"])
def test_simple_response_for_wrong_event_type_is_an_error(kind: str) -> None:
    with pytest.raises(UnsupportedEventError):
        Sandbox(**SIMPLE).decide(recorded(kind, mint()))


def test_usage_plan_client_gets_its_key(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps({CLIENT: "a-key-of-the-plan-for-this-client"}))
    sandbox = Sandbox(USAGE_KEYS=str(keys))
    answer = sandbox.decide(recorded("rest_request", mint()))
    assert answer["usageIdentifierKey"] == "a-key-of-the-plan-for-this-client"
    other = forge_claims(client_id="another", usageIdentifierKey="mine", api_key="mine")
    assert "usageIdentifierKey" not in sandbox.decide(recorded("rest_request", other))
    assert "a-key" not in "".join(sandbox.log)


def test_equal_client_ids_of_two_issuers_differ(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps({"acme": "key-of-ours", OTHER: {"acme": "key-of-theirs"}}))
    others = json.dumps({OTHER: {"jwks_uri": f"{OTHER}/keys", "audience": "api"}})
    sandbox = Sandbox(USAGE_KEYS=str(keys), OTHER_ISSUERS=others)
    answers = [
        sandbox.decide(recorded("rest_request", forge_claims(iss=iss, sub="acme", aud="api")))
        for iss in (ISSUER, OTHER)
    ]
    assert [answer["context"]["iss"] for answer in answers] == [ISSUER, OTHER]
    assert [json.loads(line)["iss"] for line in sandbox.log[-2:]] == [ISSUER, OTHER]
    assert [each["usageIdentifierKey"] for each in answers] == ["key-of-ours", "key-of-theirs"]


def test_usage_key_belongs_to_one_issuer(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps({"acme": "key-of-ours"}))
    others = json.dumps({OTHER: {"jwks_uri": f"{OTHER}/keys", "audience": "api"}})
    sandbox = Sandbox(USAGE_KEYS=str(keys), OTHER_ISSUERS=others)
    theirs = forge_claims(iss=OTHER, sub="acme", aud="api")
    assert "usageIdentifierKey" not in sandbox.decide(recorded("rest_request", theirs))


def _context(token: str, kind: str = "rest_request", **environ: str) -> dict[str, str]:
    context = Sandbox(**environ).decide(recorded(kind, token))["context"]
    assert all(isinstance(value, str) for value in context.values())
    return {name: value for name, value in context.items() if name.startswith("claim_")}


@pytest.mark.parametrize("kind", KINDS)
def test_context_has_no_other_claims_by_default(kind: str) -> None:
    assert _context(forge_claims(tenant="blue", claim_tenant="red"), kind) == {}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("blue", "blue"),
        ("", ""),
        ("é", "é"),
        ("true", "true"),
        (True, "true"),
        (1, "1"),
        (1.5, "1.5"),
        (None, "null"),
        (["a", "b"], '["a","b"]'),
        ({"a": "é"}, '{"a":"\\u00e9"}'),
    ],
)
@pytest.mark.parametrize("kind", ["rest_token", "http_2"])
def test_context_has_listed_claims_as_texts(kind: str, value: object, text: str) -> None:
    environ = {"CONTEXT_CLAIMS": "tenant, absent"} | (SIMPLE if kind == "http_2" else {})
    assert _context(forge_claims(tenant=value, other="x"), kind, **environ) == {"claim_tenant": text}


def test_context_names_have_letters_digits_and_underscores() -> None:
    token = forge_claims(**{"https://a.example/tenant": "blue", "custom:plan": "x", "sub": "me"})
    assert _context(token, CONTEXT_CLAIMS="https://a.example/tenant,custom:plan,sub") == {
        "claim_https___a_example_tenant": "blue",
        "claim_custom_plan": "x",
        "claim_sub": "me",
    }


def test_claim_does_not_replace_a_member_of_the_context() -> None:
    token = forge_claims(claim_sub="admin", principalId="admin", sub="me")
    answer = Sandbox(CONTEXT_CLAIMS="claim_sub,principalId").decide(recorded("rest_request", token))
    assert (answer["principalId"], answer["context"]["sub"]) == ("me", "me")
    assert "claim_sub" not in answer["context"]


@pytest.mark.parametrize("tenants", [("blue", "red"), ("red", "blue")])
def test_each_token_has_the_context_of_its_own_claims(tenants: tuple[str, ...]) -> None:
    sandbox = Sandbox(CONTEXT_CLAIMS="tenant", REMEMBERED_TOKENS="1")
    tokens = [forge_claims(tenant=tenant) for tenant in tenants]
    for _ in range(20):
        seen = [sandbox.decide(recorded("rest_request", token))["context"]["claim_tenant"] for token in tokens]
        assert tuple(seen) == tenants


def test_claims_for_the_context_are_limited() -> None:
    longest = MAX_CLAIMS_LENGTH - len("claim_tenant")
    assert len(_context(forge_claims(tenant="x" * longest), CONTEXT_CLAIMS="tenant")["claim_tenant"]) == longest
    sandbox = Sandbox(CONTEXT_CLAIMS="tenant,region")
    for claims in ({"tenant": "x" * (longest + 1)}, {"tenant": "x" * 1100, "region": ["x" * 1000]}):
        assert sandbox.refusal(recorded("rest_request", forge_claims(**claims))) == "claims_too_long"
    assert Sandbox().decide(recorded("rest_request", forge_claims(tenant="x" * 4000)))


@pytest.mark.parametrize("character", ["\r", "\n", "\0", "\x7f", "\x85", "\u2028"])
def test_claim_for_the_context_has_no_control_characters(character: str) -> None:
    token = forge_claims(tenant=f"a{character}b")
    assert Sandbox(CONTEXT_CLAIMS="tenant").refusal(recorded("http_1", token)) == "claims_control_character"


def test_opaque_token_has_its_claims_in_the_context() -> None:
    sandbox = Sandbox(
        CONTEXT_CLAIMS="tenant",
        INTROSPECTION_URI=f"{ISSUER}/oauth2/introspect",
        INTROSPECTION_CLIENT_ID="a",
        INTROSPECTION_CLIENT_SECRET="b",
    )
    sandbox.introspected = {"active": True, "client_id": CLIENT, "tenant": "blue", "region": "eu"}
    context = sandbox.decide(recorded("rest_request", "opaque"))["context"]
    assert (context["claim_tenant"], "claim_region" in context) == ("blue", False)


@pytest.mark.parametrize("rules", [{}, {"API_RULES": "/apis"}])
def test_issuer_without_client_ids_is_reported_at_start(rules: dict[str, str]) -> None:
    some = {"jwks_uri": f"{OTHER}/keys", "audience": "api", "client_ids": ["acme"]}
    anyone = {name: value for name, value in some.items() if name != "client_ids"}
    others = json.dumps({OTHER: anyone, f"{OTHER}/2": some})
    log = Sandbox(OTHER_ISSUERS=others, **rules).log
    notices = [line for line in log if "client_ids" in line]
    assert [json.loads(line)["notice"] for line in notices] == [
        f"OTHER_ISSUERS has no client_ids for {OTHER}: any client is accepted"
    ]


@pytest.mark.parametrize(
    "text", ["[]", "{", '{"a": 1}', '{"a": ""}', '{"a": "x", "a": "y"}', f'{{"{ISSUER}": {{"a": 1}}}}']
)
def test_invalid_usage_keys_stop_the_start(tmp_path: Path, text: str) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text(text)
    with pytest.raises(SettingsError, match="USAGE_KEYS"):
        Sandbox(USAGE_KEYS=str(keys))
