"""A key set changes during token requests: real HTTP, real threads, and a manual clock."""

import http.client
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event, Thread
from typing import Any
from urllib.parse import urlencode

import jwt
import pytest
from jwt import PyJWK

from functions.shared.keys import key_ring, signing_keys
from functions.shared.keys.key_ring import JWKS_MAX_AGE
from functions.shared.keys.rotation import PROPAGATION_SECONDS, RETENTION_NEEDED, RotationRules, announce
from functions.shared.web.endpoint import JWKS_PATH, TOKEN_PATH, Endpoint
from local.gateway import model
from local.http_server import Server
from tests.support.aws import KEY_RING_SECRET, SIGNING_KEYS_SECRET, AwsAccount
from tests.support.aws_server import AwsServer
from tests.support.clock import ManualClock
from tests.support.proxy_events import FORM, basic, proxy_event
from tests.support.server import NOW, SECRET, client, key, ring

CLIENT = "service-client-jwt"
SIGNATURE_ALONE: Any = {"verify_exp": False, "verify_aud": False, "verify_iat": False}
THREADS = 6
BETWEEN_STEPS = 5
"""How many tokens are issued, at least, before the clock moves on."""

OLD, NEW = key(1), key(2)
RULES = RotationRules(
    signing=86_400, announcing=JWKS_MAX_AGE + 300 + PROPAGATION_SECONDS, retiring=RETENTION_NEEDED, verifier_cache=300
)
"""As short an announcement as the rules allow."""

ANNOUNCED = NOW + 600
STEPS = range(NOW, ANNOUNCED + RULES.announcing + 600, 30)


@dataclass
class Site:
    """Two functions behind a server, as API Gateway would call them."""

    endpoints: Mapping[str, Endpoint]

    def handle(self, request: model.Request) -> model.Response:
        event = proxy_event(
            request.method, request.path, headers=dict(request.headers), body=request.body.decode() or None
        )
        answer = self.endpoints[request.path](event)
        headers = tuple(answer["headers"].items())
        return model.Response(answer["statusCode"], headers, answer["body"].encode())

    def too_large(self, request: model.Request) -> model.Response:
        return model.Response(413)


@pytest.fixture
def server(aws: AwsAccount, clock: ManualClock) -> AwsServer:
    server = AwsServer(aws, clock)
    private_keys = {each.kid: each.private_pem for each in (OLD, NEW)}
    server.secrets.write(SIGNING_KEYS_SECRET, signing_keys.to_json(private_keys))
    server.secrets.write(KEY_RING_SECRET, key_ring.to_json(ring(OLD)))
    server.clients.put(client(CLIENT))
    return server


@pytest.fixture
def port(server: AwsServer) -> Iterator[int]:
    site = Site({TOKEN_PATH: server.token_endpoint, JWKS_PATH: server.jwks_endpoint})
    with Server("127.0.0.1", 0) as listener:
        listener.open(site)
        thread = Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield listener.port
        listener.shutdown()
        thread.join()


class TokenRequests:
    """Threads that request tokens until `end`, and the responses."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._over = Event()
        self.responses: list[tuple[int, bytes]] = []

    def send(self) -> None:
        """Request tokens over one connection."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        headers = {"Content-Type": FORM, **basic(CLIENT, SECRET)}
        body = urlencode({"grant_type": "client_credentials", "scope": "country.read"})
        while not self._over.is_set():
            connection.request("POST", TOKEN_PATH, body, headers)
            response = connection.getresponse()
            self.responses.append((response.status, response.read()))
        connection.close()

    def wait_for(self, more: int) -> None:
        """Return after so many more responses."""
        enough = len(self.responses) + more
        while len(self.responses) < enough:
            self._over.wait(0.001)

    def end(self) -> None:
        self._over.set()


def _key_set(port: int) -> jwt.PyJWKSet:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", JWKS_PATH)
    answer = connection.getresponse()
    assert answer.status == 200
    text = answer.read().decode()
    connection.close()
    return jwt.PyJWKSet.from_json(text)


def test_a_changing_key_set_fails_no_request(port: int, clock: ManualClock, server: AwsServer) -> None:
    requests = TokenRequests(port)
    seen: dict[int, jwt.PyJWKSet] = {}
    with ThreadPoolExecutor(THREADS) as threads:
        sending = [threads.submit(requests.send) for _ in range(THREADS)]
        try:
            for now in STEPS:
                clock.now = now
                if now == ANNOUNCED:
                    announced = announce(ring(OLD), NEW, RULES, now)
                    server.secrets.write(KEY_RING_SECRET, key_ring.to_json(announced))
                seen[now] = _key_set(port)
                requests.wait_for(BETWEEN_STEPS)
        finally:
            requests.end()
        for each in sending:
            each.result(timeout=30)
    assert Counter(status for status, _ in requests.responses).keys() == {200}
    published = {each.kid: each.public_jwk for each in (OLD, NEW)}
    for keys in seen.values():
        for known in keys.keys:
            assert PyJWK(published[str(known.key_id)]).key == known.key
    signed_by = set()
    for _, body in requests.responses:
        token = json.loads(body)["access_token"]
        kid = jwt.get_unverified_header(token)["kid"]
        claims = jwt.decode(token, PyJWK(published[kid]), algorithms=["RS256"], options=SIGNATURE_ALONE)
        signed_by.add(kid)
        for keys in _known_to_verifiers(seen, claims["iat"]):
            assert kid in {known.key_id for known in keys.keys}
    assert signed_by == {OLD.kid, NEW.kid}


def _known_to_verifiers(seen: Mapping[int, jwt.PyJWKSet], now: int) -> Iterator[jwt.PyJWKSet]:
    """Return every key set that verifiers may still have cached."""
    oldest = now - JWKS_MAX_AGE - RULES.verifier_cache
    return (keys for seen_at, keys in seen.items() if oldest <= seen_at <= now)
