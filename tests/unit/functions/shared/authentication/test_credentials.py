"""Credentials of a request, parsed once."""

from dataclasses import replace
from typing import Any

import pytest

from authorizer import jws
from functions.shared.authentication.client_assertion import ReplayCheck
from functions.shared.authentication.client_authentication import ClientAuthentication
from functions.shared.authentication.federated_jwt import FederatedJwt
from functions.shared.authentication.private_key_jwt import PrivateKeyJwt
from functions.shared.clients.assertion_rules import AssertionRules
from tests.support.assertions import CLIENT_ID, MemoryRemoteJwks, assertion, assertion_form, authenticate
from tests.support.aws import ISSUER
from tests.support.clock import ManualClock
from tests.support.memory_stores import MemoryClients, MemoryOneTimeUse
from tests.support.proxy_events import token_event
from tests.support.server import NOW, client
from tests.support.tokens import ec_jwk


def test_assertion_is_parsed_once_per_request(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[str] = []
    for name in ("parse", "parse_payload"):
        function = getattr(jws, name)

        def spy(*args: Any, name: str = name, function: Any = function) -> Any:
            parsed.append(name)
            return function(*args)

        monkeypatch.setattr(jws, name, spy)
    remote_jwks = MemoryRemoteJwks()
    remote_jwks.publish("https://client.example/jwks", ec_jwk("ec"))
    used = MemoryOneTimeUse()
    signer = replace(
        client(CLIENT_ID),
        authentication_methods=frozenset({"private_key_jwt"}),
        assertion=AssertionRules(jwks_uri="https://client.example/jwks"),
        secrets=(),
    )
    authentication = ClientAuthentication(
        MemoryClients(signer),
        (
            PrivateKeyJwt(ISSUER, remote_jwks, ReplayCheck("a", used)),
            FederatedJwt(ISSUER, remote_jwks, ReplayCheck("b", used)),
        ),
        ManualClock(NOW),
    )
    authenticate(authentication, token_event(assertion_form(assertion())))
    assert parsed == ["parse", "parse_payload"]
