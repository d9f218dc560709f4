import json
from collections.abc import Callable
from typing import Any

import pytest

from authorizer.claims import DPOP_KEY, Confirmation
from functions.issue_token.grants import Grant
from functions.issue_token.minting import Validity, at_jwt_payload, plain_payload, validity
from tests.support.server import NOW, client

ISSUER = "https://issuer"
TIMES = Validity(NOW, NOW + 14_400)
Payload = Callable[[Grant, str, Validity], str]


def _claims(profile: Payload, grant: Grant) -> dict[str, Any]:
    claims: dict[str, Any] = json.loads(profile(grant, ISSUER, TIMES))
    return claims


@pytest.mark.parametrize("fraction", [0.0, 0.001, 0.5, 0.999])
def test_four_hours_leave_14399_whole_seconds(fraction: float) -> None:
    times = validity(NOW + fraction, 14_400)
    assert times == TIMES
    assert times.seconds_left == 14_399
    assert times.seconds_left <= times.expires_at - (NOW + fraction)


TIMED = {"nbf": NOW, "iat": NOW, "exp": NOW + 14_400, "iss": ISSUER, "sub": "a"}


@pytest.mark.parametrize(
    ("profile", "audience", "expected"),
    [
        (plain_payload, ("a",), {"aud": "a", "scope": ["x", "y"]}),
        (at_jwt_payload, ("https://api",), {"aud": "https://api", "scope": "x y", "client_id": "a"}),
        (
            at_jwt_payload,
            ("https://a", "https://b"),
            {"aud": ["https://a", "https://b"], "scope": "x y", "client_id": "a"},
        ),
    ],
    ids=["walkthrough", "RFC 9068", "several audiences"],
)
def test_token_has_the_claims_of_its_profile(
    profile: Payload, audience: tuple[str, ...], expected: dict[str, Any]
) -> None:
    claims = _claims(profile, Grant(client("a"), ("x", "y"), audience))
    assert len(claims.pop("jti")) == 22
    assert claims == TIMED | expected


@pytest.mark.parametrize("profile", [plain_payload, at_jwt_payload])
def test_two_tokens_never_share_a_jti(profile: Payload) -> None:
    grant = Grant(client(), (), ("https://api",))
    ids = {_claims(profile, grant)["jti"] for _ in range(100)}
    assert len(ids) == 100


@pytest.mark.parametrize("profile", [plain_payload, at_jwt_payload])
def test_token_without_scopes_has_no_scope_claim(profile: Payload) -> None:
    assert "scope" not in _claims(profile, Grant(client(), (), ("https://api",)))


@pytest.mark.parametrize("scopes", [(), ("x", "y"), ("%s",)])
@pytest.mark.parametrize("confirmation", [None, Confirmation(DPOP_KEY, "thumbprint")])
@pytest.mark.parametrize("actor", [None, {"sub": "ä", "act": {"sub": "c"}}])
@pytest.mark.parametrize("more", [{}, {'ü"': ["</x>", None, 1.5], "\\": {"a": "\u2028"}}])
def test_payload_equals_the_standard_librarys_json(
    scopes: tuple[str, ...], confirmation: Confirmation | None, actor: dict[str, Any] | None, more: dict[str, Any]
) -> None:
    grant = Grant(client('a"\\%'), scopes, ("https://api",), confirmation, actor=actor, claims=more)
    for profile in (plain_payload, at_jwt_payload):
        payload = profile(grant, ISSUER, TIMES)
        claims = json.loads(payload)
        assert payload == json.dumps(claims, separators=(",", ":"))
        assert claims["sub"] == 'a"\\%'
        assert more.items() <= claims.items()
        assert claims.get("cnf") == (confirmation and {"jkt": "thumbprint"})
    assert claims.get("act") == actor


def test_tokens_of_two_grants_share_no_claims() -> None:
    grants = [Grant(client(name), (name,), (f"https://{name}",), subject=f"{name}-user") for name in ("a", "b")]
    for profile in (plain_payload, at_jwt_payload):
        for grant in (*grants, *grants):
            claims = _claims(profile, grant)
            assert claims["aud"] == grant.audience[0]
            assert claims["scope"] in (grant.scopes[0], list(grant.scopes))
            assert claims["sub"] == (grant.subject if profile is at_jwt_payload else grant.client.client_id)
