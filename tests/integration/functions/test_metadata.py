"""The metadata compared with the endpoints and with the routes of the template."""

import json
from typing import Any

import jwt
import pytest

from functions.publish_metadata import handler as publish_metadata
from functions.shared.clients.supported import FEDERATED_JWT, JWT_BEARER
from functions.shared.web.endpoint import INTROSPECTION_PATH, METADATA_PATH, TOKEN_PATH, ProxyResponse
from local.emulated_aws import TEMPLATE
from local.gateway.model import AnyMethod
from local.gateway.template import Template
from tests.support.aws import ENVIRONMENT, ISSUER
from tests.support.aws_server import AwsServer
from tests.support.dpop_proofs import proof, public_jwk
from tests.support.proxy_events import basic, form_event, proxy_event
from tests.support.server import SECRET
from tests.support.tokens import encode

FUNCTIONS = {
    "authorization_endpoint": "PublishMetadata",
    "token_endpoint": "IssueToken",
    "jwks_uri": "PublishJwks",
    "introspection_endpoint": "IntrospectToken",
    "revocation_endpoint": "RevokeToken",
}
POSTED = [member for member in FUNCTIONS if member not in ("authorization_endpoint", "jwks_uri")]


class Published:
    """Every endpoint that the metadata names, by its member there."""

    def __init__(self, server: AwsServer) -> None:
        self.endpoints = {
            "token_endpoint": server.token_endpoint,
            "jwks_uri": server.jwks_endpoint,
            "introspection_endpoint": server.introspection_endpoint,
            "revocation_endpoint": server.revocation_endpoint,
        }
        address = {"AUTHORIZATION_ENDPOINT": f"{ISSUER}/oauth2/authorize"}
        settings = publish_metadata.Settings.from_env(ENVIRONMENT | address)
        self.publish = publish_metadata.build(settings, emit=server.log.append)
        answer = self.publish(proxy_event("GET", METADATA_PATH))
        self.metadata: dict[str, Any] = json.loads(answer["body"])

    def path(self, member: str) -> str:
        return str(self.metadata[member]).removeprefix(ISSUER)

    def post(self, member: str, parameters: dict[str, str], **headers: str) -> ProxyResponse:
        sent = {**basic("service", SECRET), **headers}
        return self.endpoints[member](form_event(self.path(member), parameters, headers=sent))

    def request_token(self, grant_type: str, **headers: str) -> dict[str, Any]:
        answer = self.post("token_endpoint", {"grant_type": grant_type}, **headers)
        members: dict[str, Any] = json.loads(answer["body"])
        return members


@pytest.fixture
def published(server: AwsServer) -> Published:
    return Published(server)


FALSE_HOST = {
    "Host": "evil.example",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Proto": "http",
    "X-Forwarded-Port": "81",
    "Forwarded": "host=evil.example;proto=http",
    "X-Original-URL": "https://evil.example/",
}


def test_issuer_is_configured_whatever_host_a_request_names(published: Published) -> None:
    context = {"domainName": "evil.example", "stage": "evil", "path": "/evil/oauth2/token"}
    form, headers = {"grant_type": "client_credentials"}, {**basic("service", SECRET), **FALSE_HOST}
    request = form_event(TOKEN_PATH, form, headers=headers)
    request["requestContext"] |= context
    token = json.loads(published.endpoints["token_endpoint"](request)["body"])["access_token"]
    headers["Accept"] = "application/token-introspection+jwt"
    request = form_event(INTROSPECTION_PATH, {"token": token}, headers=headers)
    request["requestContext"] |= context
    response = published.endpoints["introspection_endpoint"](request)["body"]
    for signed in (token, response):
        assert jwt.decode(signed, options={"verify_signature": False})["iss"] == ISSUER
    request = proxy_event("GET", METADATA_PATH, headers=FALSE_HOST)
    request["requestContext"] |= context
    assert json.loads(published.publish(request)["body"]) == published.metadata


@pytest.fixture(scope="module")
def template() -> Template:
    return Template.read(TEMPLATE)


@pytest.mark.parametrize(("member", "function"), FUNCTIONS.items(), ids=FUNCTIONS)
def test_rfc8414_2_every_address_is_routed(
    published: Published, template: Template, member: str, function: str
) -> None:
    assert (AnyMethod, published.path(member), function) in _routes(template)


def _routes(template: Template) -> set[tuple[str, str, str]]:
    routes = template.api("AuthServerApi").routes
    return {(route.method, route.path, route.function) for route in routes}


def test_rfc8414_2_every_endpoint_is_listed(published: Published, template: Template) -> None:
    documents = "/.well-known/"
    routed = {route.path for route in template.api("AuthServerApi").routes}
    named = {published.path(member) for member in FUNCTIONS}
    assert {path for path in routed if not path.startswith(documents)} == named


def test_rfc8414_3_every_address_has_the_document(template: Template) -> None:
    routes = _routes(template)
    for document in ("oauth-authorization-server", "openid-configuration"):
        for issuer_path in ("", "/ms-auth-server"):
            path = f"/.well-known/{document}{issuer_path}"
            assert (AnyMethod, path, "PublishMetadata") in routes


@pytest.mark.parametrize("member", POSTED)
def test_rfc8414_2_listed_methods_are_supported(published: Published, member: str) -> None:
    respond: Any = published.endpoints[member].respond
    known = {method.name for method in respond.authentication.methods}
    named = set(published.metadata[f"{member}_auth_methods_supported"])
    assert named <= known
    # RFC 7591, 2, has no name of its own for it: to a client it is a private_key_jwt.
    assert known - named <= {FEDERATED_JWT}


def test_rfc8414_2_listed_grant_types_are_supported(published: Published) -> None:
    known = published.metadata["grant_types_supported"]
    for grant_type in known:
        assert published.request_token(grant_type).get("error") != "unsupported_grant_type"
    for grant_type in ("password", "authorization_code", "refresh_token", "implicit"):
        assert grant_type not in known
        assert published.request_token(grant_type)["error"] == "unsupported_grant_type"


def test_metadata_lists_the_grant_profile(published: Published) -> None:
    """draft-ietf-oauth-identity-assertion-authz-grant-04, 7.2: the profile needs the grant type."""
    profiles = published.metadata["authorization_grant_profiles_supported"]
    assert profiles == ["urn:ietf:params:oauth:grant-profile:id-jag"]
    assert JWT_BEARER in published.metadata["grant_types_supported"]


def test_rfc9449_5_1_listed_algorithms_are_accepted(published: Published) -> None:
    named = published.metadata["dpop_signing_alg_values_supported"]
    for alg in named:
        assert published.request_token("client_credentials", DPoP=proof(alg))["token_type"] == "DPoP"
    for alg in ("ES256K", "HS256", "none"):
        assert alg not in named
        forged = ".".join([encode(json.dumps({"alg": alg, "typ": "dpop+jwt", "jwk": public_jwk()}).encode()), *"ab"])
        assert published.request_token("client_credentials", DPoP=forged)["error"] == "invalid_dpop_proof"


def test_rfc9701_7_signed_responses_use_the_listed_algorithm(published: Published) -> None:
    answer = published.post("introspection_endpoint", {"token": "x"}, Accept="application/token-introspection+jwt")
    (named,) = published.metadata["introspection_signing_alg_values_supported"]
    (jwk,) = json.loads(published.endpoints["jwks_uri"](proxy_event("GET", "/"))["body"])["keys"]
    assert answer["headers"]["Content-Type"] == "application/token-introspection+jwt"
    assert named == jwk["alg"]


@pytest.mark.parametrize("member", POSTED)
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])
def test_rfc6749_3_2_endpoints_accept_post_only(published: Published, member: str, method: str) -> None:
    answer = published.endpoints[member](proxy_event(method, published.path(member)))
    assert (answer["statusCode"], answer["headers"]["Allow"]) == (405, "POST")
