"""One function in a process of its own, as cold as a new Lambda environment.

    python -m tests.benchmarks.invocations (time|count)

Standard input has the setup in JSON: `module` of the handler, its `environ`, the `events`, how many
`runs` make a sample and how many `samples` there are. `time` answers with processor time, `count`
with the calls to AWS and the bytes logged; they are apart so that counting costs no time. All in
JSON: the first answer, imports and the interpreter's start included, and the median of later ones.
"""

import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from importlib import import_module
from itertools import cycle, islice
from time import process_time
from typing import Any

_PREPARATION = 50


def _time(handle: Callable[[Any], object], supply: Iterator[Any], setup: Any) -> dict[str, Any]:
    handle(next(supply))
    cold = process_time() * 1000
    for event in islice(supply, _PREPARATION):
        handle(event)
    samples = []
    for _ in range(setup["samples"]):
        batch = list(islice(supply, setup["runs"]))
        started = process_time()
        for event in batch:
            handle(event)
        samples.append((process_time() - started) * 1000 / len(batch))
    return {"cold": cold, "warm": sorted(samples)[len(samples) // 2] if samples else None}


def _count(handle: Callable[[Any], object], supply: Iterator[Any], setup: Any) -> dict[str, Any]:
    calls = _recorded_calls()
    handle(next(supply))
    cold = list(calls)
    for event in islice(supply, _PREPARATION):
        handle(event)
    calls.clear()
    with redirect_stdout(io.StringIO()) as lines:
        for event in islice(supply, setup["runs"]):
            handle(event)
    return {"cold": cold, "warm": calls, "log_bytes": len(lines.getvalue()) / setup["runs"]}


def _recorded_calls() -> list[str]:
    import botocore.client

    calls: list[str] = []
    base: Any = botocore.client.BaseClient
    real = base._make_api_call

    def recorded(client: Any, name: str, arguments: Any) -> Any:
        calls.append(name)
        return real(client, name, arguments)

    base._make_api_call = recorded
    return calls


def main() -> None:
    """Measure as the setup specifies."""
    setup = json.loads(sys.stdin.read())
    os.environ.update(setup["environ"])
    measure = {"time": _time, "count": _count}[sys.argv[1]]
    with redirect_stdout(io.StringIO()):
        module = setup["module"]

        def handle(event: Any) -> object:
            return import_module(module).handle(event, None)

        found = measure(handle, cycle(setup["events"]), setup)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
