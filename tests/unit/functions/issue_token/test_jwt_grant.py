"""JWTs of other issuers as authorization grants, at the token endpoint."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from authorizer import base64url
from functions.issue_token.jwt_grant import TYPES
from functions.shared.authentication.credentials import ASSERTION_TYPE, ASSERTION_TYPES
from functions.shared.authentication.rate_limit import Limits
from functions.shared.clients.assertion_rules import FederationRule
from functions.shared.clients.client import Client, TokenFormat, TokenProfile
from functions.shared.clients.supported import CLIENT_CREDENTIALS, JWT_BEARER, TOKEN_EXCHANGE
from functions.shared.clients.trust_rule import ID_JAG_TYPE, GrantProfile, TrustRule, federated_clients
from functions.shared.web.endpoint import TOKEN_PATH, ProxyResponse
from tests.support.assertions import assertion
from tests.support.aws import ISSUER
from tests.support.client_certificates import certificate_pem, with_certificate
from tests.support.dpop_proofs import proof
from tests.support.memory_server import TOKEN_URL, MemoryServer
from tests.support.memory_stores import MemoryClients
from tests.support.proxy_events import basic, form_event
from tests.support.pyjwt_algorithms import algorithm
from tests.support.server import NOW, SECRET, assertion_client, client
from tests.support.tokens import ec_jwk, ec_key, ed25519_jwk, ed25519_key, jwks, rsa_jwk, rsa_key

GITHUB: Final = "https://token.actions.githubusercontent.com"
IDP: Final = "https://acme.idp.example"
API: Final = "https://api.example"
OTHER_API: Final = "https://other.example"
CLAIMS: Final[dict[str, Any]] = {
    "iss": GITHUB,
    "sub": "repo:acme/shop:environment:prod",
    "aud": ISSUER,
    "iat": NOW - 10,
    "exp": NOW + 290,
    "jti": "one",
    "repository": "acme/shop",
    "environment": "prod",
}
ID_JAG: Final[dict[str, Any]] = {
    "iss": IDP,
    "sub": "U019488227",
    "aud": ISSUER,
    "client_id": "agent",
    "iat": NOW - 10,
    "exp": NOW + 290,
    "jti": "one",
    "resource": API,
    "scope": "customer.read country.read chat.write",
}


def deployer(**changes: Any) -> Client:
    """Return a client without authentication methods that only assertions can use."""
    return assertion_client(
        "deployer",
        API,
        **{
            "allowed_resources": frozenset({OTHER_API}),
            "default_scopes": ("country.read", "customer.read"),
            "token_lifetime": 7200,
            **changes,
        },
    )


def agent(**changes: Any) -> Client:
    """Return a client with a secret that presents ID-JAGs."""
    return client(
        "agent",
        **{
            "grant_types": frozenset({CLIENT_CREDENTIALS, JWT_BEARER}),
            "token_profile": TokenProfile.AT_JWT,
            "audience": (API,),
            "allowed_resources": frozenset({OTHER_API}),
            **changes,
        },
    )


RULE: Final = TrustRule(
    name="deploy", issuer=GITHUB, client_id="deployer", claims={"repository": "acme/shop", "environment": "prod"}
)
JAG_RULE: Final = TrustRule(name="idp", issuer=IDP, client_id="agent", profile=GrantProfile.ID_JAG)


class Server(MemoryServer):
    """A server that trusts two issuers by these rules."""

    def __init__(self, *rules: TrustRule, clients: tuple[Client, ...] | None = None) -> None:
        super().__init__(MemoryClients(*((deployer(), agent()) if clients is None else clients)))
        self.trust.entries.extend(rules or (RULE, JAG_RULE))
        for issuer in (GITHUB, IDP, ISSUER):
            self.issuers.publish(issuer, rsa_jwk("idp"), ec_jwk("ec"), ed25519_jwk("ed"))

    def send(
        self, unverified: str, *, as_client: str = "", headers: Mapping[str, str] | None = None, **more: str
    ) -> ProxyResponse:
        """Send an assertion, with the secret of `as_client` if one is named."""
        form = {"grant_type": JWT_BEARER, "assertion": unverified, **more}
        sent = {**(basic(as_client, SECRET) if as_client else {}), **(headers or {})}
        return self.token_endpoint(form_event(TOKEN_PATH, form, headers=sent))

    def grant(self, unverified: str, **rest: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the response's members and the token's claims."""
        return granted(self.send(unverified, **rest))

    def refuse(self, unverified: str, error: str = "invalid_grant", **rest: Any) -> str:
        """Return the reason in the log."""
        return self.refused(self.send(unverified, **rest), error)

    def refused(self, response: ProxyResponse, error: str) -> str:
        """Return the reason in the log of a request that was refused."""
        body = json.loads(response["body"])
        status = {"invalid_client": 401, "server_error": 500, "temporarily_unavailable": 503}.get(error, 400)
        assert (response["statusCode"], body["error"]) == (status, error), (response, self.log[-1])
        if error == "invalid_grant" and not re.search("bound to|details", body["error_description"]):
            assert body["error_description"] == "The assertion is not acceptable."
        return str(json.loads(self.log[-1])["reason"])


def granted(response: ProxyResponse) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the response's members and the token's claims."""
    assert response["statusCode"] == 200, response
    members = json.loads(response["body"])
    return members, jwt.decode(members["access_token"], options={"verify_signature": False})


def token(changes: Mapping[str, Any] | None = None, base: Mapping[str, Any] = CLAIMS, **header: Any) -> str:
    """Sign claims with the issuer's key; a claim set to ... is left out."""
    given = {name: value for name, value in {**base, **(changes or {})}.items() if value is not ...}
    return assertion(given, **{"alg": "RS256", "kid": "idp"} | header)


def id_jag(changes: Mapping[str, Any] | None = None, **header: Any) -> str:
    return token(changes, ID_JAG, **{"typ": ID_JAG_TYPE} | header)


FORGED: Final = jwt.encode(CLAIMS, rsa_key("another"), "RS256", {"kid": "idp"})


def test_rfc7523_2_1_assertion_gets_a_token_of_the_rules_client() -> None:
    at = Server()
    members, claims = at.grant(token())
    assert (members["token_type"], members["scope"], members["expires_in"]) == (
        *("Bearer", "country.read customer.read", 3599),
    )
    assert "resource" not in members
    expected = {"sub": CLAIMS["sub"], "client_id": "deployer", "aud": API, "iss": ISSUER, "exp": NOW + 3600}
    assert {name: claims[name] for name in expected} == expected
    line = json.loads(at.log[-1])
    logged = ("client_id", "trust_rule", "assertion_issuer", "subject", "outcome", "grant_type")
    assert [line[name] for name in logged] == [*("deployer", "deploy", GITHUB, CLAIMS["sub"], "success", JWT_BEARER)]


def test_opaque_token_has_the_subject_and_the_copied_claims() -> None:
    rule = replace(RULE, copied_claims=frozenset({"environment", "repository"}))
    reader = client("reader", resource_audiences=frozenset({API}))
    at = Server(rule, clients=(deployer(token_format=TokenFormat.OPAQUE, claims={"tenant": "acme"}), reader))
    shown = at.introspect("reader", json.loads(at.send(token())["body"])["access_token"])
    assert (shown["sub"], shown["client_id"]) == (CLAIMS["sub"], "deployer")
    assert (shown["tenant"], shown["environment"], shown["repository"]) == ("acme", "prod", "acme/shop")


def test_copied_claim_does_not_replace_a_claim_of_the_client() -> None:
    rule = replace(RULE, copied_claims=frozenset({"environment", "repository"}))
    _, claims = Server(rule, clients=(deployer(claims={"environment": "test"}),)).grant(token())
    assert (claims["environment"], claims["repository"]) == ("test", "acme/shop")


def test_token_is_exchanged_with_its_client_as_the_first_actor() -> None:
    shop = agent(exchange_subjects=frozenset({"deployer"}), resource_audiences=frozenset({API}))
    shop = replace(shop, client_id="shop", grant_types=frozenset({CLIENT_CREDENTIALS, TOKEN_EXCHANGE}))
    at = Server(clients=(deployer(), shop))
    members, first = at.grant(token())
    exchange = {
        "grant_type": TOKEN_EXCHANGE,
        "subject_token": members["access_token"],
        "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
        "scope": "country.read",
    }
    exchanged = at.token("shop", exchange)["access_token"]
    claims = jwt.decode(exchanged, options={"verify_signature": False})
    assert (claims["sub"], claims["act"]) == (CLAIMS["sub"], {"sub": "shop", "act": {"sub": "deployer"}})
    assert claims["sub_id"] == first["sub_id"] == {"format": "iss_sub", "iss": GITHUB, "sub": CLAIMS["sub"]}
    assert at.introspect("shop", exchanged)["active"]
    at.clients.put(deployer(disabled=True))
    assert not at.introspect("shop", exchanged)["active"]


def test_rule_narrows_the_client() -> None:
    rule = replace(
        RULE,
        subject="shop",
        scopes=frozenset({"country.read", "unknown"}),
        audiences=frozenset({OTHER_API}),
        lifetime=60,
        copied_claims=frozenset({"environment"}),
    )
    at = Server(rule)
    members, claims = at.grant(token())
    assert (members["scope"], members["expires_in"], claims["exp"]) == ("country.read", 59, NOW + 60)
    assert (claims["sub"], claims["aud"], claims["environment"]) == ("shop", OTHER_API, "prod")
    for scope in ("customer.read", "unknown"):
        at.refuse(token(), "invalid_scope", scope=scope)
    at.refuse(token(), "invalid_target", resource=API)


def test_client_limits_the_lifetime_of_its_tokens() -> None:
    members, _ = Server(clients=(deployer(token_lifetime=60),)).grant(token())
    assert members["expires_in"] == 59


def test_request_chooses_scopes_and_resource_of_the_client() -> None:
    _, claims = Server().grant(token(), scope="customer.write", resource=OTHER_API)
    assert (claims["scope"], claims["aud"]) == ("customer.write", OTHER_API)


@pytest.mark.parametrize(
    "changes",
    [
        {"repository": "acme/other"},
        {"environment": ...},
        *({"aud": aud} for aud in ("https://other.example", [ISSUER, "https://other.example"], TOKEN_URL, ..., "")),
        *({"exp": exp} for exp in (..., NOW, "tomorrow")),
        *({"iat": iat} for iat in (..., NOW - 3631, NOW + 60)),
        {"nbf": NOW + 60},
        *({"sub": sub} for sub in (..., "", ["a"], "a\nb", "a" * 257)),
        *({"iss": iss} for iss in (..., "https://unknown.example", GITHUB + "/", [GITHUB], "")),
        {"nonce": "of a login"},
        {"at_hash": "of an access token"},
        {"events": {"http://schemas.openid.net/event/backchannel-logout": {}}},
        *({"cnf": cnf} for cnf in ({}, {"jkt": "short"})),
    ],
    ids=str,
)
def test_unacceptable_assertion_is_invalid_grant(changes: dict[str, Any]) -> None:
    assert Server().refuse(token(changes))


@pytest.mark.parametrize(
    "header",
    [
        *({"typ": each} for each in ("at+jwt", "dpop+jwt", "logout+jwt", "secevent+jwt", "client-authentication+jwt")),
        {"typ": "token-introspection+jwt"},
        {"typ": ID_JAG_TYPE, "kid": "idp"},
        {"kid": "unknown"},
        {"kid": ...},
        {"crit": ["exp"]},
        {"jku": "https://attacker.example"},
        {"jwk": rsa_jwk("idp")},
    ],
    ids=lambda header: str(header)[:20],
)
def test_other_kinds_of_jwt_and_headers_are_refused(header: dict[str, Any]) -> None:
    is_id_jag = header.get("typ") == ID_JAG_TYPE
    if is_id_jag:
        Server().refuse(token(**header), "invalid_client")
    Server().refuse(token(**header), as_client="agent" if is_id_jag else "")


def test_types_of_grants_and_client_assertions_differ() -> None:
    common = {None, "jwt", "jose"}
    assert common == TYPES & ASSERTION_TYPES
    assert common | {ID_JAG_TYPE, "authorization-grant+jwt"} == TYPES


@pytest.mark.parametrize("typ", ["authorization-grant+jwt", "JOSE", "application/jwt", ...])
def test_usual_types_are_accepted(typ: Any) -> None:
    Server().grant(token(typ=typ))


@pytest.mark.parametrize("alg", ["none", "HS256"])
def test_algorithm_confusion_is_refused(alg: str) -> None:
    public = "the modulus " + str(rsa_jwk("idp")["n"])
    Server().refuse(jwt.encode(CLAIMS, public if alg == "HS256" else "", algorithm=alg, headers={"kid": "idp"}))


@pytest.mark.parametrize(
    "change",
    [
        lambda made: made[:-8] + "AAAAAAAA",
        lambda made: made.rsplit(".", 1)[0] + ".",
        lambda made: made + "." + made,
        lambda made: made + "a" * 9000,
        lambda made: "not-a-jwt" + made,
        lambda made: made.replace(".", ".e30", 1),
        lambda made: json.dumps({"payload": made}),
        lambda made: f"{made.split('.')[0]}.{base64url.encode(b'[1]')}.{made.split('.')[2]}",
        lambda made: f"{made.split('.')[0]}.{base64url.encode(b'{')}.{made.split('.')[2]}",
    ],
)
def test_malformed_or_changed_assertions_are_refused(change: Callable[[str], str]) -> None:
    at = Server()
    at.refuse(change(token()))
    assert at.issuers.fetched in ([], [GITHUB], [GITHUB] * 2)


def test_signature_of_another_key_is_refused() -> None:
    assert Server().refuse(FORGED) == "assertion: signature_invalid"


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(max_size=9)
    | st.sampled_from([ISSUER, API, GITHUB]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["jkt", "a"]), inner, max_size=2),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from([*ID_JAG, "cnf", "nbf", "groups", "environment"]), _JSON, max_size=3))
def test_no_claims_break_the_endpoint(changes: dict[str, Any]) -> None:
    at = Server(replace(RULE, copied_claims=frozenset({"groups"})), JAG_RULE)
    for response in (at.send(token(changes)), at.send(id_jag(changes), as_client="agent")):
        assert response["statusCode"] in {200, 400}, at.log[-1]


def test_own_tokens_are_not_grants() -> None:
    """A rule for this server's own issuer would turn its access tokens and ID-JAGs into grants."""
    at = Server(RULE, replace(RULE, issuer=ISSUER), replace(JAG_RULE, issuer=ISSUER))
    at.refuse(token({"iss": ISSUER}))
    at.refuse(id_jag({"iss": ISSUER}), as_client="agent")
    at.refuse(at.grant(token())[0]["access_token"])


def test_rule_can_accept_the_token_endpoint_as_audience() -> None:
    at = Server(replace(RULE, accepts_token_endpoint=True))
    at.grant(token({"aud": TOKEN_URL}))
    at.grant(token({"aud": [ISSUER]}))
    at.refuse(token({"aud": [ISSUER, TOKEN_URL]}))


def test_rule_may_name_another_audience() -> None:
    at = Server(replace(RULE, audience="https://github.com/acme"))
    at.grant(token({"aud": "https://github.com/acme"}))
    at.refuse(token())


@pytest.mark.parametrize("registered", ["EdDSA", "Ed25519"])
@pytest.mark.parametrize("alg", ["EdDSA", "Ed25519"])
def test_rfc9864_2_2_rule_for_one_name_of_ed25519_accepts_both(registered: str, alg: str) -> None:
    assert algorithm(alg)
    at = Server(replace(RULE, algorithms=frozenset({registered})))
    at.grant(jwt.api_jws.encode(json.dumps(CLAIMS).encode(), ed25519_key("ed"), alg, {"kid": "ed"}))
    at.refuse(token())


@pytest.mark.parametrize("sub", ["x" * 257, "caf\u00e9", "a\nb", "a\0"], ids=ascii)
def test_subject_is_short_text_although_the_rule_has_another(sub: str) -> None:
    for format_ in TokenFormat:
        at = Server(replace(RULE, subject="shop"), clients=(deployer(token_format=format_),))
        assert at.refuse(token({"sub": sub})) == "no trust rule matches: deploy: sub_malformed"


def test_rule_narrows_the_algorithms() -> None:
    at = Server(replace(RULE, algorithms=frozenset({"ES256"})))
    at.refuse(token())
    at.grant(token(alg="ES256", kid="ec"))


def test_inline_keys_are_used_without_a_fetch() -> None:
    at = Server(replace(RULE, jwks=jwks(rsa_jwk("idp"), ec_jwk("ec"), ed25519_jwk("ed")).decode()))
    for alg, kid in (("ES256", "ec"), ("EdDSA", "ed"), ("RS256", "idp")):
        at.grant(token(alg=alg, kid=kid))
        at.refuse(token(alg=alg, kid="unknown"))
    assert at.issuers.fetched == []


@pytest.mark.parametrize(
    ("alg", "kid"),
    [
        *((alg, "idp") for alg in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")),
        *(("ES256", "p256"), ("ES384", "p384"), ("ES512", "p521"), ("EdDSA", "ed"), ("Ed25519", "ed")),
    ],
)
@pytest.mark.parametrize("is_inline", [True, False])
def test_mixed_key_set_without_algorithms_verifies_all_of_them(alg: str, kid: str, *, is_inline: bool) -> None:
    assert algorithm(alg)
    keys = [rsa_jwk("idp"), *(ec_jwk(f"p{bits}", bits) for bits in (256, 384, 521)), ed25519_jwk("ed")]
    private: dict[str, Any] = {f"p{bits}": ec_key(f"p{bits}", bits) for bits in (256, 384, 521)}
    private |= {"idp": rsa_key("idp"), "ed": ed25519_key("ed")}
    at = Server(replace(RULE, jwks=jwks(*keys).decode()) if is_inline else RULE)
    at.issuers.publish(GITHUB, *keys)
    signed, wrong = (
        jwt.api_jws.encode(json.dumps(CLAIMS).encode(), private[kid], alg, {"kid": named})
        for named in (kid, "p256" if kid == "idp" else "idp")
    )
    at.grant(signed)
    at.refuse(wrong)


def test_key_set_of_the_rule_is_used() -> None:
    at = Server(replace(RULE, jwks_uri="https://keys.example/jwks"))
    at.issuers.publish("https://keys.example/jwks", rsa_jwk("idp"))
    at.grant(token())
    assert at.issuers.fetched == ["https://keys.example/jwks"]


@pytest.mark.parametrize(
    ("rules", "clients"),
    [
        ((replace(RULE, disabled=True),), (deployer(),)),
        ((RULE,), (deployer(disabled=True),)),
        ((RULE,), ()),
        ((RULE, replace(RULE, name="too", claims={"environment": "prod"})), (deployer(),)),
    ],
    ids=["rule disabled", "client disabled", "client unknown", "ambiguous"],
)
def test_disabled_missing_and_ambiguous_are_denied(rules: tuple[TrustRule, ...], clients: tuple[Client, ...]) -> None:
    reason = Server(*rules, clients=clients).refuse(token())
    assert reason == "several trust rules match: deploy, too" if len(rules) > 1 else "deploy" in reason


def test_client_id_selects_one_of_several_rules() -> None:
    reader = replace(RULE, name="read", client_id="reader")
    at = Server(RULE, reader, clients=(deployer(), replace(deployer(), client_id="reader")))
    at.refuse(token())
    for client_id in ("deployer", "reader"):
        assert at.grant(token(), client_id=client_id)[1]["client_id"] == client_id
    at.refuse(token(), client_id="other")


def test_client_without_the_grant_type_is_unauthorized() -> None:
    at = Server(clients=(deployer(grant_types=frozenset({CLIENT_CREDENTIALS})),))
    at.refuse(token(), "unauthorized_client")


def test_plain_tokens_cannot_have_this_grant_type() -> None:
    with pytest.raises(ValueError, match="separate client and subject"):
        deployer(token_profile=TokenProfile.PLAIN)


def test_rfc7521_4_1_sent_credentials_must_be_valid_and_select_the_client() -> None:
    at = Server(replace(RULE, name="agents", client_id="agent"))
    assert at.grant(token(), as_client="agent")[1]["client_id"] == "agent"
    at.refuse(token(), "invalid_client", headers=basic("agent", "wrong"))
    at.refuse(token(), "invalid_client", client_id="agent", client_secret="wrong")
    Server().refuse(token(), as_client="agent")  # its rule is for the deployer


def test_rule_can_require_client_authentication() -> None:
    at = Server(replace(RULE, client_id="agent", authenticates_client=True))
    at.refuse(token(), "invalid_client")
    at.grant(token(), as_client="agent")


def test_other_grant_types_still_need_credentials() -> None:
    Server().refuse(token(), "invalid_client", grant_type=CLIENT_CREDENTIALS, client_id="deployer")


@pytest.mark.parametrize(
    "form",
    [
        [("grant_type", JWT_BEARER)],
        [("grant_type", JWT_BEARER), ("assertion", "")],
        [("grant_type", JWT_BEARER), ("assertion", "a"), ("assertion", "b")],
        [("grant_type", JWT_BEARER), ("grant_type", JWT_BEARER), ("assertion", "a")],
        [("grant_type", JWT_BEARER), ("assertion", "a"), ("client_id", "a"), ("client_id", "b")],
    ],
    ids=str,
)
def test_missing_and_repeated_parameters_are_invalid_requests(form: list[tuple[str, str]]) -> None:
    at = Server()
    at.refused(at.token_endpoint(form_event(TOKEN_PATH, form)), "invalid_request")


@pytest.mark.parametrize("name", ["assertion", "client_id", "client_assertion"])
def test_assertion_and_credentials_are_refused_in_the_uri(name: str) -> None:
    at = Server()
    form = {"grant_type": JWT_BEARER, "assertion": token()}
    at.refused(at.token_endpoint(form_event(TOKEN_PATH, form, query={name: "x"})), "invalid_request")


def test_assertion_is_accepted_repeatedly_unless_the_rule_forbids_it() -> None:
    at = Server()
    for _ in range(2):
        at.grant(token())
    at = Server(replace(RULE, one_time=True))
    at.grant(token())
    assert at.refuse(token()) == "assertion: used before"
    at.grant(token({"jti": "two"}))
    assert at.refuse(token({"jti": ...})) == "assertion: jti_missing"


def test_refused_requests_do_not_use_the_assertion() -> None:
    at = Server(replace(RULE, one_time=True))
    at.refuse(token(), "invalid_scope", scope="unknown")
    at.grant(token())


def test_dpop_binds_the_token() -> None:
    members, claims = Server().grant(token(), headers={"DPoP": proof()})
    assert members["token_type"] == "DPoP"
    assert set(claims["cnf"]) == {"jkt"}
    bound = Server(clients=(deployer(dpop_bound_access_tokens=True),))
    bound.refuse(token(), "invalid_request")
    assert bound.grant(token(), headers={"DPoP": proof()})[0]["token_type"] == "DPoP"


def test_bound_assertion_needs_a_proof_of_its_key() -> None:
    at = Server()
    bound = token({"cnf": at.grant(token(), headers={"DPoP": proof()})[1]["cnf"]})
    at.refuse(bound)
    at.grant(bound, headers={"DPoP": proof(jti="another")})
    at.refuse(bound, headers={"DPoP": proof(jti="third", number=2)})


def test_certificate_binds_the_token_without_authenticating() -> None:
    at = Server(clients=(deployer(tls_client_certificate_bound_access_tokens=True),))
    form = {"grant_type": JWT_BEARER, "assertion": token(), "client_id": "deployer"}
    event = with_certificate(form_event(TOKEN_PATH, form), certificate_pem())
    _, claims = granted(at.token_endpoint(event))
    assert set(claims["cnf"]) == {"x5t#S256"}
    at.refuse(token(), "invalid_request")


def test_id_jag_gets_a_token_for_its_resource() -> None:
    members, claims = Server().grant(id_jag(), as_client="agent")
    assert (members["scope"], members["resource"]) == ("customer.read country.read", API)
    assert (claims["sub"], claims["client_id"], claims["aud"]) == (ID_JAG["sub"], "agent", API)


@pytest.mark.parametrize(
    "changes",
    [
        *({"client_id": client_id} for client_id in ("deployer", ...)),
        *({"aud": aud} for aud in (TOKEN_URL, [ISSUER, API])),
        {"jti": ...},
        {"iat": ...},
        {"scope": ["customer.read"]},
        *({"resource": resource} for resource in (7, "not-a-uri")),
        {"authorization_details": [{"type": "payment"}]},
    ],
    ids=str,
)
def test_unacceptable_id_jag_is_invalid_grant(changes: dict[str, Any]) -> None:
    Server().refuse(id_jag(changes), as_client="agent")


@pytest.mark.parametrize("typ", ["JWT", "at+jwt", ..., "authorization-grant+jwt"])
def test_id_jag_profile_requires_its_type(typ: Any) -> None:
    Server().refuse(id_jag(typ=typ), as_client="agent")


def test_id_jag_needs_client_authentication() -> None:
    at = Server()
    at.refuse(id_jag(), "invalid_client")
    at.refuse(id_jag(), "invalid_client", client_id="agent")
    at.refuse(id_jag(), "invalid_client", headers=basic("agent", "wrong"))
    at.grant(id_jag(), as_client="agent")


def test_id_jag_of_another_client_is_refused() -> None:
    Server(clients=(agent(), replace(agent(), client_id="thief"))).refuse(id_jag(), as_client="thief")


@pytest.mark.parametrize(
    ("client_id", "claimed"), [("agent", ["other", "agent"]), ("agent", ["agent"]), ("a*", "agent"), ("*", "agent")]
)
def test_client_id_of_an_id_jag_is_exactly_the_clients(client_id: str, claimed: Any) -> None:
    at = Server(replace(JAG_RULE, client_id=client_id), clients=(replace(agent(), client_id=client_id),))
    reason = at.refuse(id_jag({"client_id": claimed}), as_client=client_id)
    assert reason == "no trust rule matches: idp: client_id"
    at.grant(id_jag({"client_id": client_id}), as_client=client_id)


def test_id_jag_is_accepted_once() -> None:
    at = Server()
    at.grant(id_jag(), as_client="agent")
    assert at.refuse(id_jag(), as_client="agent") == "assertion: used before"
    at.grant(id_jag({"jti": "two"}), as_client="agent")


@pytest.mark.parametrize(
    ("claimed", "requested", "scopes"),
    [
        ("customer.read chat.write", None, "customer.read"),
        ("customer.read country.read", "country.read", "country.read"),
        ("customer.read", "customer.read country.read", None),
        ("customer.read chat.write", "chat.write", None),
        ("chat.write", None, None),
        ("", None, None),
        (..., "customer.read", "customer.read"),
    ],
)
def test_scopes_of_id_jag_client_and_request_are_intersected(
    claimed: Any, requested: str | None, scopes: str | None
) -> None:
    request: dict[str, Any] = {"as_client": "agent", "scope": requested or ""}
    if scopes is None:
        Server().refuse(id_jag({"scope": claimed}), "invalid_scope", **request)
    else:
        assert Server().grant(id_jag({"scope": claimed}), **request)[0]["scope"] == scopes


@pytest.mark.parametrize(
    ("claimed", "requested", "audience"),
    [
        ([API], None, API),
        (API, API, API),
        ([API, "https://foreign.example"], None, API),
        ([API, OTHER_API], OTHER_API, OTHER_API),
        ([API, OTHER_API], None, None),
        (API, OTHER_API, None),
        ("https://foreign.example", None, None),
        (..., None, API),
        (..., OTHER_API, OTHER_API),
    ],
)
def test_resources_of_id_jag_client_and_request_are_intersected(
    claimed: Any, requested: str | None, audience: str | None
) -> None:
    request: dict[str, Any] = {"as_client": "agent", "resource": requested or ""}
    if audience is None:
        Server().refuse(id_jag({"resource": claimed}), "invalid_target", **request)
    else:
        assert Server().grant(id_jag({"resource": claimed}), **request)[1]["aud"] == audience


def test_id_jag_is_not_a_client_assertion() -> None:
    federation = (FederationRule(issuer=IDP, audience=ISSUER, subject="U019488227"),)
    workload = client("agent", authentication_methods=frozenset({"federated_jwt"}), federation=federation, secrets=())
    at = Server(clients=(workload,))
    at.trust.entries.extend(federated_clients(workload))
    form = {"grant_type": CLIENT_CREDENTIALS, "client_assertion_type": ASSERTION_TYPE}
    for more in ({}, {"client_id": "agent"}):
        event = form_event(TOKEN_PATH, {**form, "client_assertion": id_jag(), **more})
        at.refused(at.token_endpoint(event), "invalid_client")
    plain = form_event(TOKEN_PATH, {**form, "client_assertion": token({}, ID_JAG)})
    assert at.token_endpoint(plain)["statusCode"] == 200


def test_trust_table_outage_is_503_and_stale_rules_bridge_it() -> None:
    at = Server()
    at.trust.is_unavailable = True
    at.refuse(token(), "temporarily_unavailable")
    at.trust.is_unavailable = False
    at.clock.now += 11
    at.grant(token())
    at.trust.is_unavailable = True
    at.clock.now += 31
    at.grant(token())
    at.refuse(token({"repository": "acme/other"}), "temporarily_unavailable")


def test_key_outage_is_503() -> None:
    at = Server()
    del at.issuers.published[GITHUB]
    at.refuse(token(), "temporarily_unavailable")


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [(RULE, replace(RULE, name="staging", claims={"environment": "staging"}), {"environment": "staging"}),
     (JAG_RULE, RULE, {})],
    ids=["rule", "issuer"],
)  # fmt: skip
def test_new_rules_and_issuers_apply_at_once(old: TrustRule, new: TrustRule, changes: dict[str, Any]) -> None:
    at = Server(old)
    at.refuse(token(changes))
    at.trust.entries.append(new)
    at.clock.now += 1
    at.grant(token(changes))


def test_unreadable_rule_is_a_server_error_for_what_no_other_matches() -> None:
    broken = replace(RULE, name="broken")
    object.__setattr__(broken, "max_age", 0)  # as a future version may write it
    at = Server(RULE, broken)
    at.grant(token())
    at.refuse(token({"environment": "staging"}), "server_error")


def test_flood_of_unknown_issuers_is_limited_without_fetches() -> None:
    at = Server()
    at.grant(token())
    fetched, lookups, limit = len(at.issuers.fetched), len(at.trust.lookups), Limits().per_source
    statuses = [at.send(token({"iss": f"https://{number}.example"}))["statusCode"] for number in range(limit + 20)]
    assert statuses == [400] * limit + [429] * 20
    assert len(at.trust.lookups) - lookups <= limit + 1
    assert len(at.issuers.fetched) == fetched
    assert all(until <= NOW + 120 for until in at.counters.until.values())
    at.grant(token())  # the rules of this issuer are cached


def test_one_unknown_issuer_is_looked_up_once() -> None:
    at = Server()
    for _ in range(10):
        at.refuse(token({"iss": "https://unknown.example"}))
    assert at.trust.lookups == ["https://unknown.example"]


def test_failed_assertions_of_an_issuer_are_limited() -> None:
    at = Server()
    statuses = [at.send(FORGED)["statusCode"] for _ in range(Limits().per_source + 2)]
    assert statuses[-1] == at.send(token())["statusCode"] == 429
    at.clock.now += 61
    at.grant(token())


def test_replays_are_not_counted_as_guesses() -> None:
    at = Server()
    at.grant(id_jag(), as_client="agent")
    for _ in range(Limits().per_source + 5):
        assert at.refuse(id_jag(), as_client="agent") == "assertion: used before"
    assert at.counters.counts == {}


def test_log_has_neither_assertion_nor_unknown_issuer() -> None:
    at = Server()
    secret = "https://user-typed-a-secret.example"
    for changes in ({"iss": secret}, {"environment": "secret-value"}, {}):
        at.send(token(changes))
    lines = "".join(at.log)
    assert secret not in lines
    assert "secret-value" not in lines
    assert token() not in lines
