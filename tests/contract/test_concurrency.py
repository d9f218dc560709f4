"""A key set changes while tokens are asked for: real HTTP, real threads, and a clock of our own.

What else is tried by many at once stands where it belongs: one assertion and one proof used a
hundred times in tests/local/test_client_authentication.py and tests/local/test_tokens.py, two
revocations in the latter.
"""

from __future__ import annotations

import http.client
import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from threading import Event, Thread
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import jwt
import pytest

from functions.issue_token.composition import build as build_issue_token
from functions.issue_token.settings import Settings as IssueTokenSettings
from functions.publish_jwks.composition import build as build_publish_jwks
from functions.publish_jwks.settings import Settings as PublishJwksSettings
from functions.shared import key_ring, paths, signing_keys
from functions.shared.client_registry import DynamoDbClients
from functions.shared.secret_store import SecretsManagerStore
from functions.shared.warm_key_ring import WARM_SECONDS
from local.gateway import messages
from local.http_server import Server
from tests.support.aws import (
    CLIENTS_TABLE,
    ENVIRONMENT,
    ISSUER,
    KEY_RING_SECRET,
    SIGNING_KEYS_SECRET,
    aws_account,
)
from tests.support.memory_stores import ManualClock
from tests.support.proxy_events import FORM, basic, proxy_event
from tests.support.server import NOW, SECRET, client, key, ring

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from functions.shared.aws_clients import AwsClients
    from functions.shared.endpoint import Endpoint

CLIENT = "service-client-jwt"
THREADS = 6
BETWEEN_STEPS = 25
"""How many tokens are issued, at least, before the clock moves on."""

OLD, NEW = key(1), key(2)
PUBLISHED, SIGNS = NOW + 100, NOW + 300
STEPS = range(NOW, NOW + 500, 20)


@dataclass
class Site:
    """Two functions behind a server, as API Gateway would call them."""

    endpoints: Mapping[str, Endpoint]

    def handle(self, request: messages.Request) -> messages.Response:
        event = proxy_event(
            request.method,
            request.path,
            headers=dict(request.headers),
            body=request.body.decode() or None,
        )
        answer = self.endpoints[request.path](event)
        headers = tuple(answer["headers"].items())
        return messages.Response(answer["statusCode"], headers, answer["body"].encode())

    def too_large(self, request: messages.Request) -> messages.Response:
        return messages.Response(413)


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsClients]:
    with aws_account(monkeypatch) as clients:
        yield clients


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
def store(aws: AwsClients) -> SecretsManagerStore:
    store = SecretsManagerStore(aws.secrets_manager)
    private_keys = {each.kid: each.private_pem for each in (OLD, NEW)}
    store.write(SIGNING_KEYS_SECRET, signing_keys.to_json(private_keys))
    store.write(KEY_RING_SECRET, key_ring.to_json(ring(OLD)))
    DynamoDbClients(aws.dynamodb, CLIENTS_TABLE).put(client(CLIENT))
    return store


@pytest.fixture
def port(aws: AwsClients, clock: ManualClock, store: SecretsManagerStore) -> Iterator[int]:
    lines: list[str] = []
    parts: dict[str, Any] = {"clock": clock, "aws": aws, "emit": lines.append}
    site = Site(
        {
            paths.TOKEN: build_issue_token(IssueTokenSettings.from_env(ENVIRONMENT), **parts),
            paths.JWKS: build_publish_jwks(PublishJwksSettings.from_env(ENVIRONMENT), **parts),
        }
    )
    with Server("127.0.0.1", 0) as server:
        server.open(site)
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.port
        server.shutdown()
        thread.join()


def _rotated() -> key_ring.KeyRing:
    """The ring with a successor, which is published long before it signs."""
    old, new = ring(OLD).keys[0], ring(NEW).keys[0]
    ends = replace(old, sign_until=SIGNS + 60)
    return key_ring.KeyRing((ends, replace(new, publish_from=PUBLISHED, sign_from=SIGNS)))


class Storm:
    """Threads that ask for tokens until they are told to stop, and what they were answered."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._over = Event()
        self.answers: list[tuple[int, bytes]] = []

    def blow(self) -> None:
        """Ask again and again over one connection."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        headers = {"Content-Type": FORM, **basic(CLIENT, SECRET)}
        body = urlencode({"grant_type": "client_credentials", "scope": "country.read"})
        while not self._over.is_set():
            connection.request("POST", paths.TOKEN, body, headers)
            answer = connection.getresponse()
            self.answers.append((answer.status, answer.read()))
        connection.close()

    def wait_for(self, more: int) -> None:
        """Return once so many more answers have come."""
        enough = len(self.answers) + more
        while len(self.answers) < enough:
            self._over.wait(0.001)

    def end(self) -> None:
        self._over.set()


def _key_set(port: int) -> jwt.PyJWKSet:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", paths.JWKS)
    answer = connection.getresponse()
    assert answer.status == 200
    text = answer.read().decode()
    connection.close()
    return jwt.PyJWKSet.from_json(text)


def test_a_key_set_that_changes_during_a_token_storm_fails_nobody(
    port: int, clock: ManualClock, store: SecretsManagerStore
) -> None:
    storm = Storm(port)
    seen_at: list[tuple[int, jwt.PyJWKSet, int]] = []
    with ThreadPoolExecutor(THREADS) as threads:
        blowing = [threads.submit(storm.blow) for _ in range(THREADS)]
        try:
            for now in STEPS:
                clock.now = now
                if now == NOW + 2 * WARM_SECONDS:
                    store.write(KEY_RING_SECRET, key_ring.to_json(_rotated()))
                seen_at.append((now, _key_set(port), len(storm.answers)))
                storm.wait_for(BETWEEN_STEPS)
        finally:
            storm.end()
        for each in blowing:
            each.result(timeout=30)
    assert Counter(status for status, _ in storm.answers).keys() == {200}
    tokens = [json.loads(body)["access_token"] for _, body in storm.answers]
    assert {jwt.get_unverified_header(token)["kid"] for token in tokens} == {OLD.kid, NEW.kid}
    assert len(seen_at[0][1].keys) == 1
    for number, token in enumerate(tokens):
        # A verifier may have fetched the set this long before the token came.
        known = [keys for now, keys, count in seen_at if count <= number][-WARM_SECONDS // 20 :]
        kid = jwt.get_unverified_header(token)["kid"]
        for keys in known:
            jwt.decode(
                token,
                keys[kid],
                algorithms=["RS256"],
                audience=CLIENT,
                issuer=ISSUER,
                options={"verify_exp": False},
            )
