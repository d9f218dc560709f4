"""Cold start of each artifact: `python -m tests.artifacts.cold_start`.

Each artifact is built for this machine and started several times under AWS's runtime client; the
least processor time counts, because everything else that runs here only adds to it.
"""

import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tests.artifacts.conftest import Stack, running_stack
from tests.support.artifacts import host, make
from tests.support.lambda_runtime import LambdaProcess, make_runtime
from tests.support.proxy_events import basic, proxy_event, token_event

ROUNDS: Final = 7
EVENTS: Final[Mapping[str, Any]] = {
    "IssueToken": token_event(
        {"grant_type": "client_credentials"}, headers=basic("service-client-jwt", "service-client-jwt-secret")
    ),
    "PublishJwks": proxy_event("GET", "/oauth2/jwks"),
    "Authorizer": None,  # its first response depends on the issuer's key set
}


def _processor_seconds(function: LambdaProcess) -> float:
    """Return what a process has used: user and system time in proc(5), in ticks."""
    fields = Path(f"/proc/{function.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _measure(stack: Stack, function: str, event: Any) -> tuple[float, float]:
    """Return seconds until it is ready for a first event, and for answering that."""
    found = []
    for _ in range(ROUNDS):
        with stack.start(function) as process:
            ready = _processor_seconds(process)
            if event:
                outcome = process.invoke(event)
                assert outcome.body["statusCode"] == 200, outcome
            found.append((ready, _processor_seconds(process) - ready))
    return min(ready for ready, _ in found), min(first for _, first in found)


def main() -> None:
    """Print a line for each artifact."""
    with tempfile.TemporaryDirectory() as folder:
        build = Path(folder)
        for function in EVENTS:
            make(function, build / function, host())
        with running_stack(build, make_runtime(build / "runtime")) as stack:
            for function, event in EVENTS.items():
                ready, first = _measure(stack, function, event)
                sys.stdout.write(f"{function}: {ready:.2f} s until ready, {first:.2f} s to answer\n")


if __name__ == "__main__":
    main()
