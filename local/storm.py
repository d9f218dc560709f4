"""`make storm`: rotate the signing key while clients ask for tokens and use them.

python -m local.storm [--seconds 60] [--clients 4] [--pause 0]

Everything is real: `chalice local`, the authorizer, moto, the rotation's own arithmetic. Only the
announcement is hurried, from hours to the half minute after which every process of ours has read
the ring again: the one verifier here fetches the key set for a key that it does not know.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import os
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field, replace

import boto3

from functions.rotate_keys.key_backends import SecretsManagerKeys
from functions.rotate_keys.key_rotation import RingStore
from functions.shared.keys.key_ring import KeyRing
from functions.shared.keys.rotation import RotationRules, announce
from functions.shared.keys.warm_key_ring import WARM_SECONDS
from functions.shared.runtime.secret_store import SecretsManagerStore
from local.addresses import Addresses, with_free_ports
from local.aws import TEMPLATE
from local.aws_account import use_local_aws
from local.cli import run_command
from local.gateway.template import Template
from local.provisioning import names
from local.starting import logs_of, start_everything
from local.supervisor import Supervisor
from local.walkthrough import Actors, Request, send

SHORTEST: int = WARM_SECONDS + 15
"""Seconds: the announcement, and some time to sign with the new key."""

_DAY = 86_400


@dataclass
class Storm:
    """What clients saw. Each asks for a token, uses it at once, and uses its first one again."""

    addresses: Addresses
    ends: float
    pause: float = 0.0
    tokens_by_kid: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    refusals: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def blow(self) -> None:
        """Be one client until the storm ends."""
        first = None
        while time.time() < self.ends:
            try:
                token = self._token()
                first = first or token
                self.use(token)
                self.use(first)
            except (OSError, KeyError, ValueError, http.client.HTTPException) as error:
                self._note(f"{type(error).__name__}: {error}")
            time.sleep(self.pause)
        if first:
            self.kept.append(first)

    def _token(self) -> str:
        actors = Actors()
        form = {
            "grant_type": "client_credentials",
            "client_id": actors.jwt_client,
            "client_secret": actors.secrets[actors.jwt_client],
            "scope": "country.read",
        }
        answer = send(Request(f"{self.addresses.issuer}/oauth2/token", form=form))
        token = str(answer.body["access_token"])
        with self._lock:
            self.tokens_by_kid[_kid(token)] += 1
        return token

    def use(self, token: str) -> None:
        """Send a token to the guarded API, and note when it is refused."""
        url = f"{self.addresses.guarded_api}/country/code/AUS"
        answer = send(Request(url, {"Authorization": f"Bearer {token}"}))
        with self._lock:
            self.requests += 1
        if answer.status != http.client.OK:
            self._note(f"{answer.status} for a token of key {_kid(token)}")

    def _note(self, refusal: str) -> None:
        with self._lock:
            self.refusals.append(refusal)


def _kid(token: str) -> str:
    header = token.partition(".")[0]
    kid = json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))["kid"]
    return str(kid)


def rotate(addresses: Addresses) -> str:
    """Announce a key as the rotator does, to sign in half a minute; return its id."""
    use_local_aws(os.environ, addresses)
    known = names(Template.read(TEMPLATE))
    secrets = SecretsManagerStore(boto3.client("secretsmanager"))
    now = time.time()
    key = SecretsManagerKeys(secrets, known["SigningKeysSecret"]).create("RS256", now)
    store = RingStore(secrets, known["KeyRingSecret"])
    seen = store.read()
    rules = RotationRules(
        signing=30 * _DAY, announcing=_DAY, retiring=2 * _DAY, verifier_cache=3600
    )
    store.write(_hurried(announce(seen.ring, key, rules, now), _DAY - WARM_SECONDS - 5), seen)
    return key.kid


def _hurried(ring: KeyRing, seconds: int) -> KeyRing:
    """Bring forward what an announcement has planned."""
    old, new = ring.keys[-2:]
    ended = replace(old, sign_until=(old.sign_until or 0) - seconds)
    return KeyRing((*ring.keys[:-2], ended, replace(new, sign_from=new.sign_from - seconds)))


def run(seconds: int, clients: int, pause: float) -> int:
    """Start the laptop edition, let the storm blow over a rotation, and tell what was seen."""
    os.environ.pop("AWS_ENDPOINT_URL", None)
    addresses = replace(with_free_ports(Addresses.from_env(os.environ)), bound_api=False)
    with Supervisor(logs_of(addresses)) as supervisor:
        start_everything(supervisor, addresses)
        storm = Storm(addresses, time.time() + seconds, pause)
        threads = [threading.Thread(target=storm.blow, daemon=True) for _ in range(clients)]
        for thread in threads:
            thread.start()
        time.sleep(2)
        new = rotate(addresses)
        print(f"{clients} clients; key {new} is announced and signs in {WARM_SECONDS + 5} seconds.")
        for thread in threads:
            thread.join()
        for token in storm.kept:
            storm.use(token)
    return report(storm, new)


def report(storm: Storm, new: str) -> int:
    """Print what was seen; return 1 when a good token was refused or the new key never signed."""
    print(f"{sum(storm.tokens_by_kid.values())} tokens, used in {storm.requests} requests.")
    for kid, tokens in storm.tokens_by_kid.items():
        print(f"  {tokens} signed by {'the new' if kid == new else 'the old'} key {kid}")
    for refusal, times in Counter(storm.refusals).most_common(10):
        print(f"  {times} times: {refusal}", file=sys.stderr)
    if storm.refusals or new not in storm.tokens_by_kid:
        print("The rotation was noticed.", file=sys.stderr)
        return 1
    print("No good token was refused.")
    return 0


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="local.storm")
    parser.add_argument("--seconds", type=int, default=SHORTEST + 15)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument(
        "--pause", type=float, default=0.0, help="seconds between a client's tokens"
    )
    given = parser.parse_args()
    if given.seconds < SHORTEST or given.clients < 1:
        parser.error(f"a storm needs {SHORTEST} seconds and a client at least")
    return run(given.seconds, given.clients, given.pause)


if __name__ == "__main__":
    sys.exit(run_command(main))
