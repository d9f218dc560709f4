"""Remote key sets: fetches, validation and outages."""

import json
import socket
from collections.abc import Iterator
from functools import partial

import pytest

from authorizer import https_client
from authorizer.clock import Clocks
from authorizer.errors import InvalidTokenError
from authorizer.https_client import HttpExchangeError, Request, Response
from authorizer.jwks_cache import DISCOVERY_SECONDS
from functions.shared.authentication.remote_jwks import FETCH_SECONDS, RemoteJwks
from functions.shared.authentication.ssrf_guard import require_public, require_public_or_loopback
from functions.shared.web.oauth_errors import TemporarilyUnavailableError
from local.gateway import model
from local.http_server import Server
from tests.support.clock import ManualClock
from tests.support.tokens import ec_jwk, jwks, rsa_jwk

ISSUER = "https://issuer.example"
METADATA = f"{ISSUER}/.well-known/openid-configuration"
JWKS_URI = "https://keys.example/jwks"


class Web:
    """Documents by URL, and the requested URLs."""

    def __init__(self) -> None:
        self.documents: dict[str, bytes] = {
            METADATA: json.dumps({"issuer": ISSUER, "jwks_uri": JWKS_URI}).encode(),
            JWKS_URI: jwks(ec_jwk("ec")),
        }
        self.fetched: list[str] = []
        self.status = 200

    def send(self, request: Request) -> Response:
        self.fetched.append(request.url)
        assert 0 <= request.deadline.remaining() <= FETCH_SECONDS
        if request.url not in self.documents:
            raise HttpExchangeError(f"TimeoutError from {request.url}")
        return Response(self.status, {}, self.documents[request.url])


@pytest.fixture
def web() -> Web:
    return Web()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def keys(web: Web, clock: ManualClock) -> RemoteJwks:
    return RemoteJwks(web.send, Clocks(clock, clock))


def test_key_set_is_fetched_once(keys: RemoteJwks, web: Web) -> None:
    assert keys.find(JWKS_URI, "ec") is keys.find(JWKS_URI, "ec")
    assert web.fetched == [JWKS_URI]


def test_openid_discovery_4_metadata_locates_the_keys(keys: RemoteJwks, web: Web) -> None:
    assert keys.find_by_issuer(ISSUER, "ec").kid == "ec"
    assert keys.find_by_issuer(ISSUER, "ec").kid == "ec"
    assert web.fetched == [METADATA, JWKS_URI]


def test_openid_discovery_4_1_trailing_slash_is_not_doubled(keys: RemoteJwks, web: Web) -> None:
    issuer = f"{ISSUER}/tenant/"
    url = f"{issuer}.well-known/openid-configuration"
    web.documents[url] = json.dumps({"issuer": issuer, "jwks_uri": JWKS_URI}).encode()
    keys.find_by_issuer(issuer, "ec")
    assert web.fetched[0] == url


def test_reload_skips_discovery(keys: RemoteJwks, web: Web, clock: ManualClock) -> None:
    keys.find_by_issuer(ISSUER, "ec")
    clock.advance(301)
    keys.find_by_issuer(ISSUER, "ec")
    assert web.fetched == [METADATA, JWKS_URI, JWKS_URI]
    clock.advance(DISCOVERY_SECONDS)
    keys.find_by_issuer(ISSUER, "ec")
    assert web.fetched[3:] == [METADATA, JWKS_URI]


def test_moved_keys_are_discovered_again(keys: RemoteJwks, web: Web, clock: ManualClock) -> None:
    keys.find_by_issuer(ISSUER, "ec")
    del web.documents[JWKS_URI]
    moved = "https://keys.example/moved"
    web.documents |= {
        METADATA: json.dumps({"issuer": ISSUER, "jwks_uri": moved}).encode(),
        moved: jwks(ec_jwk("ec"), ec_jwk("new")),
    }
    for _ in range(2):
        clock.advance(301)
        keys.find_by_issuer(ISSUER, "ec")
    assert keys.find_by_issuer(ISSUER, "new").kid == "new"


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://other.example", "jwks_uri": JWKS_URI},
        {"issuer": f"{ISSUER}/", "jwks_uri": JWKS_URI},
        {"issuer": ISSUER},
        {"issuer": ISSUER, "jwks_uri": [JWKS_URI]},
        {"issuer": ISSUER, "jwks_uri": "http://keys.example/jwks"},
        {"issuer": ISSUER, "jwks_uri": "http://localhost/jwks"},
        {"issuer": ISSUER, "jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": JWKS_URI},
        [],
    ],
)
def test_openid_discovery_4_3_mismatched_metadata_is_rejected(keys: RemoteJwks, web: Web, metadata: object) -> None:
    web.documents[METADATA] = json.dumps(metadata).encode()
    with pytest.raises(TemporarilyUnavailableError):
        keys.find_by_issuer(ISSUER, "ec")
    assert JWKS_URI not in web.fetched


@pytest.mark.parametrize(
    "other",
    [
        rsa_jwk("rsa") | {"kid": "ec", "use": "enc", "alg": "RSA-OAEP"},
        {"kty": "AKP", "kid": "ec", "alg": "ML-DSA-44", "pub": "AAAA"},
        ec_jwk("ec"),
    ],
    ids=["encryption", "ML-DSA", "duplicate"],
)
def test_rfc7517_5_unverifiable_keys_are_ignored(keys: RemoteJwks, web: Web, other: dict[str, object]) -> None:
    web.documents[JWKS_URI] = jwks(other, ec_jwk("ec"))
    assert keys.find(JWKS_URI, "ec").algorithms == {"ES256"}
    assert keys.find_by_issuer(ISSUER, "ec").algorithms == {"ES256"}


def test_rfc7517_4_5_two_usable_keys_with_one_kid_are_ambiguous(keys: RemoteJwks, web: Web) -> None:
    web.documents[JWKS_URI] = jwks(ec_jwk("x") | {"kid": "ec"}, ec_jwk("ec"))
    with pytest.raises(InvalidTokenError, match="kid_ambiguous"):
        keys.find(JWKS_URI, "ec")


def test_unpublished_key_is_rejected(keys: RemoteJwks) -> None:
    with pytest.raises(InvalidTokenError):
        keys.find(JWKS_URI, "unknown")
    with pytest.raises(InvalidTokenError):
        keys.find_by_issuer(ISSUER, "unknown")


def test_outage_is_503_with_logged_cause(keys: RemoteJwks, web: Web) -> None:
    web.documents.clear()
    with pytest.raises(TemporarilyUnavailableError) as unavailable:
        keys.find(JWKS_URI, "ec")
    assert unavailable.value.reason == (f"no usable key set from {JWKS_URI}: TimeoutError from {JWKS_URI}")
    assert JWKS_URI not in unavailable.value.description


def test_redirect_is_not_followed(keys: RemoteJwks, web: Web) -> None:
    web.status = 302
    with pytest.raises(TemporarilyUnavailableError) as unavailable:
        keys.find(JWKS_URI, "ec")
    assert "status 302" in str(unavailable.value.reason)
    assert web.fetched == [JWKS_URI]


def test_stale_keys_serve_an_outage(keys: RemoteJwks, web: Web, clock: ManualClock) -> None:
    keys.find(JWKS_URI, "ec")
    web.documents.clear()
    clock.advance(3599)
    assert keys.find(JWKS_URI, "ec").kid == "ec"
    clock.advance(1)
    with pytest.raises(TemporarilyUnavailableError):
        keys.find(JWKS_URI, "ec")


def test_http_url_is_not_fetched(web: Web, clock: ManualClock) -> None:
    keys = RemoteJwks(web.send, Clocks(clock, clock))
    with pytest.raises(TemporarilyUnavailableError) as unavailable:
        keys.find("http://localhost:9/jwks", "ec")
    assert "not an https URL" in str(unavailable.value.reason)
    assert web.fetched == []


class KeySite:
    """A web site with a key set."""

    def handle(self, request: model.Request) -> model.Response:
        return model.Response(200, (("Content-Type", "application/json"),), jwks(ec_jwk("ec")))

    def too_large(self, request: model.Request) -> model.Response:
        return model.Response(413)


@pytest.fixture
def site() -> Iterator[str]:
    from threading import Thread

    with Server("127.0.0.1", 0) as server:
        server.open(KeySite())
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://localhost:{server.port}/jwks"
        server.shutdown()
        thread.join()


def test_on_a_laptop_keys_may_be_on_the_laptop(site: str, clock: ManualClock) -> None:
    send = partial(https_client.send, check_address=require_public_or_loopback)
    assert RemoteJwks(send, Clocks(clock, clock), http=True).find(site, "ec").kid == "ec"


def test_loopback_is_blocked_in_an_account(clock: ManualClock) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        send = partial(https_client.send, check_address=require_public)
        keys = RemoteJwks(send, Clocks(clock, clock))
        with pytest.raises(TemporarilyUnavailableError) as unavailable:
            keys.find(f"https://localhost:{listener.getsockname()[1]}/jwks", "ec")
        assert "ForbiddenAddressError" in str(unavailable.value.reason)
        with pytest.raises(TimeoutError):
            listener.accept()
