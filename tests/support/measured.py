"""Which of the processes that tests start are measured by coverage.

Measuring doubles the CPU time of a process. Most run code that a test in process runs as well.
"""

import os
from collections.abc import Mapping

_CONFIG = "COVERAGE_PROCESS_CONFIG"  # read by coverage when an interpreter starts
_hidden: dict[str, str] = {}


def stop_measuring_processes() -> None:
    """Start the processes of this session without coverage, except those of `measured`."""
    if value := os.environ.pop(_CONFIG, None):
        _hidden[_CONFIG] = value


def measured(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a process whose code runs in no other test."""
    return {**environ, **_hidden}
