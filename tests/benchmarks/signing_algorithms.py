"""Sizes and times of each signing algorithm, as a table in Markdown.

python -m tests.benchmarks.signing_algorithms [--rounds 200]
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator

from authorizer import jws
from authorizer.jwk import parse_key
from authorizer.jws import ALGORITHMS, HeaderRules
from functions.rotate_keys.key_backends import generate_key
from functions.shared.clients.supported import SIGNING_ALGORITHMS
from functions.shared.keys.signers import JwtSigner, to_compact_json
from functions.shared.keys.signing_keys import from_pem, make_sign
from tests.support.tokens import at_jwt_claims

_TABLE = (
    "| algorithm | public key (JWK) | signature | token | sign | verify |\n| --- | ---: | ---: | ---: | ---: | ---: |"
)


def rows(algorithms: tuple[str, ...], rounds: int) -> Iterator[str]:
    """Yield a row for each algorithm: sizes in characters or bytes, and the median time of one operation."""
    for alg in algorithms:
        yield _row(alg, rounds)


def _row(alg: str, rounds: int) -> str:
    made = generate_key(alg)
    key = parse_key({**made.public_jwk, "kid": made.kid, "alg": alg}, ALGORITHMS)
    signer = JwtSigner(made.kid, alg, make_sign(alg, from_pem(made.private_pem)))
    claims = at_jwt_claims(time.time())
    token = signer.sign(claims, "at+jwt")
    unverified = jws.parse(token, HeaderRules(ALGORITHMS, frozenset(("at+jwt",))))
    signature, signing_input = unverified.signature, unverified.signing_input
    signing = _median(lambda: signer.signature(signing_input), rounds)
    verifying = _median(lambda: key.verify(alg, signature, signing_input), rounds)
    published = len(to_compact_json({**made.public_jwk, "kid": made.kid, "use": "sig", "alg": alg}))
    return (
        f"| {alg} | {published:,} | {len(signature):,} bytes | {len(token):,} | {signing:,.0f} µs | "
        f"{verifying:,.0f} µs |"
    )


def _median(operation: Callable[[], object], rounds: int) -> float:
    """Return the median of its processor time in microseconds."""
    times = []
    for _ in range(rounds):
        started = time.thread_time_ns()
        operation()
        times.append((time.thread_time_ns() - started) / 1000)
    return statistics.median(times)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    rounds = parser.parse_args().rounds
    print(_TABLE)
    for row in rows(tuple(alg for alg in SIGNING_ALGORITHMS if alg != "EdDSA"), rounds):
        print(row, flush=True)


if __name__ == "__main__":
    main()
