"""Key rotation of clients and issuers during a flood of random key ids."""

import json
from dataclasses import dataclass, field
from uuid import uuid4

import jwt
import pytest

from authorizer.clock import Clocks
from authorizer.https_client import Request, Response
from functions.shared.authentication.client_assertion import ReplayCheck
from functions.shared.authentication.client_authentication import ClientAuthentication
from functions.shared.authentication.federated_jwt import FederatedJwt
from functions.shared.authentication.private_key_jwt import PrivateKeyJwt
from functions.shared.authentication.rate_limit import FailureLimiter, Limits
from functions.shared.authentication.remote_jwks import RemoteJwks
from functions.shared.clients.assertion_rules import AssertionRules, FederationRule
from functions.shared.web.oauth_errors import OAuthError
from tests.support.assertions import assertion_claims, assertion_form, authenticate
from tests.support.aws import ISSUER
from tests.support.clock import ManualClock
from tests.support.memory_stores import MemoryClients, MemoryCounters, MemoryOneTimeUse
from tests.support.proxy_events import token_event
from tests.support.server import NOW, client
from tests.support.tokens import ec_jwk, ec_key, jwks

IDP = "https://issuer.example"
JWKS_URI = f"{IDP}/jwks"
SUBJECT = {"private_key_jwt": "signer", "federated_jwt": "repo:example/deploy"}
CLIENTS = (
    client(
        "signer", authentication_methods=frozenset({"private_key_jwt"}), assertion=AssertionRules(jwks_uri=JWKS_URI)
    ),
    client(
        "workload",
        authentication_methods=frozenset({"federated_jwt"}),
        federation=(FederationRule(issuer=IDP, audience=ISSUER, subject="repo:*"),),
    ),
)


@dataclass
class Server:
    """An authorization server process, and the site that publishes keys."""

    method: str
    clock: ManualClock = field(default_factory=lambda: ManualClock(NOW))
    published: tuple[str, ...] = ("old",)
    replaced: str | None = None  # the key that is published under each id in place of its own
    fetches: int = 0
    counters: MemoryCounters = field(default_factory=MemoryCounters)

    def __post_init__(self) -> None:
        keys = RemoteJwks(self._send, Clocks(self.clock, self.clock))
        used = MemoryOneTimeUse()
        self.authentication = ClientAuthentication(
            MemoryClients(*CLIENTS),
            (PrivateKeyJwt(ISSUER, keys, ReplayCheck("a", used)), FederatedJwt(ISSUER, keys, ReplayCheck("b", used))),
            self.clock,
            FailureLimiter(self.counters, Limits()),
        )

    def _send(self, request: Request) -> Response:
        if request.url == JWKS_URI:
            self.fetches += 1
            keys = [ec_jwk(self.replaced or kid) | {"kid": kid} for kid in self.published]
            return Response(200, {}, jwks(*keys))
        metadata = {"issuer": IDP, "jwks_uri": JWKS_URI}
        return Response(200, {}, json.dumps(metadata).encode())

    def status(self, kid: str, subject: str | None = None, *, key: str | None = None) -> int:
        """Return the status for an assertion of this key id, signed with its key or another."""
        own = self.method == "private_key_jwt"
        claims = assertion_claims(self.clock.now, iss="signer" if own else IDP, sub=subject or SUBJECT[self.method])
        more = {} if own else {"client_id": "workload"}
        signed = jwt.encode(claims, ec_key(key or kid), "ES256", {"kid": kid})
        self.error: OAuthError | None = None
        try:
            authenticate(self.authentication, token_event(assertion_form(signed, **more)))
        except OAuthError as error:
            self.error = error
            return error.status
        return 200


@pytest.fixture(params=SUBJECT)
def server(request: pytest.FixtureRequest) -> Server:
    return Server(str(request.param))


def test_random_key_id_leaves_the_reserved_refetch(server: Server) -> None:
    assert server.status("old") == 200
    assert server.status(str(uuid4())) == 401
    server.published = ("old", "new")
    server.clock.now += 1
    assert server.status("new") == 200


def test_new_key_is_not_rejected_before_a_lookup(server: Server) -> None:
    assert server.status("old") == 200
    statuses = [server.status(str(uuid4())) for _ in range(10)]
    assert set(statuses) <= {401, 503}
    server.published = ("old", "new")
    server.clock.now += 1
    for _ in range(100):
        assert server.status("new") == 503
    assert server.error is not None
    assert server.error.code == "temporarily_unavailable"
    wait = int(server.error.headers["Retry-After"])
    assert 1 <= wait <= 30
    server.clock.now += wait
    assert server.status("new") == 200
    assert server.status("old") == 200


def test_unresolved_key_id_is_not_counted(server: Server) -> None:
    assert server.status("old") == 200
    statuses = [server.status(str(uuid4())) for _ in range(1_000)]
    assert statuses.count(401) <= 2
    assert set(statuses) == {401, 503}
    assert max(server.counters.counts.values()) == statuses.count(401)


def test_random_key_ids_fetch_at_most_twice_in_thirty_seconds(server: Server) -> None:
    assert server.status("old") == 200
    before = server.fetches
    for _ in range(290):
        server.clock.now += 0.1
        server.status(str(uuid4()))
    assert server.fetches - before <= 2


def test_reserved_refetch_is_for_verified_subjects(server: Server) -> None:
    assert server.status("old") == 200
    assert server.status(str(uuid4())) == 401
    before = server.fetches
    if server.method == "federated_jwt":
        assert server.status(str(uuid4()), subject="repo:other/deploy") == 503
        assert server.fetches == before
    server.published = ("new",)
    server.clock.now += 1
    assert server.status("new") == 200
    assert server.fetches == before + 1


def test_unpublished_key_id_is_a_counted_failure(server: Server) -> None:
    assert server.status("unpublished") == 401
    assert max(server.counters.counts.values()) == 1


def test_key_replaced_under_its_id_is_fetched_again(server: Server) -> None:
    server.replaced = "before"
    assert server.status("old") == 401
    server.replaced = None
    server.clock.now += 1
    assert server.status("old") == 200
    assert server.fetches == 2


def test_replaced_key_has_the_reserved_refetch(server: Server) -> None:
    assert server.status("old") == 200
    server.clock.now += 10
    assert server.status(str(uuid4())) == 401
    server.replaced = "after"
    server.clock.now += 1
    assert server.status("old", key="after") == 200


def test_wrong_signatures_fetch_at_most_twice_in_thirty_seconds(server: Server) -> None:
    assert server.status("old") == 200
    before = server.fetches
    for _ in range(290):
        server.clock.now += 0.1
        assert server.status("old", key="another") in {401, 429}
    assert 1 <= server.fetches - before <= 2
