from collections.abc import Callable

import pytest

from functions.issue_token.grants import Grant
from functions.issue_token.minting import Claims, Validity, at_jwt_claims, plain_claims, validity
from tests.support.server import NOW, client

ISSUER = "https://issuer"
TIMES = Validity(NOW, NOW + 14_400)


@pytest.mark.parametrize("fraction", [0.0, 0.001, 0.5, 0.999])
def test_four_hours_leave_14399_whole_seconds(fraction: float) -> None:
    times = validity(NOW + fraction, 14_400)
    assert times == TIMES
    assert times.seconds_left == 14_399
    assert times.seconds_left <= times.expires_at - (NOW + fraction)


def test_plain_token_has_walkthrough_claims_and_jti() -> None:
    claims = plain_claims(Grant(client("a"), ("x", "y"), ("a",)), ISSUER, TIMES)
    assert len(claims.pop("jti")) == 22
    assert claims == {
        "sub": "a",
        "aud": "a",
        "nbf": NOW,
        "scope": ("x", "y"),
        "iss": ISSUER,
        "exp": NOW + 14_400,
        "iat": NOW,
    }


def test_at_jwt_has_the_claims_of_rfc_9068() -> None:
    claims = at_jwt_claims(Grant(client("a"), ("x", "y"), ("https://api",)), ISSUER, TIMES)
    token_id = claims.pop("jti")
    assert len(token_id) == 22
    assert claims == {
        "iss": ISSUER,
        "sub": "a",
        "client_id": "a",
        "aud": "https://api",
        "iat": NOW,
        "nbf": NOW,
        "exp": NOW + 14_400,
        "scope": "x y",
    }


@pytest.mark.parametrize("profile", [plain_claims, at_jwt_claims])
def test_two_tokens_never_share_a_jti(profile: Callable[..., Claims]) -> None:
    grant = Grant(client(), (), ("https://api",))
    ids = {profile(grant, ISSUER, TIMES)["jti"] for _ in range(100)}
    assert len(ids) == 100


def test_several_audiences_are_a_list() -> None:
    grant = Grant(client(), (), ("https://a", "https://b"))
    assert at_jwt_claims(grant, ISSUER, TIMES)["aud"] == ("https://a", "https://b")


@pytest.mark.parametrize("profile", [plain_claims, at_jwt_claims])
def test_token_without_scopes_has_no_scope_claim(profile: type) -> None:
    assert "scope" not in profile(Grant(client(), (), ("https://api",)), ISSUER, TIMES)
