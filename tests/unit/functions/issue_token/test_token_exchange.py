"""Token exchange: RFC 8693. A caller calls orders, and orders calls stock for it."""

import json
from dataclasses import replace
from typing import Any

import jwt
import pytest

from authorizer.jwk_thumbprint import thumbprint
from functions.issue_token.token_exchange import ACCESS_TOKEN, ID_TOKEN, JWT, MAX_ACTORS
from functions.shared.clients.assertion_rules import FederationRule
from functions.shared.clients.client import Client, TokenFormat, TokenProfile
from functions.shared.clients.supported import CLIENT_CREDENTIALS, TOKEN_EXCHANGE
from functions.shared.web.endpoint import TOKEN_PATH
from tests.support.assertions import assertion, assertion_form
from tests.support.aws import ISSUER
from tests.support.dpop_proofs import proof, public_jwk
from tests.support.memory_server import MemoryServer, memory_server
from tests.support.proxy_events import form_event
from tests.support.server import NOW, client
from tests.support.tokens import rsa_jwk, unsigned

ORDERS, STOCK, BILLS = "https://orders.example", "https://stock.example", "https://bills.example"
BOTH_GRANTS = frozenset({CLIENT_CREDENTIALS, TOKEN_EXCHANGE})


def _server(**orders: Any) -> MemoryServer:
    exchanging = {
        "grant_types": BOTH_GRANTS,
        "token_profile": TokenProfile.AT_JWT,
        "resource_audiences": frozenset({ORDERS}),
        "allowed_resources": frozenset({STOCK, BILLS}),
        "exchange_subjects": frozenset({"caller", "opaque-caller", "seed-caller"}),
        "scopes": frozenset({"country.read", "customer.read", "stock.read"}),
    }
    return memory_server(
        client("caller", token_profile=TokenProfile.AT_JWT, audience=(ORDERS,), token_lifetime=600),
        client("opaque-caller", token_format=TokenFormat.OPAQUE, audience=(ORDERS,)),
        client("seed-caller"),
        client("unrelated", token_profile=TokenProfile.AT_JWT, audience=(ORDERS,)),
        client("orders", **{**exchanging, **orders}),
        client("plain"),
    )


def _exchange(token: str, **changes: str) -> dict[str, str]:
    request = {
        "grant_type": TOKEN_EXCHANGE,
        "subject_token": token,
        "subject_token_type": ACCESS_TOKEN,
        "resource": STOCK,
        "scope": "country.read",
        **changes,
    }
    return {name: value for name, value in request.items() if value}


def _subject_token(server: MemoryServer, caller: str = "caller") -> str:
    request = {"scope": "country.read customer.read customer.write"}
    return str(server.token(caller, request)["access_token"])


def _service(name: str, own: str, target: str, subjects: str, **changes: Any) -> Client:
    """Return a service that exchanges tokens of a client."""
    return client(
        name,
        grant_types=BOTH_GRANTS,
        resource_audiences=frozenset({own}),
        allowed_resources=frozenset({target}),
        exchange_subjects=frozenset({subjects}),
        **{"token_profile": TokenProfile.AT_JWT, **changes},
    )


def _claims(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


def test_rfc8693_2_2_1_exchange_narrows_a_token() -> None:
    server = _server()
    answer = server.token("orders", _exchange(_subject_token(server)))
    claims = _claims(answer.pop("access_token"))
    assert answer == {
        "scope": "country.read",
        "token_type": "Bearer",
        "expires_in": 599,
        "issued_token_type": ACCESS_TOKEN,
    }
    assert claims.pop("jti")
    assert claims == {
        "iss": ISSUER,
        "sub": "caller",
        "client_id": "orders",
        "aud": STOCK,
        "iat": NOW,
        "nbf": NOW,
        "exp": NOW + 600,
        "scope": "country.read",
        "act": {"sub": "orders"},
    }


def test_rfc8693_2_1_opaque_token_is_exchanged() -> None:
    server = _server()
    token = _subject_token(server, "opaque-caller")
    claims = _claims(server.token("orders", _exchange(token))["access_token"])
    assert (claims["sub"], claims["client_id"]) == ("opaque-caller", "orders")


def _disable(server: MemoryServer, client_id: str) -> None:
    known = server.clients.find(client_id)
    assert known is not None
    server.clients.put(replace(known, disabled=True))


@pytest.mark.parametrize("party", ["caller", "orders"])
def test_disabled_actor_ends_exchanged_tokens(party: str) -> None:
    server = _server(token_profile=TokenProfile.AT_JWT)
    token = server.token("orders", _exchange(_subject_token(server)))["access_token"]
    assert server.introspect("orders", token)["active"] is True
    server.clients.put(client("onlooker", resource_scopes=frozenset({"country.read"})))
    _disable(server, party)
    assert server.introspect("onlooker", token) == {"active": False}


def test_rfc8693_4_1_introspection_shows_the_actor() -> None:
    server = _server(token_format=TokenFormat.OPAQUE)
    token = server.token("orders", _exchange(_subject_token(server)))["access_token"]
    shown = server.introspect("orders", token)
    assert (shown["sub"], shown["client_id"]) == ("caller", "orders")
    assert shown["act"] == {"sub": "orders"}


def test_rfc8693_4_1_earlier_actors_are_nested() -> None:
    server = _server()
    server.clients.put(_service("stock", STOCK, BILLS, "orders"))
    first = server.token("orders", _exchange(_subject_token(server)))["access_token"]
    second = server.token("stock", _exchange(first, resource=BILLS))["access_token"]
    claims = _claims(second)
    assert claims["sub"] == "caller"
    assert claims["act"] == {"sub": "stock", "act": {"sub": "orders"}}
    assert claims["aud"] == BILLS


def _refused(
    server: MemoryServer, parameters: dict[str, str], error: str = "invalid_request", by: str = "orders", **rest: Any
) -> str:
    """Return the reason in the log."""
    assert server.refusal(by, parameters, **rest) == error
    return str(json.loads(server.log[-1])["reason"])


BAD_REQUESTS = {
    "no subject_token": {"subject_token": ""},
    "no subject_token_type": {"subject_token_type": ""},
    "another subject_token_type": {"subject_token_type": "urn:ietf:params:oauth:token-type:saml2"},
    "another requested_token_type": {"requested_token_type": "urn:ietf:params:oauth:token-type:refresh_token"},
    "an unknown actor_token": {"actor_token": "x", "actor_token_type": ACCESS_TOKEN},
    "no actor_token": {"actor_token_type": ACCESS_TOKEN},
    "no actor_token_type": {"actor_token": "x"},
    "another actor_token_type": {"actor_token": "x", "actor_token_type": "urn:ietf:params:oauth:token-type:saml2"},
    "an unknown token": {"subject_token": "gh_at_" + "x" * 43},
    "no token at all": {"subject_token": "x"},
}


@pytest.mark.parametrize("changes", BAD_REQUESTS.values(), ids=BAD_REQUESTS)
def test_rfc8693_2_2_2_other_tokens_are_invalid_request(changes: dict[str, str]) -> None:
    server = _server()
    request = _exchange(_subject_token(server), **changes)
    _refused(server, request)


def test_rfc8693_2_2_2_expired_token_is_invalid_request() -> None:
    server = _server()
    token = _subject_token(server)
    server.clock.now = NOW + 600
    _refused(server, _exchange(token))


@pytest.mark.parametrize("caller", ["caller", "opaque-caller"])
def test_rfc7009_2_revoked_subject_token_is_an_invalid_request(caller: str) -> None:
    server = _server()
    token = _subject_token(server, caller)
    assert server.revoke(caller, token)["statusCode"] == 200
    _refused(server, _exchange(token))


def test_rfc8693_2_2_2_other_clients_token_is_rejected() -> None:
    server = _server()
    assert "subject's client" in _refused(server, _exchange(_subject_token(server, "unrelated")))


def test_rfc8693_2_2_2_other_apis_token_is_rejected() -> None:
    server = _server(resource_audiences=frozenset({"https://elsewhere.example"}))
    request = _exchange(_subject_token(server))
    assert "not meant" in _refused(server, request)
    answer = server.post("orders", request)
    assert json.loads(answer["body"])["error_description"] == "The subject token is not acceptable."


def test_plain_token_is_for_the_owner_of_its_scope() -> None:
    server = _server(resource_scopes=frozenset({"customer.read"}))
    token = _subject_token(server, "seed-caller")
    assert _claims(server.token("orders", _exchange(token))["access_token"])["sub"] == "seed-caller"


def test_rfc8693_2_2_2_client_needs_the_grant_type() -> None:
    server = _server()
    assert server.refusal("plain", _exchange(_subject_token(server))) == "unauthorized_client"


@pytest.mark.parametrize("scope", ["stock.read", "customer.write", "country.read stock.read", "x"])
def test_rfc8693_2_2_2_scopes_only_shrink(scope: str) -> None:
    server = _server()
    _refused(server, _exchange(_subject_token(server), scope=scope), "invalid_scope")


def test_rfc8693_2_1_default_scopes_are_narrowed() -> None:
    server = _server(default_scopes=("stock.read", "country.read"))
    answer = server.token("orders", _exchange(_subject_token(server), scope=""))
    assert answer["scope"] == "country.read"


@pytest.mark.parametrize(
    "changes",
    [
        {"resource": "https://elsewhere.example"},
        {"resource": "", "audience": "elsewhere"},
        {"audience": BILLS},
        {"resource": ""},
    ],
    ids=["unknown", "unknown name", "two", "none and no default"],
)
def test_rfc8693_2_2_2_forbidden_target_is_invalid_target(changes: dict[str, str]) -> None:
    server = _server()
    _refused(server, _exchange(_subject_token(server), **changes), "invalid_target")


def test_rfc8693_2_1_audience_may_name_the_target() -> None:
    server = _server(audience=("stock",))
    request = _exchange(_subject_token(server), resource="", audience="stock")
    assert _claims(server.token("orders", request)["access_token"])["aud"] == "stock"


@pytest.mark.parametrize(("own", "left"), [(60, 60), (86_400, 100)])
def test_rfc8693_6_new_token_ends_with_the_subject_token(own: int, left: int) -> None:
    server = _server(token_lifetime=own)
    token = _subject_token(server)
    server.clock.now = NOW + 500
    claims = _claims(server.token("orders", _exchange(token))["access_token"])
    assert claims["exp"] == NOW + 500 + left


def test_rfc9449_6_bound_token_needs_a_proof_to_exchange() -> None:
    server = _server()
    request = {"scope": "country.read"}
    token = server.token("caller", request, headers={"DPoP": proof()})["access_token"]
    request = _exchange(token)
    _refused(server, request)
    other = {"DPoP": proof(number=2)}
    _refused(server, request, headers=other)
    answer = server.token("orders", request, headers={"DPoP": proof()})
    assert answer["token_type"] == "DPoP"
    assert _claims(answer["access_token"])["cnf"] == {"jkt": thumbprint(public_jwk())}


def test_client_acts_once_in_a_chain() -> None:
    known = frozenset({"caller", "orders"})
    server = _server(exchange_subjects=known, resource_audiences=frozenset({ORDERS, STOCK}))
    token = server.token("orders", _exchange(_subject_token(server)))["access_token"]
    assert "chain already" in _refused(server, _exchange(token, resource=BILLS))


def test_chain_length_is_limited() -> None:
    server = _server()
    names = [f"service-{number}" for number in range(MAX_ACTORS + 1)]
    for before, name in zip(["caller", *names], names, strict=False):
        server.clients.put(_service(name, ORDERS, ORDERS, before))
    token = _subject_token(server)
    for name in names[:-1]:
        token = server.token(name, _exchange(token, resource=ORDERS))["access_token"]
    assert "too long" in _refused(server, _exchange(token, resource=ORDERS), by=names[-1])


def test_log_has_subject_and_actors_without_tokens() -> None:
    server = _server()
    token = _subject_token(server)
    answer = server.token("orders", _exchange(token))
    line = json.loads(server.log[-1])
    assert (line["client_id"], line["subject"], line["actor"]) == ("orders", "caller", {"sub": "orders"})
    assert token not in server.log[-1]
    assert answer["access_token"] not in server.log[-1]


# Actor tokens

STS = "https://abc123-def456.tokens.sts.global.api.aws"
ROLE = "arn:aws:iam::123456789012:role/agent"
AWS_RULE = FederationRule(
    issuer=STS,
    audience=ISSUER,
    subject="arn:aws:iam::123456789012:role/*",
    claims={"https://sts.amazonaws.com/": {"aws_account": "123456789012"}},
)


def _aws_server(**changes: Any) -> MemoryServer:
    """Return a server whose client orders has an AWS role. A secret authenticates it, as before."""
    server = _server(federation=(replace(AWS_RULE, **changes),))
    server.issuers.publish(STS, rsa_jwk("sts"))
    return server


def _aws_token(header: dict[str, Any] | None = None, **claims: Any) -> str:
    content = {
        "iss": STS,
        "sub": ROLE,
        "aud": ISSUER,
        "iat": NOW,
        "exp": NOW + 300,
        "jti": "1",
        "https://sts.amazonaws.com/": {"aws_account": "123456789012", "principal_id": ROLE},
        **claims,
    }
    return assertion(
        {name: value for name, value in content.items() if value is not ...}, **{**_STS_KEY, **(header or {})}
    )


def _sts_claims(value: Any) -> dict[str, Any]:
    return {"https://sts.amazonaws.com/": value}


_STS_KEY = {"alg": "RS256", "kid": "sts"}


def _with_actor(server: MemoryServer, token: str, token_type: str = JWT, **changes: str) -> dict[str, str]:
    return _exchange(_subject_token(server), actor_token=token, actor_token_type=token_type, **changes)


@pytest.mark.parametrize("token_type", [JWT, ID_TOKEN])
def test_rfc8693_2_1_aws_role_of_the_client_is_the_actor(token_type: str) -> None:
    server = _aws_server()
    answer = server.token("orders", _with_actor(server, token := _aws_token(), token_type))
    claims = _claims(answer["access_token"])
    actor = {"iss": STS, "sub": ROLE, "client_id": "orders"}
    assert (claims["sub"], claims["client_id"], claims["act"]) == ("caller", "orders", actor)
    assert json.loads(server.log[-1])["actor"] == actor
    assert token not in server.log[-1]


@pytest.mark.parametrize(
    ("name", "token_type", "is_accepted"),
    [("nonce", JWT, False), ("nonce", ID_TOKEN, True), ("events", JWT, False), ("events", ID_TOKEN, False)],
)
def test_rfc8725_2_8_actor_token_is_of_its_type(name: str, token_type: str, *, is_accepted: bool) -> None:
    server = _aws_server()
    answer = server.post("orders", _with_actor(server, _aws_token(**{name: {}}), token_type))
    assert answer["statusCode"] == (200 if is_accepted else 400)


def test_rfc8693_4_1_token_of_a_foreign_actor_is_active_and_exchanged_again() -> None:
    server = _aws_server()
    opaque = {"token_format": TokenFormat.OPAQUE, "token_profile": TokenProfile.PLAIN}
    server.clients.put(_service("stock", STOCK, BILLS, "orders", **opaque))
    first = server.token("orders", _with_actor(server, _aws_token()))["access_token"]
    second = server.token("stock", _exchange(first, resource=BILLS))["access_token"]
    shown = server.introspect("stock", first)
    assert shown["act"] == {"iss": STS, "sub": ROLE, "client_id": "orders"}
    server.clients.put(client("bills", resource_audiences=frozenset({BILLS})))
    assert server.introspect("bills", second)["act"] == {"sub": "stock", "act": shown["act"]}
    _disable(server, "orders")
    assert server.introspect("bills", second) == {"active": False}


FOREIGN_TOKENS: dict[str, str] = {
    "another issuer": _aws_token(iss="https://evil.example"),
    "this server as issuer": _aws_token(iss=ISSUER),
    "the client as issuer": _aws_token(iss="orders", sub="orders"),
    "another account": _aws_token(**_sts_claims({"aws_account": "210987654321"})),
    "no account": _aws_token(**_sts_claims(...)),
    "another subject": _aws_token(sub="arn:aws:iam::210987654321:role/agent"),
    "no subject": _aws_token(sub=...),
    "another audience": _aws_token(aud="https://other.example"),
    "two audiences": _aws_token(aud=[ISSUER, "https://other.example"]),
    "the token endpoint as audience": _aws_token(aud=f"{ISSUER}/oauth2/token"),
    "expired": _aws_token(exp=NOW),
    "issued long ago": _aws_token(iat=NOW - 7200),
    "from the future": _aws_token(iat=NOW + 600),
    "no issue time": _aws_token(iat=...),
    "an access token by type": _aws_token({"typ": "at+jwt"}),
    "an ID-JAG by type": _aws_token({"typ": "oauth-id-jag+jwt"}),
    "a DPoP proof by type": _aws_token({"typ": "dpop+jwt"}),
    "an unknown key": _aws_token({"kid": "other"}),
    "no key id": _aws_token({"kid": ...}),
    "another algorithm": _aws_token({"alg": "ES256", "kid": "ec"}),
    "an altered signature": _aws_token()[:-8] + "AAAAAAAA",
    "no signature": unsigned({"iss": STS, "sub": ROLE, "aud": ISSUER, "exp": NOW + 300, "iat": NOW}),
    "not a JWT": "x.y",
    "too long": _aws_token(padding="x" * 20_000),
}


@pytest.mark.parametrize("token", FOREIGN_TOKENS.values(), ids=FOREIGN_TOKENS)
def test_rfc8693_2_2_2_actor_token_that_meets_no_rule_is_rejected(token: str) -> None:
    server = _aws_server()
    assert _refused(server, _with_actor(server, token)).startswith("actor: ")
    assert token not in server.log[-1]


@pytest.mark.parametrize("end", ["x" * 256, "caf\u00e9", "a\nb", "\0"], ids=ascii)
def test_subject_of_a_foreign_actor_is_short_text(end: str) -> None:
    server = _aws_server()
    token = _aws_token(sub=f"arn:aws:iam::123456789012:role/{end}")
    assert _refused(server, _with_actor(server, token)) == "actor: sub_malformed"


def test_bound_foreign_actor_token_needs_its_proof() -> None:
    server = _aws_server(one_time=True)
    token = _aws_token(cnf={"jkt": thumbprint(public_jwk())})
    assert _refused(server, _with_actor(server, token)) == "actor: bound to a key that the request does not prove"
    _refused(server, _with_actor(server, _aws_token(cnf={"kid": "x"})))
    server.token("orders", _with_actor(server, token), headers={"DPoP": proof()})


def test_client_without_rules_has_no_foreign_actor() -> None:
    server = _server()
    server.issuers.publish(STS, rsa_jwk("sts"))
    _refused(server, _with_actor(server, _aws_token()))


def test_actor_token_does_not_authenticate_the_client() -> None:
    server = _aws_server()
    known = server.clients.find("orders")
    assert known is not None
    assert "federated_jwt" not in known.authentication_methods
    request = {**_with_actor(server, _aws_token()), **assertion_form(_aws_token()), "grant_type": TOKEN_EXCHANGE}
    answer = server.token_endpoint(form_event(TOKEN_PATH, {**request, "client_id": "orders"}))
    assert answer["statusCode"] == 401
    assert json.loads(server.log[-1])["reason"] == "the client may not use this method"


def test_one_time_actor_token_is_used_up_by_a_granted_exchange_only() -> None:
    server = _aws_server(one_time=True)
    token = _aws_token()
    _refused(server, _with_actor(server, token, scope="customer.write"), "invalid_scope")
    server.token("orders", _with_actor(server, token))
    assert "used before" in _refused(server, _with_actor(server, token))


def test_unavailable_key_set_of_the_actors_issuer_is_503() -> None:
    server = _server(federation=(AWS_RULE,))
    assert server.post("orders", _with_actor(server, _aws_token()))["statusCode"] == 503


def test_own_access_token_proves_the_client_as_actor() -> None:
    server = _server()
    own = server.token("orders", {"resource": STOCK})["access_token"]
    answer = server.token("orders", _with_actor(server, own, ACCESS_TOKEN))
    assert _claims(answer["access_token"])["act"] == {"sub": "orders"}


def test_other_access_tokens_are_not_actors() -> None:
    server = _server()
    exchanged = server.token("orders", _exchange(_subject_token(server)))["access_token"]
    for token in (_subject_token(server), _subject_token(server, "opaque-caller"), exchanged):
        assert "client itself" in _refused(server, _with_actor(server, token, ACCESS_TOKEN))
    own = server.token("orders", {"resource": STOCK})["access_token"]
    _refused(server, _with_actor(server, own, JWT))


def test_bound_actor_token_needs_its_proof() -> None:
    server = _server()
    own = server.token("orders", {"resource": STOCK}, headers={"DPoP": proof()})["access_token"]
    request = _with_actor(server, own, ACCESS_TOKEN)
    _refused(server, request)
    assert server.token("orders", request, headers={"DPoP": proof()})["token_type"] == "DPoP"


def test_client_with_plain_jwts_cannot_exchange() -> None:
    with pytest.raises(ValueError, match="separate client and subject"):
        client(grant_types=BOTH_GRANTS)
