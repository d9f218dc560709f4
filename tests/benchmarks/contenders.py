"""One contender in a process of its own: prepares, then runs the requested number of times.

python -m tests.benchmarks.contenders NAME

The first line on standard input is the setup, in JSON; every further line is a number of runs, and
is answered with the nanoseconds of processor time that they took. `warm_up` in the setup is the
number of runs before the first line; without it, a run for each input, and 20,000 in Node.
"""

import gc
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from itertools import cycle, islice
from time import process_time_ns
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding

Setup = Mapping[str, Any]
Prepared = tuple[Callable[[Any], object], list[Any]]
_PKCS1, _SHA256 = padding.PKCS1v15(), hashes.SHA256()


def handler(setup: Setup) -> Prepared:
    """Run a Lambda handler of Gatehouse on events."""
    os.environ |= setup["environ"]
    handle = import_module(setup["module"]).handle
    answer = handle(setup["events"][0], None)
    assert answer.get("statusCode", 200) == 200, answer
    return lambda event: handle(event, None), setup["events"]


def verification(setup: Setup) -> Prepared:
    """Verify signatures and nothing else: what no Python verifier can do without."""
    import jwt
    from jwt.utils import base64url_decode

    key: Any = jwt.PyJWKSet.from_dict(setup["world"]["keySet"]).keys[0].key
    split = [token.rpartition(".") for token in setup["tokens"]]
    pairs = [(base64url_decode(signature), signed.encode()) for signed, _, signature in split]
    return lambda pair: key.verify(*pair, _PKCS1, _SHA256), pairs


def signature(setup: Setup) -> Prepared:
    """Sign as many bytes as a token has, and nothing else."""
    key: Any = serialization.load_pem_private_key(setup["pem"].encode(), None)
    return lambda data: key.sign(data, _PKCS1, _SHA256), [b"x" * 400]


def powertools_authorizer(setup: Setup) -> Prepared:
    """Run a Lambda authorizer made of Powertools' parts, on the same events."""
    from aws_lambda_powertools import Logger
    from aws_lambda_powertools.utilities.data_classes.api_gateway_authorizer_event import (
        APIGatewayAuthorizerRequestEvent,
        APIGatewayAuthorizerResponse,
    )

    from tests.benchmarks.rivals import RivalWorld, powertools

    verify: Any = powertools(RivalWorld.read(setup["world"]))
    routes = {scope: [route.split(" ") for route in routes] for scope, routes in setup["scopes"].items()}
    logger = Logger(service="authorizer")

    def handle(event: dict[str, Any]) -> object:
        request = APIGatewayAuthorizerRequestEvent(event)
        claims = verify(request.headers["Authorization"].removeprefix("Bearer "))
        context = {name: str(claims[name]) for name in ("iss", "sub", "client_id", "scope", "exp", "jti")}
        response = APIGatewayAuthorizerResponse.from_route_arn(request.method_arn, claims["sub"], context)
        for scope in claims["scope"].split(" "):
            for method, path in routes.get(scope, ()):
                response.allow_route(method, path)
        logger.info(
            "allow",
            extra={
                "iss": claims["iss"],
                "client_id": claims["client_id"],
                "scope": claims["scope"],
                "request_id": event["requestContext"]["requestId"],
            },
        )
        return response.asdict()

    return handle, setup["events"]


def in_process(name: str, setup: Setup) -> Prepared:
    """Check requests in an application: `library`, `request:RIVAL`, `fastapi:library` or `fastapi:RIVAL`."""
    from tests.benchmarks import library

    kind, _, rival = name.partition(":")
    requests = [library.headers_of(token) for token in setup["tokens"]]
    if kind == "library":
        return library.verify_with_library(setup), requests
    verify: Any = None if rival == "library" else _verifier(rival, setup)[0]
    if kind == "fastapi":
        return library.fastapi_request(setup, verify), requests
    return library.verify_with_rival(verify), requests


def _verifier(name: str, setup: Setup) -> Prepared:
    from tests.benchmarks import rivals

    makers = {**rivals.VERIFIERS, "PyJWKClient": rivals.pyjwt_with_client, "PyJWT": rivals.pyjwt_with_key}
    verify = makers[name](rivals.RivalWorld.read(setup["world"]))
    assert verify is not None
    return verify, list(setup["tokens"])


CONTENDERS: dict[str, Callable[[Setup], Prepared]] = {
    "handler": handler,
    "verification": verification,
    "signature": signature,
    "powertools-authorizer": powertools_authorizer,
}


def serve(name: str, questions: Iterator[str], answers: Any) -> None:
    """Prepare, then answer each number of runs with the time they took."""
    setup = json.loads(next(questions))
    if name in CONTENDERS:
        run, inputs = CONTENDERS[name](setup)
    else:
        run, inputs = (in_process if ":" in name or name == "library" else _verifier)(name, setup)
    for each in inputs[: setup.get("warm_up")]:
        run(each)
    # Objects of the benchmark are not garbage of the contender.
    gc.collect()
    gc.freeze()
    supply = cycle(inputs)
    answers.write("ready\n")
    answers.flush()
    for question in questions:
        batch = list(islice(supply, int(question)))
        started = process_time_ns()
        for each in batch:
            run(each)
        answers.write(f"{process_time_ns() - started}\n")
        answers.flush()


def main() -> None:
    """Serve on what was standard output; log lines go to the null device, one by one."""
    answers = os.fdopen(os.dup(1), "w")
    with open(os.devnull, "w", buffering=1) as nowhere:
        sys.stdout = nowhere
        serve(sys.argv[1], iter(sys.stdin), answers)


if __name__ == "__main__":
    main()
