"""How often the authorizer asks for the key set, counted at the server that publishes it."""

import http.client
import time

from tests.support.answers_server import Reply, answers_server
from tests.support.chalice import chalice_local
from tests.support.laptop import free_environment
from tests.support.tokens import claims, jwks, mint, rsa_jwk

REQUESTS = 100


def test_hundred_requests_cause_one_fetch() -> None:
    with answers_server() as issuer:
        issuer.answers["GET /ms-auth-server/oauth2/jwks"] = Reply(200, jwks(rsa_jwk()).decode())
        send_requests(issuer.url.rpartition(":")[2])
        assert len(issuer.received) == 1


def send_requests(auth_port: str) -> None:
    environ = free_environment() | {
        "GATEHOUSE_AUTH_PORT": auth_port,
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
