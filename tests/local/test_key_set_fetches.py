"""How often the authorizer asks for the key set, counted at the server that publishes it."""

import http.client
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.support.chalice import chalice_local
from tests.support.laptop import free_environment
from tests.support.tokens import claims, jwks, mint, rsa_jwk

REQUESTS = 100


class KeySetServer(ThreadingHTTPServer):
    """An authorization server that only publishes its keys, and counts how often."""

    daemon_threads = True
    fetches = 0


class _PublishKeys(BaseHTTPRequestHandler):
    server: KeySetServer

    def do_GET(self) -> None:
        self.server.fetches += 1
        body = jwks(rsa_jwk())
        self.send_response(200 if self.path == "/ms-auth-server/oauth2/jwks" else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def issuer() -> Iterator[KeySetServer]:
    with KeySetServer(("127.0.0.1", 0), _PublishKeys) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def test_hundred_requests_cause_one_fetch(issuer: KeySetServer) -> None:
    auth_port = issuer.server_address[1]
    environ = free_environment() | {
        "GATEHOUSE_AUTH_PORT": str(auth_port),
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",  # AWS is not needed here
    }
    api_port = int(environ["GATEHOUSE_API_PORT"])
    own_claims = claims(time.time(), iss=f"http://localhost:{auth_port}/ms-auth-server")
    with chalice_local("guarded_api", api_port, environ, "--no-autoreload"):
        connection = http.client.HTTPConnection("localhost", api_port, timeout=10)
        for number in range(REQUESTS):
            # A token of its own each time, so that the gateway's result cache never answers.
            token = mint(own_claims | {"jti": str(number)})
            headers = {"Authorization": f"Bearer {token}"}
            connection.request("GET", "/ms-system/country/code/AUS", headers=headers)
            response = connection.getresponse()
            assert (response.status, response.read()) == (200, b'{"code": "AUS", "name": "AUSTRALIA"}')
        connection.close()
    assert issuer.fetches == 1
