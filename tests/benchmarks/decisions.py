"""Decisions compared with other authorizers and verifiers, and at size."""

import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.benchmarks.jwks_server import serving
from tests.benchmarks.results import ROUNDS, Goal, Section, compared, measured
from tests.benchmarks.turns import NODE, ROOT, Contender, has_node, python, take_turns
from tests.support.tokens import CLIENT, at_jwt_claims, jwks, mint, rest_event, rsa_jwk

ISSUER = "https://auth.example.com/ms-auth-server"
API = "https://api.example.com"
TOKENS = 2500
SEEN_RUNS = 400
_WHOLE = "Gatehouse: the whole decision"
_NODE = "Node authorizer on aws-jwt-verify: the same work"
_POWERTOOLS = "Python authorizer on Powertools: the same work"
_RSA = "cryptography: RSA alone"
_VERIFIERS = ("aws-jwt-verify", "jose", "fast-jwt", "PyJWT", "PyJWKClient", "joserfc", "Powertools")
_CACHED = "fast-jwt, cached"


def sign_tokens(count: int, **claims: object) -> list[str]:
    """Sign RFC 9068 tokens that differ in their `jti`."""
    now = time.time()
    return [
        mint(at_jwt_claims(now, **{"iss": ISSUER, "aud": API, "jti": f"{now}-{at}"} | claims), typ="at+jwt")
        for at in range(count)
    ]


@contextmanager
def gatehouse_contender(
    tokens: list[str], runs: int = 60, *, warm_up: int | None = None, **environ: str
) -> Iterator[Contender]:
    """Provide the authorizer's handler, with a key set that it can fetch."""
    with serving(jwks(rsa_jwk())) as endpoint:
        yield Contender(
            python("handler"),
            {
                "module": "authorizer.handler",
                "environ": {"ISSUER": ISSUER, "AUDIENCE": API, "JWKS_URI": endpoint.url, **environ},
                "events": [rest_event(token) for token in tokens],
                "warm_up": warm_up,
            },
            runs,
        )


def rival_setup(tokens: list[str]) -> dict[str, Any]:
    """Return the setup of a contender that is not Gatehouse's handler."""
    return {
        "world": {
            "issuer": ISSUER,
            "audience": API,
            "algorithms": ["RS256"],
            "keySet": {"keys": [rsa_jwk()]},
            "clientIds": [],
            "requireAtJwt": False,
        },
        "scopes": json.loads((ROOT / "authorizer" / "scopes.json").read_text()),
        "tokens": tokens,
        "events": [rest_event(token) for token in tokens],
    }


def _node(name: str) -> list[str]:
    return ["node", str(NODE / "contender.mjs"), name]


def decisions() -> Iterator[Section]:
    """Measure decisions on tokens seen for the first time, and seen before."""
    tokens = sign_tokens(TOKENS)
    if has_node():
        yield _new_process(tokens)
    yield _first(tokens)
    yield _again(tokens[:1])


def _new_process(tokens: list[str]) -> Section:
    setup = rival_setup(tokens) | {"warm_up": 1}
    with gatehouse_contender(tokens, TOKENS - 1, warm_up=1) as ours:
        contenders = {_WHOLE: ours, _NODE: Contender(_node("authorizer"), setup, TOKENS - 1)}
        samples = take_turns(contenders, turns=1, rounds=3 * ROUNDS)
    return Section(
        "A token seen for the first time, by a new process",
        f"The first {TOKENS:,} decisions of a process, after one that fetched the keys. Each token is new. Node "
        "compiles its code during the first few thousand decisions; the next table is about the time after that.",
        [measured(name, each, "µs") for name, each in samples.items()],
        _ratios(samples, [("Node authorizer", _NODE, 1.0)], f"the first {TOKENS:,} decisions"),
    )


def _first(tokens: list[str]) -> Section:
    setup = rival_setup(tokens)
    with gatehouse_contender(tokens) as ours:
        contenders = {_WHOLE: ours, _POWERTOOLS: Contender(python("powertools-authorizer"), setup)}
        if has_node():
            contenders[_NODE] = Contender(_node("authorizer"), setup)
        contenders[_RSA] = Contender(python("verification"), setup)
        for name in _VERIFIERS:
            if name in {"aws-jwt-verify", "jose", "fast-jwt"}:
                if has_node():
                    contenders[name] = Contender(_node(name), setup)
            else:
                contenders[name] = Contender(python(name), setup)
        samples = take_turns(contenders)
    return Section(
        "A token seen for the first time",
        f"RS256 with a key of 2,048 bits, {TOKENS:,} RFC 9068 tokens in turns, more than the cache holds. Gatehouse "
        "runs its Lambda handler with cached keys: an API Gateway event in, policy and context out, one log line. Two "
        "authorizers do the same work: one in Node, as AWS's samples write it with aws-jwt-verify; one in Python with "
        "Powertools. The others only verify the token: aws-jwt-verify runs `verifySync`, fast-jwt has one fixed "
        "key.",
        [measured(name, each, "µs") for name, each in samples.items()],
        _ratios(
            samples,
            [
                ("Node authorizer after 20,000 decisions", _NODE, None),
                ("Powertools authorizer", _POWERTOOLS, 0.5),
                ("bare `verifySync`", "aws-jwt-verify", None),
            ],
            "a first decision",
        ),
    )


def _again(tokens: list[str]) -> Section:
    setup = rival_setup(tokens)
    with gatehouse_contender(tokens, SEEN_RUNS) as ours:
        contenders = {_WHOLE: ours, _POWERTOOLS: Contender(python("powertools-authorizer"), setup)}
        if has_node():
            contenders[_NODE] = Contender(_node("authorizer"), setup)
            contenders[_CACHED] = Contender(_node(_CACHED), setup, SEEN_RUNS)
        samples = take_turns(contenders)
    return Section(
        "A token seen before",
        "The same handlers with one token, and fast-jwt with its cache of verified tokens. Gatehouse reads the event, "
        "checks times and key again, and writes the log line.",
        [measured(name, each, "µs") for name, each in samples.items()],
        _ratios(
            samples,
            [
                ("Node authorizer", _NODE, 0.27),
                ("Powertools authorizer", _POWERTOOLS, 0.1),
                ("fast-jwt's cache", _CACHED, None),
            ],
            "a repeated decision",
        ),
    )


def _ratios(samples: Mapping[str, list[float]], rivals: list[tuple[str, str, float | None]], what: str) -> list[Goal]:
    return [
        compared(f"{what}, Gatehouse compared with {words}", samples[_WHOLE], samples[name], limit)
        for words, name, limit in rivals
        if name in samples
    ]


def sizes() -> Section:
    """Measure first decisions with few and many routes, clients and issuers."""
    with tempfile.TemporaryDirectory() as directory:
        samples = {
            **_routes(Path(directory), "10 routes, 4 scopes", "1,000 routes, 200 scopes"),
            **_clients("1 client", "10,000 clients"),
            **_issuers("1 issuer", "50 issuers"),
        }
    names = list(samples)
    return Section(
        "At size",
        "First decisions of an authorizer with little configuration, and of one with much. The tokens of the first "
        "pair have scopes that open ten routes; the larger map has 990 more. Those of the second pair are from one "
        f"client, or from 10,000. Those of the third are from one issuer, or from 50. {TOKENS:,} tokens in turns, or "
        "10,000.",
        [measured(name, each, "µs") for name, each in samples.items()],
        [
            compared(f"{large} compared with {small}", samples[large], samples[small], 1.2)
            for small, large in zip(names[::2], names[1::2], strict=True)
        ],
    )


def _routes(directory: Path, small: str, large: str) -> dict[str, list[float]]:
    def scope_map(scopes: int, routes: int) -> str:
        path = directory / f"{scopes}.json"
        path.write_text(json.dumps(_scope_map(scopes, routes)))
        return str(path)

    few, many = (sign_tokens(TOKENS, scope=scope) for scope in ("s0 s1 s2 s3", "s0 s1"))
    with (
        gatehouse_contender(few, SCOPE_MAP=scope_map(4, 10)) as first,
        gatehouse_contender(many, SCOPE_MAP=scope_map(200, 1000)) as second,
    ):
        return take_turns({small: first, large: second})


def _scope_map(scopes: int, routes: int) -> dict[str, list[str]]:
    """Deal routes out to scopes, in runs, every other one with a parameter."""
    dealt: dict[str, list[str]] = {f"s{at}": [] for at in range(scopes)}
    for at in range(routes):
        tail = "/{id}" if at % 2 else ""
        dealt[f"s{at * scopes // routes}"].append(f"GET /service-{at}/things{tail}")
    return dealt


def _clients(small: str, large: str) -> dict[str, list[float]]:
    one = sign_tokens(TOKENS)
    each = [sign_tokens(1, client_id=f"client-{at}", sub=f"client-{at}")[0] for at in range(10_000)]
    with gatehouse_contender(one) as first, gatehouse_contender(each) as second:
        return take_turns({small: first, large: second})


def _issuers(small: str, large: str) -> dict[str, list[float]]:
    issuers = [ISSUER, *(f"https://auth-{at}.example.com" for at in range(1, 50))]
    mixed = [sign_tokens(1, iss=issuers[at % len(issuers)])[0] for at in range(TOKENS)]
    with serving(jwks(rsa_jwk())) as endpoint:
        others = {each: {"audience": API, "jwks_uri": endpoint.url, "client_ids": [CLIENT]} for each in issuers[1:]}
        with (
            gatehouse_contender(sign_tokens(TOKENS)) as first,
            gatehouse_contender(mixed, OTHER_ISSUERS=json.dumps(others)) as second,
        ):
            return take_turns({small: first, large: second})
