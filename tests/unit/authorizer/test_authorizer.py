"""Decisions on whole events, with a local issuer."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from authorizer.errors import KeySetUnavailableError, Unauthorized
from tests.support.authorizer_sandbox import Sandbox
from tests.support.clock import ManualClock
from tests.support.policies import allows
from tests.support.tokens import (
    CLIENT,
    ISSUER,
    KID,
    LIFETIME,
    METHOD_ARN,
    NOW,
    STAGE_ARN,
    at_jwt_claims,
    forge_claims,
    mint,
    rest_event,
)

INTROSPECTION = {
    "INTROSPECTION_URI": f"{ISSUER}/oauth2/introspect",
    "INTROSPECTION_CLIENT_ID": "authorizer",
    "INTROSPECTION_CLIENT_SECRET": "secret",
}


def test_valid_token_gets_policy_and_context() -> None:
    assert Sandbox().decide(rest_event(mint())) == {
        "principalId": CLIENT,
        "policyDocument": {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Action": "execute-api:Invoke",
                    "Effect": "Allow",
                    "Resource": [f"{STAGE_ARN}/GET/country", f"{STAGE_ARN}/GET/country/code/*"],
                    "Condition": {"DateLessThanIfExists": {"aws:CurrentTime": "2023-11-15T02:13:20Z"}},
                },
                {
                    "Action": "execute-api:Invoke",
                    "Effect": "Deny",
                    "Resource": [f"{STAGE_ARN}/GET/country/code/*/*", f"{STAGE_ARN}/GET/country/code/"],
                },
            ],
        },
        "context": {
            "iss": ISSUER,
            "sub": CLIENT,
            "client_id": CLIENT,
            "scope": "country.read customer.read customer.write",
            "exp": str(NOW + LIFETIME),
        },
    }


def test_policy_is_independent_of_the_request() -> None:
    sandbox = Sandbox()
    token = mint()
    first = sandbox.decide(rest_event(token))
    for path in ("GET/country", "DELETE/anything", "GET/*", "GET/"):
        assert sandbox.decide(rest_event(token, methodArn=f"{STAGE_ARN}/{path}")) == first


def test_context_is_flat_strings_without_the_token() -> None:
    token = mint(at_jwt_claims(), typ="at+jwt")
    answer = Sandbox().decide(rest_event(token))
    assert answer["context"]["jti"] == "one-of-a-kind"
    assert all(isinstance(value, str) for value in answer["context"].values())
    assert token not in json.dumps(answer)


def test_scopes_without_routes_deny_everything() -> None:
    sandbox = Sandbox()
    answer = sandbox.decide(rest_event(forge_claims(scope="customer.read")))
    assert answer["principalId"] == CLIENT
    assert answer["context"]["scope"] == "customer.read"
    assert not allows(answer["policyDocument"], METHOD_ARN)
    assert sandbox.last_line()["decision"] == "deny"
    assert sandbox.last_line()["reason"] == "scope_insufficient"


def test_missing_key_set_is_an_internal_error() -> None:
    sandbox = Sandbox()
    sandbox.down = True
    with pytest.raises(KeySetUnavailableError):
        sandbox.decide(rest_event(mint()))
    assert sandbox.last_line()["decision"] == "error"
    assert sandbox.last_line()["key_set"] == "none"


def test_internal_error_is_logged_and_raised() -> None:
    sandbox = Sandbox()
    event = rest_event(mint(), multiValueHeaders={1: "no API Gateway sends this"})
    with pytest.raises(TypeError):
        sandbox.decide(event)
    assert sandbox.last_line()["reason"] == "unexpected"


def test_opaque_token_is_introspected_once_a_minute() -> None:
    sandbox = Sandbox(**INTROSPECTION)
    sandbox.introspected = {"active": True, "client_id": "service", "scope": "country.read"}
    for _ in range(3):
        answer = sandbox.decide(rest_event("opaque"))
    assert allows(answer["policyDocument"], METHOD_ARN)
    assert answer["principalId"] == "service"
    assert len(sandbox.requests) == 1
    assert sandbox.last_line()["kid"] is None


def test_decision_is_one_json_line_without_the_token() -> None:
    sandbox = Sandbox(AUDIENCE=CLIENT)
    token = mint()
    sandbox.decide(rest_event(token))
    sandbox.clock.advance(7)
    sandbox.decide(rest_event(token))
    assert len(sandbox.log) == 2
    assert sandbox.last_line() == {
        "decision": "allow",
        "reason": None,
        "iss": ISSUER,
        "client_id": CLIENT,
        "kid": KID,
        "scope": "country.read customer.read customer.write",
        "key_set": "fresh",
        "key_set_age": 7,
        "request_id": "a-request",
    }


def test_rejection_is_one_line_without_unverified_claims() -> None:
    sandbox = Sandbox(AUDIENCE=CLIENT)
    with pytest.raises(Unauthorized, match=r"^Unauthorized$"):
        sandbox.decide(rest_event(mint()[:-8] + "AAAAAAAA"))
    assert len(sandbox.log) == 1
    assert sandbox.last_line() == {
        "decision": "unauthorized",
        "reason": "signature_invalid",
        "key_set": "fresh",
        "key_set_age": 0,
        "request_id": "a-request",
    }


def test_unchecked_audience_is_reported_once() -> None:
    assert "AUDIENCE" in Sandbox().log[0]
    assert Sandbox(AUDIENCE="api").log == []


def test_expiry_condition_is_optional() -> None:
    answer = Sandbox(POLICY_EXPIRES="false").decide(rest_event(mint()))
    assert "Condition" not in answer["policyDocument"]["Statement"][0]


def test_responses_are_independent_copies() -> None:
    sandbox = Sandbox()
    event = rest_event(mint())
    sandbox.decide(event)["principalId"] = "changed"
    assert sandbox.decide(event)["principalId"] == CLIENT


OTHER = "https://other.example.com"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"scope": "*"}, "scope_wildcard"),
        ({"aud": "https://elsewhere.example.com"}, "aud_other"),
        ({"cnf": {"jkt": "k" * 43}}, "proof_required"),
    ],
)
def test_rejection_logs_the_issuers_key_set(changes: dict[str, Any], reason: str) -> None:
    other = {"jwks_uri": f"{OTHER}/jwks", "audience": CLIENT}
    sandbox = Sandbox(OTHER_ISSUERS=json.dumps({OTHER: other}))
    sandbox.decide(rest_event(mint()))
    sandbox.clock.advance(100)
    with pytest.raises(Unauthorized):
        sandbox.decide(rest_event(forge_claims(iss=OTHER, **changes)))
    line = sandbox.last_line()
    assert (line["reason"], line["key_set_age"]) == (reason, 0)
    with pytest.raises(Unauthorized):
        sandbox.decide(rest_event("eyJ"))
    assert sandbox.last_line()["key_set_age"] == 100


def test_cached_token_logs_its_issuers_key_set() -> None:
    other = {"jwks_uri": f"{OTHER}/jwks", "audience": CLIENT}
    sandbox = Sandbox(OTHER_ISSUERS=json.dumps({OTHER: other}))
    event = rest_event(forge_claims(iss=OTHER, exp=NOW + 5000))
    sandbox.decide(event)
    sandbox.clock.advance(1000)
    sandbox.decide(rest_event(mint()))
    sandbox.down = True
    sandbox.clock.advance(3000)
    with pytest.raises(KeySetUnavailableError):
        sandbox.decide(event)
    assert sandbox.last_line()["key_set_age"] == 4000


@pytest.mark.parametrize("step", [0, -86_400, 86_400])
def test_remaining_time_ignores_the_wall_clock(step: float) -> None:
    wall, left = ManualClock(), list[float]()
    table = SimpleNamespace(is_revoked=lambda _key, _now, deadline: left.append(deadline.remaining()))
    sandbox = Sandbox({"clock": wall, "deny_list_table": table}, DENY_LIST_TABLE="revoked")

    def pass_time() -> None:
        wall.advance(0.25 + step)
        sandbox.clock.advance(0.25)

    sandbox.while_sending = pass_time
    sandbox.decide(rest_event(mint()))
    assert left == [0.75]
