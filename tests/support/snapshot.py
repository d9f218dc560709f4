"""A process that SnapStart would take a snapshot of: initialized, then forked once for each restore.

Runs as a script: `python snapshot.py HANDLER`, with the artifact as its working directory. Each line of input is a
request in JSON, and each line of output has the results. Events are handled in the process itself or, with `restore`,
in a fork with other variables and clocks. A result is a response or the type of an error.
"""

import importlib
import json
import os
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

_initializing = True
_ahead = {"wall": 0.0, "monotonic": 0.0}


def _forbidden_at_first(original: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        if _initializing:
            os.write(2, f"{original} is used by the initialization\n".encode())
            os._exit(1)
        return original(*args, **kwargs)

    return call


def _shifted(original: Callable[[], float], clock: str) -> Callable[[], float]:
    return lambda: original() + _ahead[clock]


def _replace() -> None:
    """Forbid randomness and connections during the initialization, and make clocks adjustable."""
    time.time, time.monotonic = _shifted(time.time, "wall"), _shifted(time.monotonic, "monotonic")
    os.urandom = _forbidden_at_first(os.urandom)
    socket.socket.connect = _forbidden_at_first(socket.socket.connect)  # type: ignore[method-assign]
    process_id = os.getpid()
    os.getpid = lambda: process_id  # all restores of a snapshot have the same


def _results(handle: Callable[[Any, None], Any], events: list[Any]) -> list[Any]:
    found = []
    for event in events:
        try:
            found.append(handle(event, None))
        except Exception as error:
            found.append(type(error).__name__)
    return found


def _restored(handle: Callable[[Any, None], Any], request: dict[str, Any]) -> str:
    reading, writing = os.pipe()
    if not os.fork():
        _ahead.update(wall=request["wall"], monotonic=request["monotonic"])
        os.environ.update(request["environ"])
        os.write(writing, json.dumps(_results(handle, request["events"])).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        return pipe.read()


def main(handler: str) -> None:
    """Initialize, then serve requests on standard input."""
    global _initializing  # noqa: PLW0603 - the state of the process
    _replace()
    output, sys.stdout = sys.stdout, sys.stderr  # the function's log lines are not results
    module, _, name = handler.rpartition(".")
    handle = getattr(importlib.import_module(module), name)
    _initializing = False
    print("[]", file=output, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        restored = _restored(handle, request) if request["restore"] else json.dumps(_results(handle, request["events"]))
        print(restored, file=output, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
