"""Key sets under attack: how many fetches, and who waits."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from time import perf_counter_ns

from authorizer import handler
from authorizer.errors import AuthorizerError, Unauthorized
from tests.benchmarks.decisions import API, ISSUER, sign_tokens
from tests.benchmarks.jwks_server import JwksServer, serving
from tests.benchmarks.results import Goal, Measurement, Section, measured
from tests.support.tokens import at_jwt_claims, jwks, rest_event, rsa_jwk, unsigned

RANDOM_KEY_IDS = 1000
CONCURRENT_DECISIONS = 200


@contextmanager
def _authorizer() -> Iterator[JwksServer]:
    """Provide a warm authorizer, and the endpoint that it has fetched its keys from once."""
    with serving(jwks(rsa_jwk())) as endpoint, open(os.devnull, "w") as nowhere:
        os.environ |= {"ISSUER": ISSUER, "AUDIENCE": API, "JWKS_URI": endpoint.url}
        handler._build.cache_clear()
        with redirect_stdout(nowhere):
            handler.handle(rest_event(sign_tokens(1)[0]), None)
            yield endpoint
        handler._build.cache_clear()


def _forged(at: int) -> str:
    return unsigned(at_jwt_claims(iss=ISSUER, aud=API, sub=f"unknown-{at}"), kid=f"random-{at}")


def attacks() -> Section:
    """Count the fetches of a flood, and time a known key during a fetch that hangs."""
    with _authorizer() as endpoint:
        for at in range(RANDOM_KEY_IDS):
            with suppress(Unauthorized):
                handler.handle(rest_event(_forged(at)), None)
        fetches = endpoint.fetches
    waits = _waits()
    slowest = max(waits)
    return Section(
        "Key sets under attack",
        f"{RANDOM_KEY_IDS:,} well-formed tokens of random key ids after one valid token, with "
        "the first fetch. Then new tokens of known keys, while a fetch for an unknown key id "
        "hangs.",
        [
            Measurement("fetches for 1,000 random key ids", fetches, "fetches"),
            measured("known key during a hanging fetch", waits, "ms"),
            Measurement("the slowest of them", slowest, "ms", len(waits)),
        ],
        [
            Goal("fetches for 1,000 random key ids", fetches, 2, "fetches"),
            Goal("a known key during a hanging fetch", sorted(waits)[len(waits) // 2], 1.0, "ms"),
        ],
    )


def _waits() -> list[float]:
    events = [rest_event(token) for token in sign_tokens(CONCURRENT_DECISIONS)]
    with _authorizer() as endpoint, _hanging(endpoint):
        return [_milliseconds(event) for event in events]


@contextmanager
def _hanging(endpoint: JwksServer) -> Iterator[None]:
    """Let a fetch for an unknown key id hang concurrently."""

    def attack() -> None:
        with suppress(Unauthorized, AuthorizerError):
            handler.handle(rest_event(_forged(0)), None)

    endpoint.open_.clear()
    endpoint.arrived.clear()
    unknown_key = threading.Thread(target=attack)
    unknown_key.start()
    assert endpoint.arrived.wait(5)
    try:
        yield
        assert unknown_key.is_alive()
    finally:
        endpoint.open_.set()
        unknown_key.join()


def _milliseconds(event: dict[str, object]) -> float:
    started = perf_counter_ns()
    handler.handle(event, None)
    return (perf_counter_ns() - started) / 1e6
