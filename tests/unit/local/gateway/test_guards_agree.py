"""The guards of AWS, as the laptop emulates them, against Gatehouse's own and against the model of all guards."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authorizer.access_tokens import AccessTokenError, AccessTokens, HttpRequest
from authorizer.app import build
from authorizer.errors import Unauthorized
from authorizer.jws import ALGORITHMS
from authorizer.scope_map import ScopeMap, parse_scope_map
from authorizer.settings import Settings
from authorizer.testing import ProofKey
from infra import guard_plans
from infra.guards import Guard, Need, Requirements, Token, alternatives, decide, obstacles, token_kinds
from local.gateway.core import Gateway
from local.gateway.lambda_runtime import FunctionError
from local.gateway.load_balancer import LoadBalancer, read_rules
from local.gateway.model import Api, Authorizer, IdentitySource, Request, Route
from tests.support import authorizer_events, pyjwt_algorithms
from tests.support.answers_server import AnswersServer, Reply, answers_server
from tests.support.tokens import ec_jwk, ec_key, ed25519_jwk, ed25519_key, encode, forge, jwks, rsa_jwk, rsa_key
from tests.unit.local.gateway.apis import read_template

AUDIENCE = "https://orders.example"
OTHER_AUDIENCE = "https://other.example"
# An issuer of the model must have an https URL. The real one is a server on this machine.
REQUIREMENTS = Requirements("https://issuer.example", frozenset((AUDIENCE,)))
NEEDS = frozenset((Need.OPAQUE, Need.DPOP))
ROUTES = (
    "GET /",
    "GET /orders",
    "POST /orders",
    "GET /orders/{id}",
    "GET /orders/export",
    "DELETE /orders/{id}",
    "GET /orders/{id}/items/{path+}",
    "GET /files/{path+}",
    "GET /files/private",
)
SCOPES = ("orders.read", "orders.write", "files.read")
SOURCE = IdentitySource("header", "Authorization")
SETTINGS = {
    "AUDIENCE": AUDIENCE,
    "ALGORITHMS": ",".join(sorted(ALGORITHMS)),
    "INTROSPECTION_CLIENT_ID": "authorizer",
    "INTROSPECTION_CLIENT_SECRET": "a-secret",
}
"""The shared authorizer's settings in template.yaml."""
RESOURCE = "http://localhost/live"
LIBRARY = {
    "introspection_secret_arn": None,
    "introspection_client_id": "authorizer",
    "introspection_client_secret": "a-secret",
    "replay_table": None,
    "replays_in_memory": True,
    "resource": RESOURCE,
}
"""Values for this machine, in place of the environment variables that a plan names."""
STAGE = "live"
BACKEND = {"Backend": {"Type": "AWS::Serverless::Function", "Properties": {"Handler": "backend.handle"}}}
SURROUNDINGS: Mapping[Guard, dict[str, Any]] = {
    Guard.REST_JWT: {
        "Api": {"Type": "AWS::ApiGateway::RestApi", "Properties": {"Name": "orders"}},
        "Stage": {
            "Type": "AWS::ApiGateway::Stage",
            "Properties": {"RestApiId": {"Ref": "Api"}, "StageName": STAGE, "DeploymentId": "deployment"},
        },
    },
    Guard.HTTP_JWT: {
        "Api": {"Type": "AWS::ApiGatewayV2::Api", "Properties": {"Name": "orders", "ProtocolType": "HTTP"}},
        "Stage": {"Type": "AWS::ApiGatewayV2::Stage", "Properties": {"ApiId": {"Ref": "Api"}, "StageName": STAGE}},
    },
    Guard.ALB: {
        "Listener": {
            "Type": "AWS::ElasticLoadBalancingV2::Listener",
            "Properties": {
                "DefaultActions": [{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "404"}}]
            },
        },
        "Targets": {
            "Type": "AWS::ElasticLoadBalancingV2::TargetGroup",
            "Properties": {"TargetType": "lambda", "Targets": [{"Id": {"Fn::GetAtt": ["Backend", "Arn"]}}]},
        },
    },
}
NATIVE = (Guard.REST_JWT, Guard.HTTP_JWT, Guard.ALB)
OWN = (Guard.LAMBDA, Guard.LIBRARY)


ML_DSA = {alg: private.generate() for alg, (private, _) in pyjwt_algorithms.ML_DSA_KEYS.items()}


@dataclass
class Draft:
    """A request's token before it is signed, with what a test has changed."""

    claims: dict[str, Any]
    header: dict[str, Any] = field(default_factory=lambda: {"alg": "RS256", "kid": "key-1", "typ": "at+jwt"})
    scheme: str = "Bearer "
    more_claims: str = ""
    sign: Callable[[str], str] = lambda token: token

    def authorization(self) -> str:
        """Return the Authorization header."""
        text = json.dumps(self.claims)
        payload = (text[:-1] + self.more_claims + "}").encode()
        algorithm = self.header["alg"]
        keys: Mapping[str, Any] = {
            "ES256": ec_key("ec"),
            "ES384": ec_key("ec384", 384),
            "EdDSA": ed25519_key("ed"),
            "Ed25519": ed25519_key("ed"),
            "PS256": rsa_key(),
            **ML_DSA,
        }
        if algorithm in keys:
            signing_input = f"{encode(json.dumps(self.header).encode())}.{encode(payload)}"
            signature = pyjwt_algorithms.algorithm(algorithm).sign(signing_input.encode(), keys[algorithm])
            token = f"{signing_input}.{encode(signature)}"
        else:
            token = forge(self.header, payload)
        return self.scheme + self.sign(token)


class Issuer:
    """The authorization server: publishes keys and metadata, and introspects opaque tokens."""

    def __init__(self, server: AnswersServer) -> None:
        self.server = server
        self.opaque: dict[str, dict[str, Any]] = {}

    def __repr__(self) -> str:
        return self.server.url

    def draft(self, *scopes: str, audiences: frozenset[str] = REQUIREMENTS.audiences) -> Draft:
        now = int(time.time())
        audience = sorted(audiences)
        claims = {
            "iss": self.server.url,
            "sub": "client",
            "client_id": "client",
            "aud": audience[0] if len(audience) == 1 else audience,
            "scope": " ".join(sorted(scopes)),
            "iat": now,
            "exp": now + 3600,
            "jti": str(uuid4()),
        }
        return Draft(claims)

    def introspect(self, _request: object) -> Reply:
        (token,) = [each for each in self.opaque if each in str(_request)] or [""]
        return Reply(200, json.dumps(self.opaque.get(token, {"active": False})))


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with answers_server() as server:
        issuer = Issuer(server)
        metadata = {"issuer": server.url, "jwks_uri": guard_plans.jwks_endpoint(server.url)}
        keys = jwks(
            rsa_jwk(alg="RS256"),
            rsa_jwk("ps", rsa_key(), alg="PS256"),
            ec_jwk(),
            ec_jwk("ec384", 384),
            ed25519_jwk(),
            *({**pyjwt_algorithms.algorithm(alg).to_jwk(key.public_key()), "kid": alg} for alg, key in ML_DSA.items()),
        ).decode()
        server.answers |= {
            "GET /.well-known/openid-configuration": Reply(200, json.dumps(metadata)),
            f"GET {guard_plans.jwks_endpoint('')}": Reply(200, keys),
            "POST /introspect": issuer.introspect,
        }
        yield issuer


class Guarded:
    """An API behind each of the guards, with the same scope map."""

    def __init__(self, issuer: Issuer, members: Mapping[str, list[str]], needs: frozenset[Need] = frozenset()) -> None:
        self.scope_map = scope_map(members)
        self._sets = alternatives(self.scope_map)
        url = issuer.server.url
        settings = {
            "ISSUER": url,
            "JWKS_URI": guard_plans.jwks_endpoint(url),
            "INTROSPECTION_URI": f"{url}/introspect",
            **SETTINGS,
        }
        self._authorizer = build(
            Settings.from_env({**settings, "SCOPE_MAP": json.dumps(members)}), emit=lambda _line: None
        )
        self.needs = needs
        planned = guard_plans.library_settings(replace(REQUIREMENTS, issuer=url, needs=needs))
        named = {name for name, value in planned.items() if str(value).startswith("$")}
        assert named <= LIBRARY.keys()
        values = {**LIBRARY, "introspection_uri": settings["INTROSPECTION_URI"]} if needs else {}
        self._library = AccessTokens(**{**planned, **values, "jwks_uri": settings["JWKS_URI"]})
        self.expressible = [guard for guard in Guard if not obstacles(guard, self.scope_map, REQUIREMENTS)]
        self._native = {
            guard: self._planned(guard, replace(REQUIREMENTS, issuer=url), routes_of(members))
            for guard in NATIVE
            if guard in self.expressible
        }
        gate = Authorizer("Gate", "Gate", "REQUEST", (SOURCE,), cache_seconds=0)
        pairs = (each.split(" ") for each in routes_of(members))
        routes = tuple(Route(method, path, "Backend", gate) for method, path in pairs)
        self._gateway = Gateway(Api("Api", "api", "rest", STAGE, routes), self._invoke)

    def _planned(self, guard: Guard, wanted: Requirements, routes: list[str]) -> Gateway | LoadBalancer:
        """Return a guard as `gatehouse guard plan` configures it."""
        fragment = guard_plans.plan(guard, self.scope_map, wanted, routes)["Resources"]
        template = read_template(json.loads(json.dumps({"Resources": {**SURROUNDINGS[guard], **BACKEND, **fragment}})))
        if guard is Guard.ALB:
            return LoadBalancer(read_rules(template, template.resources["Listener"]), self._invoke)
        return Gateway(template.api("Api"), self._invoke)

    def __repr__(self) -> str:
        return f"{len(self.scope_map.grants)} grants, {sorted(self.needs)}"

    def status(self, guard: Guard, route: str, authorization: str, proof: str | None = None) -> int:
        """Return the guard's status for a request; 200 means that the API has answered."""
        method, path = request_of(route)
        headers = [("Authorization", authorization), *([("DPoP", proof)] if proof else [])]
        if guard is Guard.LIBRARY:
            return self._verified(route, HttpRequest(method, f"/{STAGE}{path}", headers))
        if guard is Guard.ALB:
            return self._native[guard].handle(Request(method, path, headers=tuple(headers))).status
        gateway = self._gateway if guard is Guard.LAMBDA else self._native[guard]
        return gateway.handle(Request(method, f"/{STAGE}{path}", headers=tuple(headers))).status

    def _verified(self, route: str, request: HttpRequest) -> int:
        try:
            scopes = self._library.verify(request).scopes
        except AccessTokenError as error:
            return error.status
        return 200 if any(each <= scopes for each in self._sets[route_of(route)]) else 403

    def _invoke(self, function: str, event: object) -> object:
        if function == "Backend":
            return {"statusCode": 200}
        assert isinstance(event, dict)
        try:
            return authorizer_events.decide(self._authorizer, event)
        except Unauthorized as error:
            raise FunctionError("Unauthorized", "Unauthorized") from error


@pytest.fixture(scope="module")
def orders(issuer: Issuer) -> Guarded:
    return Guarded(issuer, {"orders.read": ["GET /orders"]}, NEEDS)


def scope_map(members: Mapping[str, list[str]]) -> ScopeMap:
    return parse_scope_map(json.dumps(members).encode())


def route_of(text: str) -> Any:
    (grant,) = scope_map({"any": [text]}).grants
    return grant.routes[0]


def request_of(route: str) -> tuple[str, str]:
    """Return the method and the path of a request for a route."""
    method, path = route.split(" ")
    return method, path.replace("{id}", "7").replace("{path+}", "a/b")


def routes_of(members: Mapping[str, list[str]]) -> list[str]:
    return sorted({route for routes in members.values() for route in routes})


maps = st.dictionaries(
    st.sampled_from((*SCOPES, "orders.read orders.write")),
    st.lists(st.sampled_from(ROUTES), min_size=1, max_size=6, unique=True),
    min_size=1,
)
tokens = st.builds(
    Token,
    scopes=st.frozensets(st.sampled_from(SCOPES)),
    audiences=st.sampled_from([{AUDIENCE}, {AUDIENCE}, {OTHER_AUDIENCE}, {AUDIENCE, OTHER_AUDIENCE}]).map(frozenset),
    algorithm=st.sampled_from(("RS256", "RS256", "PS256", "ES256", "ES384", "Ed25519", "EdDSA", "ML-DSA-65")),
    is_plain=st.booleans(),
    is_opaque=st.booleans(),
    binding=st.sampled_from((None, None, Need.DPOP, Need.MTLS)),
)


def sent(issuer: Issuer, token: Token, route: str) -> tuple[str, str | None]:
    """Return the Authorization header and the proof of a request with a token of the model."""
    key = ProofKey() if token.binding is Need.DPOP and token.proof else None
    draft = issuer.draft(*token.scopes, audiences=token.audiences)
    if token.is_plain:
        draft.claims["scope"] = sorted(token.scopes)
        draft.header["typ"] = "JWT"
    kids = {
        "PS256": "ps",
        "ES256": "ec",
        "ES384": "ec384",
        "EdDSA": "ed",
        "Ed25519": "ed",
        **{alg: alg for alg in ML_DSA},
    }
    draft.header |= {"alg": token.algorithm, "kid": kids.get(token.algorithm, "key-1")}
    if token.binding is Need.DPOP:
        draft.claims["cnf"] = {"jkt": key.thumbprint if key else 43 * "A"}
    if token.binding is Need.MTLS:
        draft.claims["cnf"] = {"x5t#S256": 43 * "A"}
    text = draft.authorization().removeprefix("Bearer ")
    if token.is_opaque:
        text = f"opaque-{uuid4()}"
        issuer.opaque[text] = {"active": True, **draft.claims, "scope": " ".join(sorted(token.scopes))}
    if key is None:
        return f"Bearer {text}", None
    method, path = request_of(route)
    return f"DPoP {text}", key.proof(method, f"{RESOURCE}{path}", text)


@given(maps, tokens, st.booleans(), st.sampled_from((NEEDS, frozenset[Need]())), st.data())
def test_guards_answer_as_the_model_does(
    issuer: Issuer,
    members: dict[str, list[str]],
    token: Token,
    proof: bool,
    needs: frozenset[Need],
    data: st.DataObject,
) -> None:
    guarded = Guarded(issuer, members, needs)
    route = data.draw(st.sampled_from(routes_of(members)))
    token = replace(token, proof=proof and token.binding is Need.DPOP)
    assert Guard.LIBRARY in guarded.expressible
    for guard in guarded.expressible:
        assert answer_of(issuer, guarded, guard, route, token) == expected(guarded, guard, route, token)


KINDS = token_kinds(REQUIREMENTS, frozenset(("orders.read",)))
# Gatehouse's guards may check these with a table of revoked tokens and with mutual TLS, which are not here.
NATIVE_ONLY = ("revoked", "certificate-bound")


@pytest.mark.parametrize("needs", [frozenset[Need](), NEEDS], ids=["without needs", "with needs"])
@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_token_is_answered_as_in_the_model(issuer: Issuer, kind: str, needs: frozenset[Need]) -> None:
    orders = Guarded(issuer, {"orders.read": ["GET /orders"]}, needs)
    for guard in NATIVE if kind in NATIVE_ONLY else Guard:
        found = answer_of(issuer, orders, guard, "GET /orders", KINDS[kind])
        assert found == expected(orders, guard, "GET /orders", KINDS[kind])


def answer_of(issuer: Issuer, guarded: Guarded, guard: Guard, route: str, token: Token) -> tuple[Guard, int]:
    """Return the guard and its status. A proof of a key is valid once, so each guard gets its own."""
    authorization, proof = sent(issuer, token, route)
    return guard, guarded.status(guard, route, authorization, proof)


def expected(guarded: Guarded, guard: Guard, route: str, token: Token) -> tuple[Guard, int]:
    wanted = replace(REQUIREMENTS, needs=guarded.needs)
    return guard, decide(guard, wanted, token, alternatives(guarded.scope_map)[route_of(route)]).status


# --- Tokens that the model does not know ---------------------------------------------------------

Change = Callable[[Draft], object]


def claim(**changes: object) -> Change:
    """Return a change of claims; `...` removes a claim."""

    def change(draft: Draft) -> None:
        changed = draft.claims | changes
        draft.claims = {name: value for name, value in changed.items() if value is not ...}

    return change


def header(**changes: object) -> Change:
    return lambda draft: draft.header.update(changes)


def in_seconds(name: str, seconds: int) -> Change:
    return lambda draft: draft.claims.update({name: int(time.time()) + seconds})


def damaged(token: str) -> str:
    return f"{token[:-8]}AAAAAAAA"


def without_signature(token: str) -> str:
    return token.rpartition(".")[0] + "."


# Every guard rejects these.
REJECTED: Mapping[str, Change] = {
    "expired": in_seconds("exp", -1),
    "no exp": claim(exp=...),
    "exp is text": claim(exp="2100-01-01"),
    "not valid yet": in_seconds("nbf", 600),
    "issued in the future": in_seconds("iat", 600),
    "another issuer": claim(iss="https://other-issuer.example"),
    "no issuer": claim(iss=...),
    "another audience": claim(aud=OTHER_AUDIENCE),
    "an unknown key": header(kid="key-2"),
    "another key": header(kid="ec"),
    "forged": lambda draft: setattr(draft, "sign", damaged),
    "no signature": lambda draft: setattr(draft, "sign", without_signature),
    "cut off": lambda draft: setattr(draft, "sign", lambda token: token[:40]),
    "PS256": header(alg="PS256"),
    "alg none": header(alg="none"),
    "HS256": header(alg="HS256"),
    "crit": header(crit=["b64"], b64=False),
    "opaque": lambda draft: setattr(draft, "sign", lambda _token: "unknown-opaque-token"),
}
# The documented differences. AWS's guards accept these, and Gatehouse's reject them.
NATIVE_GUARDS_ACCEPT: Mapping[str, Change] = {
    "bound to a DPoP key": claim(cnf={"jkt": 43 * "A"}),
    "bound to a certificate": claim(cnf={"x5t#S256": 43 * "A"}),
    "an ID token": claim(nonce="n"),
    "a token for a security event": claim(events={}),
    "valid for more than a day": in_seconds("exp", 10**8),
    "no subject and no client": claim(sub=..., client_id=...),
    "two clients": claim(azp="another"),
    "scope and scp differ": claim(scp="files.read"),
    "a scope of all": claim(scope="orders.read *"),
    "at+jwt without jti": claim(jti=...),
    "type of another token": header(typ="logout+jwt"),
    "a key in the header": header(jwk={"kty": "oct"}),
    "the address of a key in the header": header(jku="https://other-issuer.example"),
    "a claim twice": lambda draft: setattr(draft, "more_claims", ', "jti": "again"'),
    "a number beyond 53 bits": claim(balance=2**60),
}
# Gatehouse's guards accept these, and AWS's reject them: clocks may differ by 30 seconds.
OWN_GUARDS_ACCEPT: Mapping[str, Change] = {
    "valid in ten seconds": in_seconds("nbf", 10),
    "issued in ten seconds": in_seconds("iat", 10),
}
# Only some of AWS's guards answer as Gatehouse's do.
PARTLY_ACCEPTED: Mapping[str, tuple[Change, frozenset[Guard]]] = {
    "RS512": (header(alg="RS512"), frozenset()),
    "no scheme": (lambda draft: setattr(draft, "scheme", ""), frozenset((Guard.REST_JWT, Guard.HTTP_JWT))),
    "a client instead of an audience": (claim(aud=..., client_id=AUDIENCE), frozenset((Guard.HTTP_JWT,))),
    "several audiences": (claim(aud=[AUDIENCE, OTHER_AUDIENCE]), frozenset((Guard.REST_JWT, Guard.HTTP_JWT, *OWN))),
    "a list of scopes": (claim(scope=["orders.read"]), frozenset((Guard.REST_JWT, Guard.HTTP_JWT, *OWN))),
    "scp without scope": (claim(scope=..., scp="orders.read"), frozenset((Guard.REST_JWT, Guard.HTTP_JWT, *OWN))),
}
CHANGES = {
    **{name: (change, frozenset[Guard]()) for name, change in REJECTED.items()},
    **{name: (change, frozenset(NATIVE)) for name, change in NATIVE_GUARDS_ACCEPT.items()},
    **{name: (change, frozenset(OWN)) for name, change in OWN_GUARDS_ACCEPT.items()},
    **PARTLY_ACCEPTED,
}


def accepting(issuer: Issuer, orders: Guarded, *names: str) -> frozenset[Guard]:
    """Return the guards that accept a valid token after some changes."""
    found: set[Guard] = set()
    for guard in Guard:
        draft = issuer.draft("orders.read")
        for name in names:
            CHANGES[name][0](draft)
        if orders.status(guard, "GET /orders", draft.authorization()) == 200:
            found.add(guard)
    return frozenset(found)


def test_valid_token_is_accepted_by_every_guard(issuer: Issuer, orders: Guarded) -> None:
    assert accepting(issuer, orders) == frozenset(Guard)


@pytest.mark.parametrize("name", CHANGES)
def test_each_documented_difference_exists(issuer: Issuer, orders: Guarded, name: str) -> None:
    assert accepting(issuer, orders, name) == CHANGES[name][1]


@given(st.lists(st.sampled_from(sorted(CHANGES)), min_size=2, max_size=4, unique=True))
def test_no_native_guard_accepts_more_than_the_differences(issuer: Issuer, orders: Guarded, names: list[str]) -> None:
    found = accepting(issuer, orders, *names)
    assert (Guard.LAMBDA in found) == (Guard.LIBRARY in found)
    for guard in found & frozenset(NATIVE):
        assert Guard.LAMBDA in found or any(guard in CHANGES[name][1] for name in names)
