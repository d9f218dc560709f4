"""Settings from the environment."""

import pytest

from authorizer.settings import IssuerSettings, Settings, SettingsError
from tests.support.tokens import ISSUER

INTROSPECTION = {
    "INTROSPECTION_URI": f"{ISSUER}/oauth2/introspect",
    "INTROSPECTION_CLIENT_ID": "authorizer",
    "INTROSPECTION_CLIENT_SECRET": "secret",
}


def test_issuer_is_the_only_required_setting() -> None:
    settings = Settings.from_env({"ISSUER": ISSUER})
    assert settings.algorithms == {"RS256"}
    assert settings.issuers == (IssuerSettings(ISSUER, f"{ISSUER}/oauth2/jwks", frozenset(), frozenset()),)


OTHERS = """{
    "https://other.example.com": {"jwks_uri": "https://other.example.com/keys", "audience": "api"},
    "https://third.example.com/tenant": {"audience": ["a", "b"], "client_ids": ["c"]}
}"""
FIELDS = {"AUDIENCE": "audiences", "PROOF_OF_POSSESSION": "confirmation_methods"}


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("JWKS_URI", "https://keys.example.com/jwks.json", "https://keys.example.com/jwks.json"),
        ("JWKS_URI", "discover", None),
        (
            "OTHER_ISSUERS",
            OTHERS,
            (
                ("https://other.example.com", "https://other.example.com/keys", {"api"}, frozenset()),
                ("https://third.example.com/tenant", None, {"a", "b"}, {"c"}),
            ),
        ),
        ("AUDIENCE", "https://api.example.com, spare", {"https://api.example.com", "spare"}),
        ("CLIENT_IDS", "a,b", {"a", "b"}),
        ("ALGORITHMS", "ES256,EdDSA", {"ES256", "EdDSA", "Ed25519"}),
        ("REQUIRE_AT_JWT", "true", True),
        ("MAX_TOKEN_LIFETIME", "3600", 3600),
        ("JWKS_SOFT_AGE", "100", 100),
        ("JWKS_HARD_AGE", "400", 400),
        ("JWKS_COOL_DOWN", "5", 5),
        ("JWKS_SEED", "/opt/jwks.json", "/opt/jwks.json"),
        ("FETCH_TIMEOUT", "1.5", 1.5),
        ("INTROSPECTION_URI", "https://issuer.example.com/introspect", "https://issuer.example.com/introspect"),
        ("INTROSPECTION_SECRET_ARN", "arn", "arn"),
        ("INTROSPECTION_CACHE", "10", 10),
        ("PROOF_OF_POSSESSION", "dpop,mtls", {"jkt", "x5t#S256"}),
        ("RESOURCE", "https://api.example.com/v1/", "https://api.example.com/v1"),
        ("REPLAY_TABLE", "state", "state"),
        ("REPLAYS_IN_MEMORY", "true", True),
        ("DENY_LIST_TABLE", "revoked", "revoked"),
        ("DENY_LIST_SOFT_AGE", "30", 30),
        ("DENY_LIST_HARD_AGE", "90", 90),
        ("SCOPE_MAP", "/opt/scopes.json", "/opt/scopes.json"),
        ("API_RULES", "/gatehouse/a-stack/apis", "/gatehouse/a-stack/apis"),
        ("API_RULES_SOFT_AGE", "30", 30),
        ("API_RULES_HARD_AGE", "900", 900),
        ("SIMPLE_RESPONSE", "true", True),
        ("USAGE_KEYS", "/opt/keys.json", "/opt/keys.json"),
        ("CONTEXT_CLAIMS", "tenant, region", {"tenant", "region"}),
        ("POLICY_EXPIRES", "false", False),
        ("REMEMBERED_TOKENS", "10", 10),
        ("STACK_NAME", "a-stack", "a-stack"),
    ],
)
def test_every_setting_can_be_set(name: str, text: str, value: object) -> None:
    needed = {"ISSUER": ISSUER, "REPLAY_TABLE": "t", "INTROSPECTION_SECRET_ARN": "a"}
    settings = Settings.from_env({**needed, name: text})
    assert getattr(settings, FIELDS.get(name, name.lower())) == value


def test_empty_variable_is_unset() -> None:
    empty = dict.fromkeys(("AUDIENCE", "JWKS_URI", "INTROSPECTION_URI", "FETCH_TIMEOUT"), "")
    assert Settings.from_env({"ISSUER": ISSUER} | empty) == Settings.from_env({"ISSUER": ISSUER})


@pytest.mark.parametrize(
    ("environ", "fault"),
    [
        ({"ISSUER": ""}, "ISSUER is not set"),
        ({"ISSUER": "http://example.com"}, "ISSUER is an http URL of a host other than localhost"),
        ({"ISSUER": "https://example.com/?a=b"}, "ISSUER is an issuer with a query"),
        ({"ISSUER": "example.com"}, "ISSUER is not an https URL"),
        ({"JWKS_URI": "file:///etc/passwd"}, "JWKS_URI is not an https URL"),
        ({"AUDIENCE": "a,,b"}, "AUDIENCE is a comma list with an empty member"),
        ({"ALGORITHMS": "RS256,none"}, "ALGORITHMS is not a comma list of ES256, ES384, ES512, Ed25519, EdDSA, "),
        ({"ALGORITHMS": "HS256"}, "ALGORITHMS is not"),
        ({"REQUIRE_AT_JWT": "yes"}, "REQUIRE_AT_JWT is neither true nor false"),
        ({"MAX_TOKEN_LIFETIME": "-1"}, "MAX_TOKEN_LIFETIME is not a number of seconds above 0"),
        ({"JWKS_SOFT_AGE": "inf"}, "JWKS_SOFT_AGE is not a number"),
        ({"JWKS_SOFT_AGE": "0"}, "JWKS_SOFT_AGE is not a number"),
        ({"JWKS_SOFT_AGE": "9999"}, "JWKS_SOFT_AGE is longer than JWKS_HARD_AGE"),
        ({"REMEMBERED_TOKENS": "0"}, "REMEMBERED_TOKENS is not a whole number above 0"),
        ({"REMEMBERED_TOKENS": "\u00b2"}, "REMEMBERED_TOKENS is not a whole number above 0"),
        ({"REMEMBERED_TOKENS": "10000000000"}, "REMEMBERED_TOKENS is not a whole number above 0"),
        (
            {"OTHER_ISSUERS": '{"https://a.example": {"audience": "x", "client_ids": []}}'},
            "an issuer whose audience or client_ids",
        ),
        ({"PROOF_OF_POSSESSION": "dpop,oath"}, "PROOF_OF_POSSESSION is not a comma list of dpop, mtls"),
        ({"PROOF_OF_POSSESSION": "dpop"}, "PROOF_OF_POSSESSION by dpop needs REPLAY_TABLE"),
        (
            {"PROOF_OF_POSSESSION": "dpop", "REPLAY_TABLE": "t", "REPLAYS_IN_MEMORY": "true"},
            "PROOF_OF_POSSESSION by dpop needs REPLAY_TABLE, or",
        ),
        ({"RESOURCE": "https://api.example.com?x"}, "RESOURCE is an address with a query"),
        ({"RESOURCE": "api.example.com"}, "RESOURCE is not an https URL"),
        ({"DENY_LIST_SOFT_AGE": "400"}, "DENY_LIST_SOFT_AGE is longer than DENY_LIST_HARD_AGE"),
        ({"API_RULES": "gatehouse/apis"}, "API_RULES is not a path of parameters"),
        ({"API_RULES": "/gatehouse/apis/"}, "API_RULES is not a path of parameters"),
        ({"API_RULES": "/gatehouse/*"}, "API_RULES is not a path of parameters"),
        ({"API_RULES_SOFT_AGE": "4000"}, "API_RULES_SOFT_AGE is longer than API_RULES_HARD_AGE"),
        ({"API_RULES": "/apis", "SCOPE_MAP": "{}"}, "API_RULES takes the place of SCOPE_MAP"),
        ({"API_RULES": "/apis", "RESOURCE": "https://api.example.com"}, "RESOURCE is the address of one API"),
        ({"SIMPLE_RESPONSE": "true", "USAGE_KEYS": "k"}, "USAGE_KEYS has no place"),
        ({"CONTEXT_CLAIMS": "tenant,,region"}, "CONTEXT_CLAIMS is a comma list with an empty member"),
        ({"CONTEXT_CLAIMS": "a.b,a:b"}, "CONTEXT_CLAIMS is a comma list with two claims of one name in the context"),
        ({"OTHER_ISSUERS": "https://a.example"}, "OTHER_ISSUERS is not a JSON object"),
        ({"OTHER_ISSUERS": '{"https://a.example": []}'}, "an issuer with members other than"),
        ({"OTHER_ISSUERS": '{"https://a.example": {"uri": 1}}'}, "an issuer with members other"),
        ({"OTHER_ISSUERS": '{"https://a.example": {"audience": "x", "jwks_uri": 1}}'}, "a jwks_uri that is not a text"),
        ({"OTHER_ISSUERS": '{"https://a.example": {"jwks_uri": "https://a.example/k"}}'}, "an issuer without audience"),
        (
            {"OTHER_ISSUERS": '{"https://a.example": {"jwks_uri": "", "audience": [1]}}'},
            "an issuer whose audience or client_ids are not texts",
        ),
        (
            {"OTHER_ISSUERS": '{"http://a.example": {"jwks_uri": "x", "audience": "x"}}'},
            "OTHER_ISSUERS is an http URL of a host other than localhost",
        ),
        (
            {"OTHER_ISSUERS": f'{{"{ISSUER}": {{"jwks_uri": "{ISSUER}/k", "audience": "x"}}}}'},
            "OTHER_ISSUERS names ISSUER again",
        ),
        (INTROSPECTION | {"INTROSPECTION_CLIENT_SECRET": ""}, "go together"),
        ({"INTROSPECTION_URI": INTROSPECTION["INTROSPECTION_URI"]}, "needs INTROSPECTION_SECRET_ARN"),
    ],
)
def test_invalid_setting_is_named(environ: dict[str, str], fault: str) -> None:
    with pytest.raises(SettingsError, match=fault):
        Settings.from_env({"ISSUER": ISSUER} | environ)


def test_trailing_slash_of_issuer_is_not_doubled() -> None:
    settings = Settings.from_env({"ISSUER": f"{ISSUER}/"})
    assert (settings.issuer, settings.jwks_uri) == (f"{ISSUER}/", f"{ISSUER}/oauth2/jwks")


def test_one_error_names_every_fault_without_values() -> None:
    with pytest.raises(SettingsError) as error:
        Settings.from_env({"JWKS_URI": "ftp://secret-host", "FETCH_TIMEOUT": "soon"})
    message = str(error.value)
    for name in ("ISSUER", "JWKS_URI", "FETCH_TIMEOUT"):
        assert name in message
    assert "secret-host" not in message
