"""oidc-provider, an authorization server in Node."""

import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple

from jwt.algorithms import RSAAlgorithm

from tests.benchmarks.turns import NODE
from tests.support.proxy_events import FORM, basic
from tests.support.tokens import rsa_key

CLIENT_ID, CLIENT_SECRET = "service-client-jwt", "service-client-jwt-secret"
SCOPE = "country.read customer.read customer.write"


class OidcProvider(NamedTuple):
    """A running server."""

    port: int
    pid: int


@contextmanager
def oidc_provider(*, opaque: bool = False) -> Iterator[OidcProvider]:
    """Run it with the walkthrough's client and a key of the same size."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    jwk = {name: value for name, value in RSAAlgorithm.to_jwk(rsa_key(), as_dict=True).items() if name != "key_ops"}
    setup = {
        "port": port,
        "jwk": jwk | {"kid": "key-1", "alg": "RS256", "use": "sig"},
        "clientId": CLIENT_ID,
        "clientSecret": CLIENT_SECRET,
        "scope": SCOPE,
        "format": "opaque" if opaque else "jwt",
    }
    process = subprocess.Popen(
        ["node", "oidc-provider.mjs", json.dumps(setup)],
        cwd=NODE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        yield OidcProvider(port, process.pid)
    finally:
        process.terminate()
        process.communicate()


class _Introspecting:
    """Introspects one opaque token over one connection."""

    def __init__(self, provider: OidcProvider) -> None:
        self._pid = provider.pid
        self._connection = HTTPConnection("127.0.0.1", provider.port)
        grant = f"grant_type=client_credentials&scope={SCOPE.replace(' ', '%20')}"
        self._form = f"token={self._post('/token', grant)['access_token']}"
        self.run(2000)

    def _post(self, path: str, body: str) -> dict[str, Any]:
        self._connection.request("POST", path, body, basic(CLIENT_ID, CLIENT_SECRET) | {"Content-Type": FORM})
        answer: dict[str, Any] = json.loads(self._connection.getresponse().read())
        return answer

    def run(self, times: int) -> float:
        """Return the microseconds of processor time that the server took for each request."""
        before = self._processor_nanoseconds()
        for _ in range(times):
            assert self._post("/token/introspection", self._form)["active"] is True
        return (self._processor_nanoseconds() - before) / times / 1000

    def _processor_nanoseconds(self) -> int:
        threads = Path(f"/proc/{self._pid}/task").glob("*/schedstat")
        return sum(int(each.read_text().split()[0]) for each in threads)


class Introspection(NamedTuple):
    """The contender that introspects opaque tokens."""

    runs: int

    @contextmanager
    def start(self) -> Iterator[_Introspecting]:
        """Run it with opaque tokens, and introspect one."""
        with oidc_provider(opaque=True) as provider:
            yield _Introspecting(provider)
