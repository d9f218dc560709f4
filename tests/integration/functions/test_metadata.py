"""The metadata compared with the endpoints and the template's routes."""

import json
from typing import Any

import pytest

from functions.introspect_token import handler as introspect_token
from functions.introspect_token.handler import Settings as IntrospectTokenSettings
from functions.issue_token import handler as issue_token
from functions.issue_token.handler import Settings as IssueTokenSettings
from functions.publish_jwks import handler as publish_jwks
from functions.publish_jwks.handler import Settings as PublishJwksSettings
from functions.publish_metadata import handler as publish_metadata
from functions.publish_metadata.handler import Settings as PublishMetadataSettings
from functions.revoke_token import handler as revoke_token
from functions.revoke_token.handler import Settings as RevokeTokenSettings
from functions.rotate_keys import handler as rotate_keys
from functions.rotate_keys.settings import Settings as RotateKeysSettings
from functions.shared.clients.client import FEDERATED_JWT
from functions.shared.clients.client_registry import DynamoDbClients
from functions.shared.runtime.aws_clients import AwsClients
from functions.shared.runtime.secret_store import SecretsManagerStore
from functions.shared.web.endpoint import Endpoint
from functions.shared.web.responses import ProxyResponse
from local.aws import TEMPLATE
from local.gateway.model import AnyMethod
from local.gateway.template import Template
from tests.support.aws import CLIENTS_TABLE, ENVIRONMENT, ISSUER
from tests.support.dpop_proofs import proof
from tests.support.memory_stores import ManualClock
from tests.support.proxy_events import basic, form_event, proxy_event
from tests.support.server import SECRET, client, generate

FUNCTIONS = {
    "token_endpoint": "IssueToken",
    "jwks_uri": "PublishJwks",
    "introspection_endpoint": "IntrospectToken",
    "revocation_endpoint": "RevokeToken",
}
POSTED = [member for member in FUNCTIONS if member != "jwks_uri"]


class Server:
    """Every endpoint that the metadata names, by its member there."""

    def __init__(self, aws: AwsClients, clock: ManualClock) -> None:
        self.log: list[str] = []
        parts: Any = {"clock": clock, "aws": aws, "emit": self.log.append}
        self.endpoints: dict[str, Endpoint] = {
            "token_endpoint": issue_token.build(IssueTokenSettings.from_env(ENVIRONMENT), **parts),
            "jwks_uri": publish_jwks.build(PublishJwksSettings.from_env(ENVIRONMENT), **parts),
            "introspection_endpoint": introspect_token.build(
                IntrospectTokenSettings.from_env(ENVIRONMENT), **parts
            ),
            "revocation_endpoint": revoke_token.build(
                RevokeTokenSettings.from_env(ENVIRONMENT), **parts
            ),
        }
        answer = publish_metadata.build(
            PublishMetadataSettings.from_env(ENVIRONMENT), emit=self.log.append
        )(proxy_event("GET", "/.well-known/oauth-authorization-server"))
        self.metadata: dict[str, Any] = json.loads(answer["body"])

    def path(self, member: str) -> str:
        return str(self.metadata[member]).removeprefix(ISSUER)

    def post(self, member: str, parameters: dict[str, str], **headers: str) -> ProxyResponse:
        sent = {**basic("service", SECRET), **headers}
        return self.endpoints[member](form_event(self.path(member), parameters, headers=sent))

    def ask(self, grant_type: str, **headers: str) -> dict[str, Any]:
        answer = self.post("token_endpoint", {"grant_type": grant_type}, **headers)
        members: dict[str, Any] = json.loads(answer["body"])
        return members


@pytest.fixture
def server(aws: AwsClients, clock: ManualClock) -> Server:
    rotate_keys.build(
        RotateKeysSettings.from_env(ENVIRONMENT),
        clock=clock,
        secrets=SecretsManagerStore(aws.secrets_manager),
        generate=generate,
    ).run()
    DynamoDbClients(aws.dynamodb, CLIENTS_TABLE).put(client("service"))
    return Server(aws, clock)


@pytest.fixture(scope="module")
def template() -> Template:
    return Template.read(TEMPLATE)


@pytest.mark.parametrize(("member", "function"), FUNCTIONS.items(), ids=FUNCTIONS)
def test_rfc8414_2_every_address_is_routed(
    server: Server, template: Template, member: str, function: str
) -> None:
    assert (AnyMethod, server.path(member), function) in _routes(template)


def _routes(template: Template) -> set[tuple[str, str, str]]:
    routes = template.api("AuthServerApi").routes
    return {(route.method, route.path, route.function) for route in routes}


def test_rfc8414_2_every_endpoint_is_listed(server: Server, template: Template) -> None:
    documents = "/.well-known/"
    routed = {route.path for route in template.api("AuthServerApi").routes}
    named = {server.path(member) for member in FUNCTIONS}
    assert {path for path in routed if not path.startswith(documents)} == named


def test_rfc8414_3_every_address_has_the_document(template: Template) -> None:
    routes = _routes(template)
    for document in ("oauth-authorization-server", "openid-configuration"):
        for issuer_path in ("", "/ms-auth-server"):
            path = f"/.well-known/{document}{issuer_path}"
            assert (AnyMethod, path, "PublishMetadata") in routes


@pytest.mark.parametrize("member", POSTED)
def test_rfc8414_2_listed_methods_are_supported(server: Server, member: str) -> None:
    respond: Any = server.endpoints[member].respond
    known = {method.name for method in respond.authentication.methods}
    named = set(server.metadata[f"{member}_auth_methods_supported"])
    assert named <= known
    # RFC 7591, 2, has no name of its own for it: to a client it is a private_key_jwt.
    assert known - named <= {FEDERATED_JWT}


def test_rfc8414_2_listed_grant_types_are_supported(server: Server) -> None:
    known = server.metadata["grant_types_supported"]
    for grant_type in known:
        assert server.ask(grant_type).get("error") != "unsupported_grant_type"
    for grant_type in ("password", "authorization_code", "refresh_token", "implicit"):
        assert grant_type not in known
        assert server.ask(grant_type)["error"] == "unsupported_grant_type"


def test_rfc9449_5_1_listed_algorithms_are_accepted(server: Server) -> None:
    named = server.metadata["dpop_signing_alg_values_supported"]
    for alg in named:
        assert server.ask("client_credentials", DPoP=proof(alg))["token_type"] == "DPoP"
    for alg in ("RS384", "RS512", "PS384"):
        assert alg not in named
        error = server.ask("client_credentials", DPoP=proof(alg))["error"]
        assert error == "invalid_dpop_proof"


def test_rfc9701_7_signed_responses_use_the_listed_algorithm(server: Server) -> None:
    answer = server.post(
        "introspection_endpoint",
        {"token": "x"},
        Accept="application/token-introspection+jwt",
    )
    (named,) = server.metadata["introspection_signing_alg_values_supported"]
    (jwk,) = json.loads(server.endpoints["jwks_uri"](proxy_event("GET", "/"))["body"])["keys"]
    assert answer["headers"]["Content-Type"] == "application/token-introspection+jwt"
    assert named == jwk["alg"]


@pytest.mark.parametrize("member", POSTED)
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])
def test_rfc6749_3_2_endpoints_accept_post_only(server: Server, member: str, method: str) -> None:
    answer = server.endpoints[member](proxy_event(method, server.path(member)))
    assert (answer["statusCode"], answer["headers"]["Allow"]) == (405, "POST")
