"""A key set changes during token requests: concurrent threads and a manual clock."""

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jwt
import pytest
from jwt import PyJWK

from functions.shared.keys import key_ring, signing_keys
from functions.shared.keys.key_ring import JWKS_MAX_AGE
from functions.shared.keys.rotation import PROPAGATION_SECONDS, RETENTION_NEEDED, RotationRules, announce
from functions.shared.web.endpoint import JWKS_PATH, Endpoint, ProxyResponse
from tests.support.aws import KEY_RING_SECRET, SIGNING_KEYS_SECRET, AwsAccount
from tests.support.aws_server import GRANT, AwsServer
from tests.support.clock import ManualClock
from tests.support.proxy_events import basic, proxy_event, token_event
from tests.support.server import NOW, SECRET, client, key, ring

CLIENT = "service-client-jwt"
SIGNATURE_ALONE: Any = {"verify_exp": False, "verify_aud": False, "verify_iat": False}
REQUESTS = 6
"""Concurrent token requests in each step of the clock."""

OLD, NEW = key(1), key(2)
RULES = RotationRules(
    signing=86_400, announcing=JWKS_MAX_AGE + 300 + PROPAGATION_SECONDS, retiring=RETENTION_NEEDED, verifier_cache=300
)
"""As short an announcement as the rules allow."""

ANNOUNCED = NOW + 600
STEPS = range(NOW, ANNOUNCED + RULES.announcing + 600, 30)


@pytest.fixture
def server(aws: AwsAccount, clock: ManualClock) -> AwsServer:
    server = AwsServer(aws, clock)
    private_keys = {each.kid: each.private_pem for each in (OLD, NEW)}
    server.secrets.write(SIGNING_KEYS_SECRET, signing_keys.to_json(private_keys))
    server.secrets.write(KEY_RING_SECRET, key_ring.to_json(ring(OLD)))
    server.clients.put(client(CLIENT))
    return server


def _key_set(endpoint: Endpoint) -> jwt.PyJWKSet:
    response = endpoint(proxy_event("GET", JWKS_PATH))
    assert response["statusCode"] == 200
    return jwt.PyJWKSet.from_json(response["body"])


def test_a_changing_key_set_fails_no_request(clock: ManualClock, server: AwsServer) -> None:
    event = token_event(GRANT | {"scope": "country.read"}, headers=basic(CLIENT, SECRET))
    seen: dict[int, jwt.PyJWKSet] = {}
    responses: list[ProxyResponse] = []
    with ThreadPoolExecutor(REQUESTS) as threads:
        for now in STEPS:
            requests = [threads.submit(server.token_endpoint, event) for _ in range(REQUESTS)]
            clock.now = now  # while these are handled
            if now == ANNOUNCED:
                announced = announce(ring(OLD), NEW, RULES, now)
                server.secrets.write(KEY_RING_SECRET, key_ring.to_json(announced))
            seen[now] = _key_set(server.jwks_endpoint)
            responses += [request.result(timeout=30) for request in requests]
    assert {response["statusCode"] for response in responses} == {200}
    published = {each.kid: each.public_jwk for each in (OLD, NEW)}
    for keys in seen.values():
        for known in keys.keys:
            assert PyJWK(published[str(known.key_id)]).key == known.key
    signed_by = set()
    for response in responses:
        token = json.loads(response["body"])["access_token"]
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
