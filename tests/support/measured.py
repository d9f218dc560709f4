"""Which of the processes that tests of the laptop edition start are measured by coverage.

Measuring doubles the CPU time of a process. Most run code that another test runs as well.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

_CONFIG = "COVERAGE_PROCESS_CONFIG"  # read by coverage when an interpreter starts
_hidden: dict[str, str] = {}


@contextmanager
def unmeasured_processes() -> Iterator[None]:
    """Start processes without coverage, except those with an environment of `measured`."""
    if value := os.environ.pop(_CONFIG, None):
        _hidden[_CONFIG] = value
    try:
        yield
    finally:
        os.environ.update(_hidden)


def measured(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a process that is measured."""
    return {**environ, **_hidden}
