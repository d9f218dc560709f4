"""Memory use of the authorizer under many distinct tokens.

python -m tests.benchmarks.memory COUNT REMEMBERED    prints the resident size, in KiB, twenty times
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from authorizer import handler
from authorizer.errors import Unauthorized
from tests.benchmarks.decisions import API, ISSUER
from tests.benchmarks.jwks_server import serving
from tests.benchmarks.results import Goal, Measurement, Section
from tests.benchmarks.turns import ROOT
from tests.support.tokens import at_jwt_claims, ed25519_jwk, ed25519_key, encode, jwks, rest_event

SAMPLES = 20
_DEFAULT = 1024
_HEADER = encode(b'{"alg":"EdDSA","kid":"ed","typ":"at+jwt"}')


def memory(count: int) -> Section:
    """Decide on `count` distinct tokens in a process of its own, and watch its size."""
    with ThreadPoolExecutor(2) as pool:
        sizes, all_cached = pool.map(_sizes, (count, count), (_DEFAULT, count))
    warm, last = sizes[1], sizes[-1]
    cached_kib = (all_cached[-1] - all_cached[1]) / (count / 2 * (SAMPLES - 2) / SAMPLES)
    return Section(
        "Memory",
        f"{count:,} tokens through the handler, no two alike: of every four, two are valid, one has a forged signature "
        "and one names a random key id. Signed with Ed25519 in the same process, because signing by RSA would take far "
        "longer. Resident size after each twentieth. The second process caches all valid tokens instead of 1,024.",
        [
            Measurement(f"after {count // SAMPLES * 2:,}", warm / 1024, "MiB"),
            Measurement(f"after {count // 2:,}", sizes[SAMPLES // 2 - 1] / 1024, "MiB"),
            Measurement(f"after {count:,}", last / 1024, "MiB"),
            Measurement("the largest of all samples", max(sizes) / 1024, "MiB", len(sizes)),
            Measurement(f"after {count:,}, with REMEMBERED_TOKENS={count}", all_cached[-1] / 1024, "MiB"),
        ],
        [
            Goal("growth from the second sample to the last", (last - warm) / 1024, 1, "MiB"),
            Goal("a cached token", cached_kib, 1.5, "KiB"),
        ],
    )


def _sizes(count: int, remembered: int) -> list[int]:
    command = [sys.executable, "-m", "tests.benchmarks.memory", str(count), str(remembered)]
    process = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True)
    return [int(line) for line in process.stdout.splitlines()]


def _tokens(count: int) -> Iterator[str]:
    """Write tokens, each of a `jti` of its own."""
    sign = ed25519_key("ed").sign
    claims = json.dumps(at_jwt_claims(time.time(), iss=ISSUER, aud=API, jti="@"))
    before, _, after = claims.partition("@")
    for at in range(count):
        head = f"{_HEADER}.{encode(f'{before}{at}{after}'.encode())}"
        signature = bytes(64) if at % 4 == 2 else sign(head.encode())
        token = f"{head}.{encode(signature)}"
        if at % 4 == 3:
            other = encode(json.dumps({"alg": "EdDSA", "kid": f"random-{at}"}).encode())
            token = other + token.removeprefix(_HEADER)
        yield token


def _resident_kib() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE") // 1024


def _watch(count: int, remembered: int) -> Iterator[int]:
    with serving(jwks(ed25519_jwk())) as endpoint:
        os.environ |= {
            "ISSUER": ISSUER,
            "AUDIENCE": API,
            "JWKS_URI": endpoint.url,
            "ALGORITHMS": "EdDSA",
            "REMEMBERED_TOKENS": str(remembered),
        }
        event: dict[str, Any] = rest_event("")
        allowed = 0
        for at, token in enumerate(_tokens(count), start=1):
            event["headers"]["Authorization"] = f"Bearer {token}"
            event["multiValueHeaders"]["Authorization"] = [f"Bearer {token}"]
            try:
                handler.handle(event, None)
                allowed += 1
            except Unauthorized:
                pass
            if at % (count // SAMPLES) == 0:
                yield _resident_kib()
        assert allowed == count // 2


def main() -> None:
    """Print the samples, and discard log lines."""
    output = os.fdopen(os.dup(1), "w", buffering=1)
    with open(os.devnull, "w", buffering=1) as discarded:
        sys.stdout = discarded
        for size in _watch(*map(int, sys.argv[1:])):
            output.write(f"{size}\n")


if __name__ == "__main__":
    main()
