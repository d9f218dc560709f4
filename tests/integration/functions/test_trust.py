"""Trust rules and federated clients in moto's tables, as the three endpoints read them."""

import json
from typing import Any, Final

import jwt
import pytest

from authorizer.clock import Deadline
from functions.shared.authentication.credentials import ASSERTION_TYPE
from functions.shared.clients.assertion_rules import FederationRule
from functions.shared.clients.supported import JWT_BEARER
from functions.shared.clients.trust_rule import FederatedClient, TrustRule, federated_clients, to_item
from functions.shared.clients.trust_store import DynamoDbTrust
from functions.shared.web.endpoint import INTROSPECTION_PATH, REVOCATION_PATH
from tests.support.assertions import assertion
from tests.support.aws import ISSUER, TRUST_TABLE
from tests.support.aws_server import GRANT, AwsServer, granted
from tests.support.proxy_events import form_event, token_event
from tests.support.server import NOW, assertion_client, client
from tests.support.tokens import jwks, rsa_jwk

IDP: Final = "https://idp.invalid"
CLAIMS: Final[dict[str, Any]] = {"iss": IDP, "sub": "worker", "aud": ISSUER, "iat": NOW, "exp": NOW + 60, "jti": "a"}


def put(server: AwsServer, entry: TrustRule | FederatedClient) -> None:
    server.aws.call("dynamodb", "PutItem", Deadline(5), TableName=TRUST_TABLE, Item=to_item(entry))


@pytest.fixture
def server(server: AwsServer) -> AwsServer:
    """Return a server with a client for a rule, and one that tokens of an unreachable issuer authenticate."""
    federation = (FederationRule(issuer=IDP, audience=ISSUER, subject="worker"),)
    federated = client(
        "federated", authentication_methods=frozenset({"federated_jwt"}), federation=federation, secrets=()
    )
    deployer = assertion_client("deployer", "https://api.example")
    for each in (federated, deployer):
        server.clients.put(each)
    rule = TrustRule(
        name="workers",
        issuer=IDP,
        client_id="deployer",
        claims={"sub": "work*"},
        jwks=jwks(rsa_jwk("idp")).decode(),
        one_time=True,
    )
    entries: list[TrustRule | FederatedClient] = [rule, *federated_clients(federated)]
    for entry in entries:
        put(server, entry)
    return server


def token(**changes: object) -> str:
    return assertion(CLAIMS | changes, alg="RS256", kid="idp")


def test_assertion_is_granted_once_by_a_stored_rule(server: AwsServer) -> None:
    form = {"grant_type": JWT_BEARER, "assertion": token()}
    issued = granted(server.token_endpoint(token_event(form)))["access_token"]
    claims = jwt.decode(issued, options={"verify_signature": False})
    assert (claims["sub"], claims["client_id"]) == ("worker", "deployer")
    again = server.token_endpoint(token_event(form))
    assert (again["statusCode"], json.loads(again["body"])["error"]) == (400, "invalid_grant")


def test_each_endpoint_finds_the_client_of_a_token(server: AwsServer) -> None:
    """The issuer's keys cannot be fetched, so a client that was found is 503 and an unknown one is 401."""
    form = {"client_assertion_type": ASSERTION_TYPE, "token": "x"}
    for endpoint, path in (
        (server.token_endpoint, "/oauth2/token"),
        (server.introspection_endpoint, INTROSPECTION_PATH),
        (server.revocation_endpoint, REVOCATION_PATH),
    ):
        for subject, status in (("worker", 503), ("another", 401)):
            event = form_event(path, GRANT | form | {"client_assertion": token(sub=subject)})
            assert endpoint(event)["statusCode"] == status


def test_all_pages_of_an_issuer_are_read(server: AwsServer) -> None:
    """A page has at most one megabyte."""
    for number in range(30):
        rule = TrustRule(name=f"rule-{number}", issuer=IDP, client_id="deployer", claims={"sub": f"{number}"})
        server.aws.call(
            *("dynamodb", "PutItem", Deadline(5)),
            TableName=TRUST_TABLE,
            Item=to_item(rule) | {"padding": {"S": "x" * 80_000}},
        )
    found = DynamoDbTrust(server.aws.requests, TRUST_TABLE).find(IDP)
    assert found is not None
    assert (len(found.rules), len(found.clients), found.faults) == (31, 1, ())
