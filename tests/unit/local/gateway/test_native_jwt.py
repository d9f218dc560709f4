"""Native JWT authorizers and the check of a load balancer, with an issuer's real HTTP server."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import jwt
import pytest

from infra.cloudformation import TemplateError
from infra.guards import ALGORITHMS, Guard
from local.gateway.core import Gateway
from local.gateway.load_balancer import AdditionalClaim, JwtValidation, LoadBalancerCheck
from local.gateway.model import (
    Api,
    GatewayResponse,
    IdentitySource,
    JwtAuthorizer,
    JwtIssuer,
    RequiredClaim,
    Response,
    Route,
)
from local.gateway.native_jwt import FetchError, RejectedTokenError
from tests.support.answers_server import AnswersServer, Reply, answers_server
from tests.support.clock import ManualClock
from tests.support.tokens import NOW, ec_jwk, ec_key, forge, jwks, rsa_jwk, rsa_key
from tests.unit.local.gateway.apis import FakeLambda, bearer, get, http_api

AUDIENCE = "https://orders.example"
DISCOVERY = "GET /.well-known/openid-configuration"
KEYS = "GET /keys"
HEADER = IdentitySource("header", "Authorization")


@dataclass
class Issuer:
    """An issuer, the time, and gateways that trust it."""

    server: AnswersServer
    clock: ManualClock

    def publish(self, *keys: dict[str, Any]) -> None:
        self.server.answers[KEYS] = Reply(200, jwks(*keys).decode())

    def fetches(self, path: str = "/keys") -> int:
        return sum(request.path == path for request in self.server.received)

    def claims(self, **changes: object) -> dict[str, Any]:
        now = int(self.clock())
        valid = {
            "iss": self.server.url,
            "aud": AUDIENCE,
            "scope": "orders.read orders.write",
            "exp": now + 300,
            "iat": now,
            "nbf": now,
        }
        return {name: value for name, value in (valid | changes).items() if value is not ...}

    def token(self, kid: str | None = "key-1", algorithm: str = "RS256", **changes: object) -> str:
        key: Any = ec_key("ec") if algorithm.startswith("ES") else rsa_key()
        headers = {"kid": kid, "typ": "anything"} if kid else {}
        return jwt.encode(self.claims(**changes), key, algorithm, headers=headers)

    def api(self, kind: str, *scopes: str, **changes: Any) -> Api:
        trusted = JwtIssuer(self.server.url, frozenset((AUDIENCE, "client")), changes.pop("claims", ()))
        authorizer = JwtAuthorizer("Tokens", HEADER, (trusted,), ALGORITHMS[Guard(f"{kind}-jwt")])
        route = Route("GET", "/orders", "Orders", authorizer=replace(authorizer, **changes))
        route = replace(route, scopes=frozenset(scopes), payload_format="1.0" if kind == "rest" else "2.0")
        api = http_api(route, stage="live")
        return replace(api, kind="rest") if kind == "rest" else api

    def gateway(self, kind: str, *scopes: str, **changes: Any) -> tuple[FakeLambda, Gateway]:
        invoke = FakeLambda()
        return invoke, Gateway(self.api(kind, *scopes, **changes), invoke, clock=self.clock)


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with answers_server() as server:
        issuer = Issuer(server, ManualClock())
        document = {"issuer": server.url, "jwks_uri": f"{server.url}/keys"}
        server.answers[DISCOVERY] = Reply(200, json.dumps(document))
        issuer.publish(rsa_jwk(alg="RS256", use="sig"))
        yield issuer


def call(gateway: Gateway, token: str) -> Response:
    return gateway.handle(get("/live/orders", bearer(token)))


def status(gateway: Gateway, token: str) -> int:
    return call(gateway, token).status


both = pytest.mark.parametrize("kind", ["rest", "http"])


@both
def test_valid_token_reaches_the_function(issuer: Issuer, kind: str) -> None:
    _, gateway = issuer.gateway(kind, "orders.read", "orders.admin")
    valid: tuple[dict[str, Any], ...] = (
        {},
        {"scope": ..., "scp": ["orders.read"]},
        {"scope": ["orders.read"]},
        {"scope": "orders.admin"},
        {"aud": ["https://other.example", AUDIENCE]},
        {"nbf": ..., "iat": ...},
        # `authorizer` rejects these tokens.
        {"cnf": {"jkt": 43 * "a"}},
        {"exp": NOW + 10**8},
        {"nonce": "of an ID token"},
    )
    for changes in valid:
        assert status(gateway, issuer.token(**changes)) == 200
    assert gateway.handle(get("/live/orders", ("Authorization", issuer.token()))).status == 200
    assert gateway.handle(get("/live/orders", ("authorization", f"bearer {issuer.token()}"))).status == 200


# test_guards_agree rejects other tokens at every guard.
INVALID: tuple[dict[str, Any], ...] = (
    *({"aud": []}, {"exp": NOW}, {"exp": True}, {"nbf": NOW + 1}, {"iat": NOW + 1}, {"iat": "now"}, {"kid": None}),
)


@both
def test_invalid_token_is_rejected(issuer: Issuer, kind: str) -> None:
    invoke, gateway = issuer.gateway(kind)
    assert [status(gateway, issuer.token(**changes)) for changes in INVALID] == [401] * len(INVALID)
    assert invoke.calls == []


@both
def test_text_that_is_not_a_signed_jwt_is_rejected(issuer: Issuer, kind: str) -> None:
    _, gateway = issuer.gateway(kind)
    good = issuer.token()
    for token in (
        "a.b.c",
        forge(payload=b"[1]"),
        forge(payload=json.dumps(issuer.claims()).replace(str(NOW + 300), "1e999").encode()),
        forge(payload=json.dumps(issuer.claims()).replace(str(NOW + 300), "NaN").encode()),
        forge(payload=b"[" * 100_000),
    ):
        assert status(gateway, token) == 401
    for header in (f"DPoP {good}", f"Basic {good}", f"Bearer  {good}"):
        assert gateway.handle(get("/live/orders", ("Authorization", header))).status == 401


def test_rest_api_answers_as_documented(issuer: Issuer) -> None:
    _, gateway = issuer.gateway("rest", "orders.admin")
    for headers in ((), (bearer("opaque"),)):
        response = gateway.handle(get("/live/orders", *headers))
        assert (response.status, response.body) == (401, b'{"message":"Unauthorized"}')
        assert response.header("x-amzn-ErrorType") == "UnauthorizedException"
        assert response.header("www-authenticate") is None
    response = call(gateway, issuer.token())
    assert (response.status, response.header("x-amzn-ErrorType")) == (403, "AccessDeniedException")


def test_rest_api_can_configure_the_challenge(issuer: Issuer) -> None:
    configured = {"UNAUTHORIZED": GatewayResponse(headers={"WWW-Authenticate": "'Bearer'"})}
    gateway = Gateway(replace(issuer.api("rest"), gateway_responses=configured), FakeLambda(), clock=issuer.clock)
    assert call(gateway, "opaque").header("WWW-Authenticate") == "Bearer"


def test_http_api_answers_as_documented(issuer: Issuer) -> None:
    _, gateway = issuer.gateway("http", "orders.admin", "orders.audit")
    response = gateway.handle(get("/live/orders"))
    assert (response.status, response.body) == (401, b'{"message":"Unauthorized"}')
    assert response.header("www-authenticate") == "Bearer"
    response = call(gateway, issuer.token(aud="other"))
    assert (response.status, response.body) == (401, b'{"message":"Unauthorized"}')
    assert response.header("www-authenticate") == (
        'Bearer scope="" error="invalid_token" error_description="the token does not have a valid audience"'
    )
    response = call(gateway, issuer.token())
    assert (response.status, response.body) == (403, b'{"message":"Forbidden"}')
    challenge = response.header("www-authenticate") or ""
    assert challenge.startswith('Bearer scope="orders.admin orders.audit" error="insufficient_scope"')


def test_client_id_does_not_replace_another_audience(issuer: Issuer) -> None:
    _, gateway = issuer.gateway("http")
    assert [status(gateway, issuer.token(aud=aud, client_id="client")) for aud in (..., "other")] == [200, 401]


def test_algorithms_are_those_of_the_api(issuer: Issuer) -> None:
    issuer.publish(rsa_jwk(), ec_jwk(alg="ES256"), rsa_jwk("bound", rsa_key(), alg="RS512"))
    http, rest = issuer.gateway("http")[1], issuer.gateway("rest")[1]
    limited = issuer.gateway("rest", algorithms=frozenset(("RS384",)))[1]
    outcomes = {
        ("key-1", "RS256"): [200, 200, 401],
        ("key-1", "RS384"): [200, 200, 200],
        ("key-1", "RS512"): [200, 200, 401],
        ("key-1", "PS256"): [401, 401, 401],
        ("ec", "ES256"): [401, 200, 401],
        ("bound", "RS256"): [401, 401, 401],
        ("ec", "RS256"): [401, 401, 401],
        ("key-1", "ES256"): [401, 401, 401],
    }
    found = {each: [status(gateway, issuer.token(*each)) for gateway in (http, rest, limited)] for each in outcomes}
    assert found == outcomes


def test_additional_claims_of_a_rest_api_are_checked(issuer: Issuer) -> None:
    claims = (RequiredClaim("tenant", "t", required=True), RequiredClaim("azp"), RequiredClaim("env", "live"))
    _, gateway = issuer.gateway("rest", claims=claims)
    outcomes = {
        '{"tenant": "t"}': 200,
        '{"tenant": "t", "azp": "any", "env": "live"}': 200,
        "{}": 401,
        '{"tenant": "T"}': 401,
        '{"tenant": ["t"]}': 401,
        '{"tenant": "t", "azp": 7}': 401,
        '{"tenant": "t", "env": "test"}': 401,
    }
    assert {each: status(gateway, issuer.token(**json.loads(each))) for each in outcomes} == outcomes


def test_claims_reach_the_function(issuer: Issuer) -> None:
    changes: dict[str, Any] = {"roles": ["a", "b"], "address": {"city": "Nome"}, "admin": True, "level": 7, "note": "é"}
    token = issuer.token(**changes)
    invoke, gateway = issuer.gateway("rest")
    assert call(gateway, token).status == 200
    (event,) = invoke.events("Orders")
    assert event["requestContext"]["authorizer"] == {"claims": issuer.claims(**changes)}
    texts = {
        "iss": issuer.server.url,
        "aud": AUDIENCE,
        "scope": "orders.read orders.write",
        "exp": str(NOW + 300),
        "iat": str(NOW),
        "nbf": str(NOW),
        "roles": "[a b]",
        "address": '{"city":"Nome"}',
        "admin": "true",
        "level": "7",
        "note": "é",
    }
    invoke, gateway = issuer.gateway("http", "orders.read")
    assert call(gateway, token).status == 200
    (event,) = invoke.events("Orders")
    assert event["requestContext"]["authorizer"] == {"jwt": {"claims": texts, "scopes": ["orders.read"]}}
    invoke, gateway = issuer.gateway("http")
    assert call(gateway, token).status == 200
    (event,) = invoke.events("Orders")
    assert event["requestContext"]["authorizer"]["jwt"]["scopes"] is None


def test_payload_format_1_has_the_claims_one_level_higher(issuer: Issuer) -> None:
    api = issuer.api("http", "orders.read")
    api = replace(api, routes=tuple(replace(route, payload_format="1.0") for route in api.routes))
    invoke = FakeLambda()
    assert call(Gateway(api, invoke, clock=issuer.clock), issuer.token()).status == 200
    (event,) = invoke.events("Orders")
    authorizer = event["requestContext"]["authorizer"]
    assert (authorizer["claims"]["aud"], authorizer["scopes"]) == (AUDIENCE, ["orders.read"])


def test_rest_api_caches_keys_for_an_hour_and_fetches_an_unknown_key(issuer: Issuer) -> None:
    _, gateway = issuer.gateway("rest")
    assert [status(gateway, issuer.token()) for _ in range(3)] == [200, 200, 200]
    assert issuer.fetches() == 1
    issuer.publish(rsa_jwk("key-2", rsa_key()))
    assert status(gateway, issuer.token()) == 200  # the withdrawn key is still cached
    assert status(gateway, issuer.token("key-2")) == 200
    assert issuer.fetches() == 2
    assert status(gateway, issuer.token()) == 401
    issuer.publish(rsa_jwk())
    issuer.clock.advance(3600)
    assert status(gateway, issuer.token()) == 200


def test_http_api_caches_keys_for_two_hours(issuer: Issuer) -> None:
    _, gateway = issuer.gateway("http")
    assert status(gateway, issuer.token()) == 200
    issuer.publish(rsa_jwk("key-2", rsa_key()))
    issuer.clock.advance(7199)
    assert [status(gateway, issuer.token(kid)) for kid in ("key-1", "key-2")] == [200, 401]
    assert issuer.fetches() == 1
    issuer.clock.advance(1)
    assert [status(gateway, issuer.token(kid)) for kid in ("key-1", "key-2")] == [401, 200]


def test_issuer_is_discovered_once(issuer: Issuer) -> None:
    _, gateway = issuer.gateway("rest")
    for _ in range(3):
        assert status(gateway, issuer.token()) == 200
    assert issuer.fetches("/.well-known/openid-configuration") == 1


@both
@pytest.mark.parametrize(
    ("document", "message"),
    [
        (lambda _url: Reply(404), "answers 404"),
        (lambda _url: Reply(200, "x"), "is not JSON"),
        (lambda _url: Reply(200, "[]"), "is not a JSON object"),
        (lambda url: Reply(200, json.dumps({"issuer": f"{url}/", "jwks_uri": url})), "names the issuer"),
        (lambda url: Reply(200, json.dumps({"issuer": url})), "has no jwks_uri"),
        (lambda url: Reply(302, headers={"Location": f"{url}/keys"}), "answers 302"),
    ],
)
def test_authorizer_needs_a_matching_discovery_document(
    issuer: Issuer, kind: str, document: Callable[[str], Reply], message: str
) -> None:
    issuer.server.answers[DISCOVERY] = document(issuer.server.url)
    with pytest.raises(TemplateError, match=f"AuthServerApi: authorizer Tokens: .*{message}"):
        issuer.gateway(kind)


def test_http_api_does_not_use_a_key_set_that_is_too_large(issuer: Issuer) -> None:
    http, rest = issuer.gateway("http")[1], issuer.gateway("rest")[1]
    document = {"keys": [rsa_jwk()], "padding": "x" * 150_000}
    issuer.server.answers[KEYS] = Reply(200, json.dumps(document))
    assert [status(gateway, issuer.token()) for gateway in (http, rest)] == [401, 200]


@pytest.mark.parametrize("keys", [Reply(500), Reply(200, "x"), Reply(200, '{"keys": {}}')])
def test_unavailable_key_set_is_never_an_allow(issuer: Issuer, keys: Reply) -> None:
    http, rest = issuer.gateway("http")[1], issuer.gateway("rest")[1]
    issuer.server.answers[KEYS] = keys
    assert [status(gateway, issuer.token()) for gateway in (http, rest)] == [401, 500]
    issuer.publish(rsa_jwk())
    assert [status(gateway, issuer.token()) for gateway in (http, rest)] == [200, 200]


def test_several_issuers_have_their_own_keys_and_audiences(issuer: Issuer) -> None:
    with answers_server() as other:
        document = {"issuer": other.url, "jwks_uri": f"{other.url}/keys"}
        other.answers |= {
            DISCOVERY: Reply(200, json.dumps(document)),
            KEYS: Reply(200, jwks(rsa_jwk("other")).decode()),
        }
        issuers = (
            JwtIssuer(issuer.server.url, frozenset((AUDIENCE,))),
            JwtIssuer(other.url, frozenset(("elsewhere",))),
        )
        _, gateway = issuer.gateway("rest", issuers=issuers)
        claims = issuer.claims(iss=other.url, aud="elsewhere")
        token = jwt.encode(claims, rsa_key("other"), "RS256", headers={"kid": "other"})
        assert [status(gateway, each) for each in (token, issuer.token())] == [200, 200]
        mixed = jwt.encode(issuer.claims(iss=other.url), rsa_key("other"), "RS256", headers={"kid": "other"})
        forged = jwt.encode(claims, rsa_key(), "RS256", headers={"kid": "key-1"})
        assert [status(gateway, each) for each in (mixed, forged)] == [401, 401]


# --- Application Load Balancer -------------------------------------------------------------------


def balancer(issuer: Issuer, *claims: AdditionalClaim) -> LoadBalancerCheck:
    return LoadBalancerCheck(JwtValidation(issuer.server.url, f"{issuer.server.url}/keys", claims), issuer.clock)


def forwards(check: LoadBalancerCheck, authorization: str | None) -> bool:
    try:
        check.check(authorization)
    except RejectedTokenError:
        return False
    return True


def test_load_balancer_forwards_valid_tokens_only(issuer: Issuer) -> None:
    issuer.publish(rsa_jwk(), ec_jwk())
    check = balancer(issuer)
    assert forwards(check, f"Bearer {issuer.token()}")
    assert forwards(check, f"Bearer {issuer.token(aud=..., nbf=..., iat=...)}")
    assert not forwards(check, None)
    assert not forwards(check, issuer.token())
    for changes in (*INVALID[1:], {"kid": "ec", "algorithm": "ES256"}):
        assert not forwards(check, f"Bearer {issuer.token(**changes)}")


@pytest.mark.parametrize(
    ("claim_format", "accepted", "rejected"),
    [
        ("single-string", ["a", "b"], ["a b", ["a"], 1, ...]),
        ("space-separated-values", ["a", "x a", "a b"], ["x", "ab", ["a"], ...]),
        ("string-array", [["a"], ["x", "b"]], [["x"], [], "a", [["a"]], ...]),
    ],
)
def test_load_balancer_checks_additional_claims(
    issuer: Issuer, claim_format: Any, accepted: list[object], rejected: list[object]
) -> None:
    check = balancer(issuer, AdditionalClaim("c", claim_format, frozenset(("a", "b"))))
    assert all(forwards(check, f"Bearer {issuer.token(c=value)}") for value in accepted)
    assert not any(forwards(check, f"Bearer {issuer.token(c=value)}") for value in rejected)


@pytest.mark.parametrize(("keys", "padding"), [(11, 0), (1, 150 * 1024)])
def test_load_balancer_does_not_use_a_large_key_set(issuer: Issuer, keys: int, padding: int) -> None:
    issuer.publish(*(rsa_jwk(f"key-{number}", rsa_key()) for number in range(1, 11)))
    balancer(issuer).check(f"Bearer {issuer.token()}")
    issuer.publish(*(rsa_jwk(f"key-{number}", rsa_key(), x=padding * "x") for number in range(1, keys + 1)))
    with pytest.raises(FetchError):
        balancer(issuer).check(f"Bearer {issuer.token()}")
