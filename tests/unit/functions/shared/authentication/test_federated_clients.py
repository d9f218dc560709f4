"""federated_jwt without client_id: issuer, subject and claims of the token find the client."""

import json
from dataclasses import replace
from typing import Any

import pytest

from functions.shared.authentication.credentials import ASSERTION_TYPE
from functions.shared.authentication.rate_limit import Limits
from functions.shared.clients.assertion_rules import FederationRule
from functions.shared.clients.client import Client
from functions.shared.clients.trust_rule import federated_clients
from functions.shared.web.endpoint import ProxyResponse
from tests.support.assertions import assertion
from tests.support.aws import ISSUER
from tests.support.memory_server import MemoryServer, memory_server
from tests.support.proxy_events import token_event
from tests.support.server import NOW, client
from tests.support.tokens import rsa_jwk

STS = "https://abc123-def456.tokens.sts.global.api.aws"
STS_CLAIMS = "https://sts.amazonaws.com/"
ROLE = "arn:aws:iam::123456789012:role/Billing"
CLAIMS: dict[str, Any] = {
    "iss": STS,
    "aud": ISSUER,
    "sub": ROLE,
    "iat": NOW - 10,
    "exp": NOW + 290,
    "jti": "one",
    STS_CLAIMS: {"aws_account": "123456789012", "org_id": "o-abc", "source_region": "eu-west-1"},
}
RULE = FederationRule(issuer=STS, audience=ISSUER, subject=ROLE, claims={STS_CLAIMS: {"aws_account": "123456789012"}})


def federated(client_id: str, *rules: FederationRule) -> Client:
    methods = frozenset({"federated_jwt"})
    return client(client_id, authentication_methods=methods, federation=rules or (RULE,), secrets=())


def server(*clients: Client) -> MemoryServer:
    """Return a server that has pointers to its clients."""
    made = memory_server(*clients)
    made.trust.entries.extend(pointer for each in clients for pointer in federated_clients(each))
    made.issuers.publish(STS, rsa_jwk("sts"))
    return made


def ask(at: MemoryServer, changes: dict[str, Any] | None = None, **more: str) -> ProxyResponse:
    """Send a token request with a token of STS."""
    token = assertion(CLAIMS | (changes or {}), alg="RS256", kid="sts")
    form = {"grant_type": "client_credentials", "client_assertion_type": ASSERTION_TYPE, "client_assertion": token}
    return at.token_endpoint(token_event(form | more))


def outcome(at: MemoryServer, answer: ProxyResponse) -> tuple[int, str | None]:
    """Return the status and the client in the log."""
    return answer["statusCode"], json.loads(at.log[-1]).get("client_id")


def reason(at: MemoryServer, answer: ProxyResponse) -> str:
    assert answer["statusCode"] == 401
    return str(json.loads(at.log[-1])["reason"])


def test_role_of_aws_authenticates_its_client() -> None:
    at = server(federated("billing"), federated("other", replace(RULE, subject=f"{ROLE}2")))
    assert outcome(at, ask(at)) == (200, "billing")
    assert outcome(at, ask(at, {"sub": f"{ROLE}2"})) == (200, "other")
    assert outcome(at, ask(at, client_id="billing")) == (200, "billing")


@pytest.mark.parametrize(
    "changes",
    [
        {"sub": f"{ROLE}3"},
        {"sub": None},
        {STS_CLAIMS: {"aws_account": "2"}},
        {"iss": "https://unknown.example"},
        {"iss": ISSUER},
        {"iss": 7},
        {"iss": ["a"]},
    ],
    ids=str,
)
def test_token_without_a_client_is_invalid_client(changes: dict[str, Any]) -> None:
    at = server(federated("billing"))
    assert reason(at, ask(at, changes)) == "unknown client"


@pytest.mark.parametrize("changes", [{"aud": "https://other.example"}, {"exp": NOW}, {"iat": NOW - 4000}], ids=str)
def test_found_client_still_verifies_the_token(changes: dict[str, Any]) -> None:
    at = server(federated("billing"))
    assert reason(at, ask(at, changes)).startswith("client assertion: ")


def test_ambiguous_token_needs_a_client_id() -> None:
    at = server(federated("a"), federated("b", replace(RULE, subject="arn:*")))
    assert reason(at, ask(at)) == "the token authenticates several clients: a, b"
    assert outcome(at, ask(at, client_id="b")) == (200, "b")


def test_pointer_alone_authenticates_nothing() -> None:
    at = server(federated("billing"))
    at.clients.put(federated("billing", replace(RULE, subject="another")))
    assert reason(at, ask(at)) == "federated token: no rule admits its subject and claims"
    at.clients.put(federated("billing"))
    at.clients.put(replace(federated("billing"), disabled=True))
    assert reason(at, ask(at)) == "the client is disabled"


def test_new_pointers_apply_at_once() -> None:
    at = server()
    assert reason(at, ask(at)) == "unknown client"
    at.clients.put(federated("billing"))
    at.trust.entries.extend(federated_clients(federated("billing")))
    at.clock.now += 1
    assert outcome(at, ask(at)) == (200, "billing")


def test_trust_table_outage_is_503_but_not_with_a_client_id() -> None:
    at = server(federated("billing"))
    at.trust.is_unavailable = True
    assert ask(at)["statusCode"] == 503
    assert outcome(at, ask(at, client_id="billing")) == (200, "billing")


def test_flood_of_unknown_issuers_is_limited() -> None:
    at, limit = server(federated("billing")), Limits().per_source
    statuses = [ask(at, {"iss": f"https://{number}.example"})["statusCode"] for number in range(limit + 20)]
    assert statuses == [401] * limit + [429] * 20
    assert len(at.trust.lookups) <= limit + 1
    assert at.issuers.fetched == []


def test_unreadable_pointer_is_a_server_error_without_another_match() -> None:
    at = server(federated("billing"))
    broken = federated_clients(federated("other", replace(RULE)))[0]
    object.__setattr__(broken.rules[0], "max_age", 0)  # as a future version may write it
    at.trust.entries.append(broken)
    assert outcome(at, ask(at)) == (200, "billing")
    assert ask(at, {"sub": f"{ROLE}3"})["statusCode"] == 500


@pytest.mark.parametrize("name", ["events", "nonce", "at_hash", "c_hash", "s_hash", "token_use"])
@pytest.mark.parametrize("more", [{}, {"client_id": "billing"}], ids=str)
def test_rfc8725_2_8_id_tokens_and_security_events_do_not_authenticate(name: str, more: dict[str, str]) -> None:
    at = server(federated("billing"))
    expected = "event_token" if name == "events" else "id_token"
    assert reason(at, ask(at, {name: {}}, **more)) == f"client assertion: {expected}"
    assert outcome(at, ask(at, {}, **more)) == (200, "billing")
