"""Contenders that take turns, each in a process of its own that measures its processor time."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from tests.benchmarks.results import ROUNDS

ROOT = Path(__file__).resolve().parents[2]
NODE = Path(__file__).parent / "node"
TURNS = 33


def has_node() -> bool:
    """Return whether the Node rivals can be measured here."""
    return shutil.which("node") is not None and (NODE / "node_modules").is_dir()


class Runner(Protocol):
    """Something that runs a number of times."""

    def run(self, times: int) -> float:
        """Return the microseconds of processor time that each run took."""


class Contestant(Protocol):
    """Starts a `Runner`, which runs `runs` times in each turn."""

    @property
    def runs(self) -> int:
        """A turn is short: most are then over before another process gets the core."""

    def start(self) -> AbstractContextManager[Runner]:
        """Provide the runner, warm."""
        ...


class Contender(NamedTuple):
    """The command of a contender, its setup, and the number of runs in one turn."""

    command: Sequence[str]
    setup: Mapping[str, Any]
    runs: int = 60

    @contextmanager
    def start(self, *prefix: str) -> Iterator["ContenderProcess"]:
        """Run the process, warm, until the context ends."""
        process = ContenderProcess([*prefix, *self.command], self.setup)
        try:
            process.wait()
            yield process
        finally:
            process.end()


class ContenderProcess:
    """A contender's process. tests.benchmarks.contenders describes the lines."""

    def __init__(self, command: Sequence[str], setup: Mapping[str, Any]) -> None:
        # Without a fixed seed, collisions of hashes differ between rounds.
        environ = os.environ | {"PYTHONHASHSEED": "0"}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environ
        )
        self._write(json.dumps(setup))

    @property
    def pid(self) -> int:
        """The process's ID."""
        return self._process.pid

    def _write(self, line: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _read(self) -> str:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args!r} ended with {self._process.wait()}")
        return line.strip()

    def wait(self) -> None:
        """Return when it is warm."""
        assert self._read() == "ready"

    def run(self, times: int) -> float:
        """Return the microseconds of processor time that each run took."""
        self._write(str(times))
        return int(self._read()) / times / 1000

    def end(self) -> None:
        """End the process."""
        self._process.communicate()


def python(name: str) -> list[str]:
    """Return the command of one of tests.benchmarks.contenders."""
    return [sys.executable, "-m", "tests.benchmarks.contenders", name]


def take_turns(
    contenders: Mapping[str, Contestant], turns: int = TURNS, rounds: int = ROUNDS
) -> dict[str, list[float]]:
    """Measure all contenders in turns, and again with new processes for each round."""
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        with ExitStack() as stack:
            runners = {name: stack.enter_context(each.start()) for name, each in contenders.items()}
            for _ in range(turns):
                for name, runner in runners.items():
                    samples[name].append(runner.run(contenders[name].runs))
    return samples
