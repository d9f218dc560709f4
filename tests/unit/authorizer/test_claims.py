"""Claims beyond the numbered cases of invalid tokens."""

from typing import Any

import pytest

from authorizer.claims import ClaimRules, VerifiedToken, read_access_token, read_scopes
from authorizer.errors import InvalidTokenError, Reason
from tests.support.tokens import CLIENT, ISSUER, NOW, claims, rsa_jwk

THUMBPRINT = "A" * 43


def _read(said: dict[str, object], *client_ids: str, audiences: frozenset[str] = frozenset()) -> VerifiedToken:
    rules = ClaimRules(ISSUER, audiences, frozenset(client_ids), 86_400)
    return read_access_token(said, rules, NOW, key_id="k", rfc9068=False)


def _refusal(said: dict[str, object], *client_ids: str, audiences: frozenset[str] = frozenset()) -> Reason:
    with pytest.raises(InvalidTokenError) as refused:
        _read(said, *client_ids, audiences=audiences)
    return refused.value.reason


@pytest.mark.parametrize("name", ["client_id", "azp", "cid", "appid"])
def test_client_id_replaces_a_missing_subject(name: str) -> None:
    token = _read({**claims(sub=...), name: "acme"})
    assert (token.subject, token.client_id) == ("acme", "acme")


@pytest.mark.parametrize("name", ["client_id", "azp", "cid", "appid"])
def test_allowed_client_is_read_from_each_claim(name: str) -> None:
    assert _read({**claims(), name: "acme"}, "acme").client_id == "acme"
    assert _refusal({**claims(), name: "other"}, "acme") is Reason.CLIENT_ID_NOT_ALLOWED
    assert _refusal({**claims(), name: 1}, "acme") is Reason.CLIENT_ID_MALFORMED
    assert _refusal(claims(), "acme") is Reason.CLIENT_ID_MISSING


@pytest.mark.parametrize("name", ["cid", "appid"])
def test_standard_client_claim_overrides_vendor_claim(name: str) -> None:
    said = {**claims(client_id="acme"), name: "customer 7"}
    assert _read(said, "acme").client_id == "acme"
    assert _refusal({**claims(client_id="other"), name: "acme"}, "acme") is (Reason.CLIENT_ID_NOT_ALLOWED)


@pytest.mark.parametrize("name", ["scope", "scp"])
@pytest.mark.parametrize("empty", ["", []])
def test_empty_scope_grants_nothing(name: str, empty: object) -> None:
    assert _read({**claims(scope=...), name: empty}).scopes == frozenset()


def test_empty_audience_list_is_absent_where_none_is_required() -> None:
    hydra = {**claims(aud=[], scope=...), "client_id": "acme", "ext": {}, "scp": ["read"]}
    assert _read(hydra).scopes == {"read"}


def test_scope_and_scp_are_read_as_string_or_list() -> None:
    for name in ("scope", "scp"):
        assert read_scopes({name: "a b"}) == read_scopes({name: ["b", "a"]}) == {"a", "b"}


INVALID: dict[Reason, list[dict[str, Any]]] = {
    Reason.EXPIRED: [{"exp": 1e3, "iat": ..., "nbf": ...}, {"exp": -0.0, "iat": ..., "nbf": ...}],
    Reason.EXP_MALFORMED: [{"exp": [NOW + 60]}, {"exp": {"": NOW + 60}}],
    Reason.EXP_MISSING: [{"exp": ..., "exp ": NOW + 60}, {"exp": ..., "EXP": NOW + 60}],
    Reason.LIFETIME_TOO_LONG: [{"exp": 1e300}, {"exp": (NOW + 60) * 1000}, {"iat": 0}],
    Reason.IAT_AFTER_EXP: [{"iat": NOW * 1000}, {"iat": 1e308}, {"exp": NOW - 0.001}],
    Reason.IAT_MALFORMED: [{"iat": -1}],
    Reason.NBF_MALFORMED: [{"nbf": False}, {"nbf": {}}],
    Reason.NOT_YET_VALID: [{"nbf": 1e300}, {"nbf": NOW + 90, "exp": NOW + 60}],
    Reason.AUD_MALFORMED: [{"aud": aud} for aud in ([[CLIENT]], [CLIENT, None], [CLIENT, ""], {CLIENT: True})],
    Reason.AUD_OTHER: [{"aud": f'["{CLIENT}"]'}, {"aud": f"{CLIENT} other"}, {"aud": CLIENT + "\x00"}],
    Reason.SUB_MALFORMED: [
        *({"sub": sub} for sub in ([CLIENT], "\u202eroot", "\x1b[31mroot", "a\u00a0b")),
        {"sub": None, "client_id": "acme"},
    ],
    Reason.SCOPE_MALFORMED: [
        *({"scope": scope} for scope in (True, [["a"]], "a, ", "a\u00a0b", "a\\b", "a\n", {"a": 1}, ["a b"])),
        {"scp": None},
    ],
    Reason.SCOPE_WILDCARD: [{"scope": "a *"}],
    Reason.JTI_MALFORMED: [{"jti": None}, {"jti": 1}, {"jti": "a\tb"}],
    Reason.CLIENT_ID_MALFORMED: [{"client_id": None}, {"azp": [CLIENT]}],
    Reason.CNF_MALFORMED: [
        *({"cnf": cnf} for cnf in (None, [{"jkt": THUMBPRINT}], {"jkt": THUMBPRINT + "="}, {"jkt": THUMBPRINT + "\n"}))
    ],
    Reason.CNF_UNKNOWN: [{"cnf": {"JKT": THUMBPRINT}}, {"cnf": {"jwk": rsa_jwk()}}],
    Reason.ID_TOKEN: [{"token_use": None}, {"s_hash": "h"}],
}


@pytest.mark.parametrize(("reason", "changes"), [(reason, each) for reason, some in INVALID.items() for each in some])
def test_invalid_claim_is_rejected(reason: Reason, changes: dict[str, Any]) -> None:
    assert _refusal(claims(NOW, **changes), audiences=frozenset({CLIENT})) is reason
