"""Decisions compared with other verifiers, taking turns, and with a large scope map."""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.benchmarks.jwks_server import serving
from tests.benchmarks.results import Goal, Section, measured, paired_ratio
from tests.benchmarks.rivals import RivalWorld
from tests.support.tokens import at_jwt_claims, jwks, mint, rsa_jwk

ROOT = Path(__file__).resolve().parents[2]
NODE = Path(__file__).parent / "node"
ISSUER = "https://auth.example.com/ms-auth-server"
API = "https://api.example.com"
TOKENS = 2500
ROUNDS = 101
# Short turns: most of them are then over before another process gets the core.
RUNS, RUNS_FROM_MEMORY = 60, 400
FIRST = {"ours, first": "Gatehouse: a whole decision", "cryptography": "cryptography: RSA alone"}
PYTHON_RIVALS = ("PyJWT", "PyJWKClient", "joserfc", "Powertools")
NODE_RIVALS = ("aws-jwt-verify", "jose", "fast-jwt")


class Contender:
    """A contender's process."""

    def __init__(self, command: list[str], setup: dict[str, Any]) -> None:
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        self._say(json.dumps(setup))

    def _say(self, line: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _hear(self) -> str:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args!r} ended with {self._process.wait()}")
        return line.strip()

    def wait(self) -> None:
        """Return when it is warm."""
        assert self._hear() == "ready"

    def run(self, times: int) -> float:
        """Run it; return the microseconds that each run took."""
        self._say(str(times))
        return int(self._hear()) / times / 1000

    def end(self) -> None:
        """End the process."""
        self._process.communicate()


@contextmanager
def _contender(command: list[str], setup: dict[str, Any]) -> Iterator[Contender]:
    contender = Contender(command, setup)
    try:
        contender.wait()
        yield contender
    finally:
        contender.end()


def _python(name: str) -> list[str]:
    return [sys.executable, "-m", "tests.benchmarks.contenders", name]


def sign_tokens(count: int, **claims: object) -> list[str]:
    """Sign RFC 9068 tokens that differ in their `jti`."""
    now = time.time()
    return [
        mint(at_jwt_claims(now, iss=ISSUER, aud=API, jti=f"{now}-{at}", **claims), typ="at+jwt") for at in range(count)
    ]


def has_node() -> bool:
    """Return whether the Node rivals can be measured here."""
    return shutil.which("node") is not None and (NODE / "node_modules").is_dir()


def _take_turns(contenders: dict[str, Contender]) -> dict[str, list[float]]:
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, contender in contenders.items():
            is_quick = "again" in name or "cached" in name
            samples[name].append(contender.run(RUNS_FROM_MEMORY if is_quick else RUNS))
    return samples


def decisions() -> list[Section]:
    """Measure decisions on tokens seen for the first time, and seen before."""
    world = RivalWorld(ISSUER, API, ["RS256"], {"keys": [rsa_jwk()]}, [], require_at_jwt=False)
    with serving(jwks(rsa_jwk())) as endpoint, ExitStack() as stack:
        setup = {
            "tokens": sign_tokens(TOKENS),
            "world": world.write(),
            "environ": {"ISSUER": ISSUER, "AUDIENCE": API, "JWKS_URI": endpoint.url},
        }
        names = ["ours, first", *PYTHON_RIVALS, "cryptography", "ours, again"]
        commands = {name: _python(name) for name in names}
        if has_node():
            for name in (*NODE_RIVALS, "fast-jwt, cached"):
                commands[name] = ["node", str(NODE / "contender.mjs"), name]
        contenders = {name: stack.enter_context(_contender(command, setup)) for name, command in commands.items()}
        samples = _take_turns(contenders)
    return [_first(samples), _again(samples)]


def _first(samples: dict[str, list[float]]) -> Section:
    order = [name for name in (*FIRST, *PYTHON_RIVALS, *NODE_RIVALS) if name in samples]
    goals = []
    if "aws-jwt-verify" in samples:
        ratio = paired_ratio(samples["ours, first"], samples["aws-jwt-verify"])
        goals.append(Goal("a decision compared with aws-jwt-verify's `verifySync`", ratio, 1.0))
    return Section(
        "A token seen for the first time",
        f"RS256 with a key of 2,048 bits, {TOKENS:,} RFC 9068 tokens in turns, more than the "
        "cache holds. Gatehouse runs the Lambda handler with cached keys: an API Gateway event "
        "in, policy and context out, one log line. The others only verify the token: PyJWT with "
        "its key, PyJWKClient with a warm client. aws-jwt-verify runs `verifySync` with cached "
        "keys, fast-jwt has one fixed key.",
        [measured(FIRST.get(name, name), samples[name], "µs") for name in order],
        goals,
    )


def _again(samples: dict[str, list[float]]) -> Section:
    goals = []
    names = {"ours, again": "Gatehouse: a whole decision", "fast-jwt, cached": "fast-jwt, cached"}
    if "fast-jwt, cached" in samples:
        ratio = paired_ratio(samples["ours, again"], samples["fast-jwt, cached"])
        goals.append(Goal("a decision compared with fast-jwt's cache", ratio, 2.0))
    return Section(
        "A token seen before",
        "The same handler, and fast-jwt with its cache of verified tokens. Gatehouse reads the "
        "event, checks times and key again, and writes the log line.",
        [measured(name, samples[key], "µs") for key, name in names.items() if key in samples],
        goals,
    )


def scope_maps() -> Section:
    """Measure decisions with a small and a large scope map, with policies of the same size."""
    maps = {"10 routes, 4 scopes": (4, 10), "1,000 routes, 200 scopes": (200, 1000)}
    with serving(jwks(rsa_jwk())) as endpoint, tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        contenders = {}
        for name, (scopes, routes) in maps.items():
            path = Path(directory) / f"{scopes}.json"
            path.write_text(json.dumps(_scope_map(scopes, routes)))
            granted = [f"s{at}" for at in range(10 * scopes // routes)]
            setup = {
                "tokens": sign_tokens(TOKENS, scope=" ".join(granted)),
                "environ": {"ISSUER": ISSUER, "AUDIENCE": API, "JWKS_URI": endpoint.url, "SCOPE_MAP": str(path)},
            }
            contenders[name] = stack.enter_context(_contender(_python("ours, first"), setup))
        samples = _take_turns(contenders)
    small, large = samples.values()
    return Section(
        "A large API",
        "First-seen tokens whose scopes open ten routes, under a map with no others and under one with 990 more.",
        [measured(name, each, "µs") for name, each in samples.items()],
        [Goal("1,000 routes and 200 scopes compared with 10 and 4", paired_ratio(large, small), 1.2)],
    )


def _scope_map(scopes: int, routes: int) -> dict[str, list[str]]:
    """Deal routes out to scopes, in runs, every other one with a parameter."""
    dealt: dict[str, list[str]] = {f"s{at}": [] for at in range(scopes)}
    for at in range(routes):
        tail = "/{id}" if at % 2 else ""
        dealt[f"s{at * scopes // routes}"].append(f"GET /service-{at}/things{tail}")
    return dealt
