"""One contender in a process of its own: prepares, then runs the requested number of times.

python -m tests.benchmarks.contenders NAME

The first line on standard input is the setup, in JSON; every further line is a number of runs, and
is answered with the nanoseconds that they took.
"""

import gc
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import cycle, islice
from time import perf_counter_ns
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from tests.benchmarks import rivals
from tests.support.tokens import rest_event

Setup = Mapping[str, Any]


def _decide(setup: Setup, tokens: Iterable[str]) -> tuple[Callable[[Any], object], list[Any]]:
    os.environ |= setup["environ"]
    from authorizer.handler import handle

    return lambda event: handle(event, None), [rest_event(token) for token in tokens]


def ours_first(setup: Setup) -> tuple[Callable[[Any], object], list[Any]]:
    """Decide on more tokens than are remembered, in turns, so that each is as good as new."""
    return _decide(setup, setup["tokens"])


def ours_again(setup: Setup) -> tuple[Callable[[Any], object], list[Any]]:
    """Decide on one token over and over."""
    return _decide(setup, setup["tokens"][:1])


def cryptography_alone(setup: Setup) -> tuple[Callable[[Any], object], list[Any]]:
    """Verify the signatures and nothing else: what no Python verifier can do without."""
    import jwt
    from jwt.utils import base64url_decode

    key: Any = jwt.PyJWKSet.from_dict(setup["world"]["keySet"]).keys[0].key
    pkcs1, sha256 = padding.PKCS1v15(), hashes.SHA256()
    split = [token.rpartition(".") for token in setup["tokens"]]
    pairs = [(base64url_decode(signature), signed.encode()) for signed, _, signature in split]
    return lambda pair: key.verify(*pair, pkcs1, sha256), pairs


def _rival(
    make: Callable[[rivals.RivalWorld], Callable[[str], object] | None],
) -> Callable[[Setup], tuple[Callable[[Any], object], list[Any]]]:
    def prepare(setup: Setup) -> tuple[Callable[[Any], object], list[Any]]:
        verify = make(rivals.RivalWorld.read(setup["world"]))
        assert verify is not None
        return verify, list(setup["tokens"])

    return prepare


CONTENDERS: dict[str, Callable[[Setup], tuple[Callable[[Any], object], list[Any]]]] = {
    "ours, first": ours_first,
    "ours, again": ours_again,
    "cryptography": cryptography_alone,
    "PyJWT": _rival(rivals.pyjwt_with_key),
    "PyJWKClient": _rival(rivals.pyjwt_with_client),
    "joserfc": _rival(rivals.joserfc),
    "Powertools": _rival(rivals.powertools),
}


def serve(name: str, questions: Iterator[str], answers: Any) -> None:
    """Prepare, then answer each number of runs with the time they took."""
    run, inputs = CONTENDERS[name](json.loads(next(questions)))
    for each in inputs:
        run(each)
    # Objects of the benchmark are not garbage of the contender.
    gc.collect()
    gc.freeze()
    supply = cycle(inputs)
    answers.write("ready\n")
    answers.flush()
    for question in questions:
        batch = list(islice(supply, int(question)))
        started = perf_counter_ns()
        for each in batch:
            run(each)
        answers.write(f"{perf_counter_ns() - started}\n")
        answers.flush()


def main() -> None:
    """Serve on what was standard output; log lines go to the null device, one by one."""
    answers = os.fdopen(os.dup(1), "w")
    with open(os.devnull, "w", buffering=1) as nowhere:
        sys.stdout = nowhere
        serve(sys.argv[1], iter(sys.stdin), answers)


if __name__ == "__main__":
    main()
