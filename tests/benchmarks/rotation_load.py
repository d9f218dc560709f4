"""`make storm`: rotate the signing key while clients request tokens and use them.

python -m local.cli tests.benchmarks.rotation_load [--seconds 60] [--clients 4] [--pause 0]

Every component is real: `chalice local`, the authorizer, moto, the rotation. Only the announcement
is shortened, from hours to half a minute. That is long enough here: each process reads the key ring
again within 30 seconds. The authorizer fetches the key set for an unknown key.
"""

import argparse
import http.client
import os
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field, replace

import jwt

from functions.rotate_keys.key_backends import SecretsManagerKeys
from functions.rotate_keys.key_rotation import RingStore
from functions.shared.keys.key_ring import FRESH_SECONDS, KeyRing
from functions.shared.keys.rotation import RotationRules, announce
from functions.shared.lifetimes import DAY
from functions.shared.storage.boto3_client import Boto3
from functions.shared.storage.secrets_manager import SecretStore
from infra.local_stack import physical_names
from local.addresses import Addresses, use_local_aws, with_free_ports
from local.http_client import HttpRequest, send
from local.run import logs_of, start_everything
from local.supervisor import Supervisor
from local.walkthrough import DemoCredentials

SHORTEST: int = FRESH_SECONDS + 15
"""Seconds for the announcement, and for signing with the new key."""

_ANNOUNCED = FRESH_SECONDS + 5


@dataclass
class LoadTest:
    """Results of all clients. A client gets a token, uses it, and uses its first one again."""

    addresses: Addresses
    ends: float
    pause: float = 0.0
    tokens_by_kid: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    rejections: list[str] = field(default_factory=list)
    first_tokens: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run_client(self) -> None:
        """Run one client until the test ends."""
        first = None
        while time.time() < self.ends:
            try:
                token = self._token()
                first = first or token
                self.use(token)
                self.use(first)
            except (OSError, KeyError, ValueError, http.client.HTTPException) as error:
                self._record(f"{type(error).__name__}: {error}")
            time.sleep(self.pause)
        if first:
            self.first_tokens.append(first)

    def _token(self) -> str:
        demo = DemoCredentials()
        request = demo.token_request(self.addresses.issuer, demo.jwt_client, "country.read")
        token = str(send(request).json["access_token"])
        with self._lock:
            self.tokens_by_kid[_kid(token)] += 1
        return token

    def use(self, token: str) -> None:
        """Send a token to the guarded API, and record a rejection."""
        url = f"{self.addresses.guarded_api}/country/code/AUS"
        status = send(HttpRequest(url, {"Authorization": f"Bearer {token}"})).status
        with self._lock:
            self.requests += 1
        if status != 200:
            self._record(f"{status} for a token of key {_kid(token)}")

    def _record(self, rejection: str) -> None:
        with self._lock:
            self.rejections.append(rejection)


def _kid(token: str) -> str:
    return str(jwt.get_unverified_header(token)["kid"])


def rotate(addresses: Addresses) -> str:
    """Announce a key as rotate_keys does, to sign in half a minute; return its id."""
    use_local_aws(os.environ, addresses)
    known = physical_names()
    secrets = SecretStore(Boto3())
    now = time.time()
    key = SecretsManagerKeys(secrets, known["SigningKeysSecret"]).create("RS256", now)
    store = RingStore(secrets, known["KeyRingSecret"])
    seen = store.read()
    rules = RotationRules(signing=30 * DAY, announcing=DAY, retiring=2 * DAY, verifier_cache=3600)
    store.write(_earlier(announce(seen.ring, key, rules, now), DAY - _ANNOUNCED), seen)
    return key.kid


def _earlier(ring: KeyRing, seconds: int) -> KeyRing:
    """Move the time at which the new key replaces the old one."""
    old, new = ring.keys[-2:]
    ended = replace(old, sign_until=(old.sign_until or 0) - seconds)
    return KeyRing((*ring.keys[:-2], ended, replace(new, sign_from=new.sign_from - seconds)))


def run(seconds: int, clients: int, pause: float) -> int:
    """Start the laptop edition, rotate under load, and report the results."""
    os.environ.pop("AWS_ENDPOINT_URL", None)
    addresses = replace(with_free_ports(Addresses.from_env(os.environ)), bound_api=False)
    with Supervisor(logs_of(addresses)) as supervisor:
        start_everything(supervisor, addresses)
        test = LoadTest(addresses, time.time() + seconds, pause)
        threads = [threading.Thread(target=test.run_client, daemon=True) for _ in range(clients)]
        for thread in threads:
            thread.start()
        time.sleep(2)
        new = rotate(addresses)
        print(f"{clients} clients; key {new} is announced and signs in {_ANNOUNCED} seconds.")
        for thread in threads:
            thread.join()
        for token in test.first_tokens:
            test.use(token)
    return report(test, new)


def report(test: LoadTest, new: str) -> int:
    """Print the results; return 1 if a valid token was rejected or the new key never signed."""
    print(f"{sum(test.tokens_by_kid.values())} tokens, used in {test.requests} requests.")
    for kid, tokens in test.tokens_by_kid.items():
        print(f"  {tokens} signed by {'the new' if kid == new else 'the old'} key {kid}")
    for rejection, times in Counter(test.rejections).most_common(10):
        print(f"  {times} times: {rejection}", file=sys.stderr)
    if test.rejections:
        print("FAILED: valid tokens were rejected.", file=sys.stderr)
        return 1
    if new not in test.tokens_by_kid:
        print("FAILED: the new key signed no token.", file=sys.stderr)
        return 1
    print("No valid token was rejected.")
    return 0


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="tests.benchmarks.rotation_load")
    parser.add_argument("--seconds", type=int, default=SHORTEST + 15)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--pause", type=float, default=0.0, help="seconds between a client's tokens")
    given = parser.parse_args()
    if given.seconds < SHORTEST or given.clients < 1:
        parser.error(f"the test needs at least {SHORTEST} seconds and one client")
    return run(given.seconds, given.clients, given.pause)
