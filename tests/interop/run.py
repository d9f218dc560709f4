"""`make interop`: run verifiers and clients of other projects against the laptop edition.

python -m tests.interop.run [PEER …]

Without a name it runs them all and writes docs/interop.md.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jwt
import requests

from functions.rotate_keys.key_backends import SecretsManagerKeys
from functions.rotate_keys.key_rotation import RingStore
from functions.shared.clients.supported import SIGNING_ALGORITHMS
from functions.shared.keys.key_ring import FRESH_SECONDS, KeyRing
from functions.shared.storage.boto3_client import Boto3
from functions.shared.storage.secrets_manager import SecretStore
from infra.local_stack import physical_names
from local.addresses import use_local_aws
from tests.interop import page
from tests.interop.peers import BUILT, PEERS, BuildError, Peer, Place
from tests.interop.tokens import CLIENTS, get_jwt, get_token, revoked_token
from tests.support.laptop import ROOT, Laptop, free_environment, gatehouse, is_listening, running

START_SECONDS = 90
ROTATION_SECONDS = 120
RUN = BUILT / "run"
_REJECTED = (401, 403)


@dataclass(slots=True)
class Service:
    """A running peer and its results."""

    peer: Peer
    place: Place
    process: subprocess.Popen[bytes]
    results: page.Results = field(default_factory=page.Results)

    def status(self, route: str, token: str | None) -> int:
        """Return the status of a request with a token."""
        return self._get(route, {"Authorization": f"Bearer {token}"} if token is not None else {}).status_code

    def requested_token(self) -> str:
        """Return the token that its client requested."""
        response = self._get("client", {})
        return response.text if response.status_code == 200 else ""

    def take_keys_over(self) -> None:
        """Reload the keys if the peer does not fetch them."""
        if self.peer.reload:
            self.peer.reload(self.place, self.process.pid)

    def _get(self, route: str, headers: dict[str, str]) -> requests.Response:
        return requests.get(f"http://127.0.0.1:{self.place.port}/{route}", headers=headers, timeout=30)


@contextlib.contextmanager
def started(peer: Peer, issuer: str) -> Iterator[Service]:
    """Run a peer; its output is in a file of its folder."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = RUN / f"{peer.name.replace(' ', '-')}-{port}"
    folder.mkdir(parents=True)
    place = Place(issuer, port, folder)
    environ = os.environ | {"ISSUER": issuer, "PORT": str(port), "FOLDER": str(folder)}
    with (folder / "output.log").open("wb") as log:
        process = subprocess.Popen(
            peer.command(place), env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        yield Service(peer, place, process)
    finally:
        process.terminate()
        process.wait(timeout=30)


def is_ready(service: Service) -> bool:
    """Wait for its port. A program that does not start is a failure: it may reject the metadata."""
    deadline = time.monotonic() + START_SECONDS
    while not is_listening(service.place.port):
        if service.process.poll() is not None or time.monotonic() > deadline:
            log = service.place.folder.relative_to(ROOT) / "output.log"
            service.results.failures.append(f"does not start, see {log}")
            return False
        time.sleep(0.1)
    return True


def check_valid(service: Service, laptop: Laptop) -> None:
    """Use a token on each route, and the token of the peer's client at the guarded API."""
    for route in service.peer.routes:
        if route == "client":
            headers = {"Authorization": f"Bearer {service.requested_token()}"}
            url = f"{laptop.addresses.guarded_api}/country/code/AUS"
            status = requests.get(url, headers=headers, timeout=30).status_code
        else:
            status = service.status(route, get_token(laptop, CLIENTS[route]))
        service.results.routes[route] = status


def check_invalid(service: Service, laptop: Laptop) -> None:
    """Use tokens with one fault each, on the routes that accept the same token without a fault."""
    for route in service.peer.routes:
        if route == "client" or route in service.peer.known:
            continue
        if route == "opaque":
            tokens = {"unknown": "x" * 43, "revoked": revoked_token(laptop)}
        else:
            valid = get_jwt(laptop, CLIENTS[route])
            if service.status(route, valid.signed_again()) != 200:
                service.results.failures.append(f"{route}: a valid token that is signed again is rejected")
            if route == "at-jwt":
                bound = valid.signed_again(cnf={"jkt": "x" * 43})
                service.results.bound_token = service.status(route, bound)
            tokens = dict(valid.invalid())
        statuses = {name: service.status(route, token) for name, token in tokens.items()}
        statuses["no token"] = service.status(route, None)
        service.results.invalid += len(statuses)
        service.results.rejected += sum(status in _REJECTED for status in statuses.values())
        service.results.failures += [
            f"{route}: {name}: {status}" for name, status in statuses.items() if status not in _REJECTED
        ]


def check_rotation(services: Sequence[Service], laptop: Laptop) -> str:
    """Have a new key sign, then remove the old one; return a token of the old one."""
    old = get_token(laptop, CLIENTS["at-jwt"])
    verifiers = [service for service in services if "at-jwt" in service.peer.routes]
    for service in verifiers:
        service.status("at-jwt", old)
    _change_keys(laptop)
    new = get_token(laptop, CLIENTS["at-jwt"])
    assert _kid(new) != _kid(old), "the new key does not sign"
    waiting = list(verifiers)
    for service in waiting:
        service.take_keys_over()
    since = time.monotonic()
    passed = 0.0
    while waiting and passed < ROTATION_SECONDS:
        for service in list(waiting):
            if service.status("at-jwt", new) == 200:
                service.results.new_key = passed
                waiting.remove(service)
        time.sleep(0.5)
        passed = time.monotonic() - since
    for service in verifiers:
        if service.status("at-jwt", old) != 200:
            service.results.failures.append("a token of the previous key is rejected")
    _change_keys(laptop, "--revoke", _kid(old))
    for service in verifiers:
        service.take_keys_over()
    time.sleep(1)  # HAProxy starts a new process
    for service in verifiers:
        service.results.removed_key = service.status("at-jwt", old)
    return old


def publish_other_keys(laptop: Laptop) -> None:
    """Add a key of every other algorithm, as in a deployment with several `SigningAlgorithms`."""
    use_local_aws(os.environ, laptop.addresses)
    names, secrets, now = physical_names(), SecretStore(Boto3()), int(time.time())
    ring = RingStore(secrets, names["KeyRingSecret"])
    for alg in sorted({*SIGNING_ALGORITHMS} - {"RS256"}):
        key = SecretsManagerKeys(secrets, names["SigningKeysSecret"]).create(alg, now)
        seen = ring.read()
        ring.write(KeyRing((*seen.ring.keys, key.to_ring_key(now, now))), seen)
    time.sleep(FRESH_SECONDS + 1)
    published = requests.get(f"{laptop.addresses.issuer}/oauth2/jwks", timeout=30).json()["keys"]
    assert {jwk["alg"] for jwk in published} == set(SIGNING_ALGORITHMS)


def _change_keys(laptop: Laptop, *options: str) -> None:
    """Change the keys, and wait until every process of the authorization server has the new key ring."""
    done = gatehouse(laptop, "keys", "emergency", "--algorithm", "RS256", "--yes", *options)
    assert done.returncode == 0, done.stderr
    time.sleep(FRESH_SECONDS + 1)


def _kid(token: str) -> str:
    return str(jwt.get_unverified_header(token)["kid"])


def built(peers: Sequence[Peer]) -> tuple[list[Peer], dict[str, str]]:
    """Build the peers; return those that run here, and the reasons for the others."""
    usable, left_out = [], {}
    for peer in peers:
        reason = peer.missing()
        if not reason:
            print(f"Building {peer.name} …", flush=True)
            try:
                peer.build()
            except BuildError as error:
                reason = str(error)
        if reason:
            left_out[peer.name] = reason
        else:
            usable.append(peer)
    return usable, left_out


def main(names: Sequence[str]) -> int:
    """Run the peers; return 1 if one does not do what is expected."""
    usable, left_out = built([peer for peer in PEERS if not names or peer.name in names])
    shutil.rmtree(RUN, ignore_errors=True)
    with contextlib.ExitStack() as stack:
        laptop = stack.enter_context(running(free_environment()))
        laptop.wait_for_line("Everything is up")
        publish_other_keys(laptop)
        issuer = laptop.addresses.issuer
        services = [stack.enter_context(started(peer, issuer)) for peer in usable]
        ready = [service for service in services if is_ready(service)]
        for service in ready:
            check_valid(service, laptop)
        removed = check_rotation(ready, laptop)
        for service in ready:
            check_invalid(service, laptop)
            if "at-jwt" in service.peer.routes:
                service.results.removed_key_later = service.status("at-jwt", removed)
    rows = [page.Row(service.peer, service.peer.version(), service.results) for service in services]
    failures = [failure for row in rows for failure in row.failures()]
    text = page.write_page(rows, left_out)
    if names:
        print(text)
    else:
        Path(ROOT / "docs" / "interop.md").write_text(text, encoding="utf-8")
    for failure in failures:
        print(f"FAILED: {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
