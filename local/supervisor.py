"""Start child processes, watch them, and end every one of them whatever happens."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Self

from local.cli import STOP_SIGNALS, LaptopError
from local.log_output import RotatingLog, is_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

SUPERVISED = "GATEHOUSE_SUPERVISED"
"""Set in the environment of a child that is to end with its parent."""

GRACE_SECONDS = 3.0
LAST_LINES = 8
GATHER_SECONDS = 0.01
_READ_SIZE = 65_536


class Child:
    """One running process; its output goes to a log file and, when asked for, to the terminal.

    The terminal gets the lines that are for people: the JSON of functions is in the log file.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        log: Path,
        echo: bool,
    ) -> None:
        self.name = name
        self.echo = echo
        self.last_lines: deque[str] = deque(maxlen=LAST_LINES)
        log.open("wb").close()
        self._log = RotatingLog(log)
        # The child holds the reading end of this pipe as its standard input and ends when it
        # closes: so it cannot outlive us, not even when we are killed. A process group of its
        # own keeps a Ctrl-C away from it, so that the order of the ending is ours to choose.
        self.process = subprocess.Popen(
            command,
            cwd=cwd,
            env={**env, SUPERVISED: "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read_output, daemon=True)
        self._reader.start()

    def _read_output(self) -> None:
        output = self.process.stdout
        assert isinstance(output, io.BufferedReader)  # noqa: S101  what PIPE promises
        with output, contextlib.closing(self._log):
            for lines in _gathered(output):
                shown = [line for line in lines if not is_json(line)]
                self.last_lines.extend(shown)
                # On a full disk the child must not lose its reader, nor behind a closed terminal.
                with contextlib.suppress(OSError):
                    self._log.write("".join(lines).encode())
                if self.echo:
                    with contextlib.suppress(OSError):
                        sys.stdout.write("".join(f"{self.name:>11} │ {line}" for line in shown))
                        sys.stdout.flush()

    def release(self) -> None:
        """Let go of a process that has ended."""
        assert self.process.stdin is not None  # noqa: S101  what PIPE promises
        self.process.stdin.close()

    def death_sentence(self) -> str:
        """Say in one sentence that this process ended, below its last lines."""
        self._reader.join(timeout=1)
        last = "".join(f"    {line}" for line in self.last_lines)
        printed = f"The {self.name} process printed last:\n{last}" if last else ""
        return (
            f"{printed}The {self.name} process ended unexpectedly "
            f"(exit code {self.process.returncode}); its log is {self._log.path}."
        )


def _gathered(output: io.BufferedReader) -> Iterator[list[str]]:
    """Yield whole lines, those together that come within a moment.

    A process that writes thousands of lines a second would have us wake up for each, which takes
    more of the machine than the line does.
    """
    begun = b""
    while read := output.read1(_READ_SIZE):
        whole, end, begun = (begun + read).rpartition(b"\n")
        if end:
            yield [_text(line) for line in whole.split(b"\n")]
        time.sleep(GATHER_SECONDS)
    if begun:
        yield [_text(begun)]


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace") + "\n"


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Hold a Ctrl-C, and what else says the same, back until the block is left.

    A child that has started and is not known yet would be left behind.
    """
    held: list[int] = []
    handlers = {signum: signal.signal(signum, lambda *_: held.append(1)) for signum in STOP_SIGNALS}
    try:
        yield
    finally:
        for signum, handler in handlers.items():
            signal.signal(signum, handler)
        if held:
            raise KeyboardInterrupt


class Supervisor:
    """The children of one run. Use it as a context manager: leaving it ends them all."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._children: list[Child] = []
        self._echo = False
        logs.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(
        self, name: str, command: Sequence[str], *, cwd: Path, env: Mapping[str, str]
    ) -> None:
        """Start one child; `name` names its log file and stands before its lines."""
        log = self._logs / f"{name.replace(' ', '-')}.log"
        with undisturbed():
            child = Child(name, command, cwd=cwd, env=env, log=log, echo=self._echo)
            self._children.append(child)

    def check(self) -> None:
        """Raise LaptopError when a child has ended: nothing here ends by itself."""
        for child in self._children:
            if child.process.poll() is not None:
                raise LaptopError(child.death_sentence())

    def wait_until(self, ready: Callable[[], bool], what: str, *, seconds: float) -> None:
        """Return when `ready` says yes; raise LaptopError when a child dies or time is up."""
        deadline = time.monotonic() + seconds
        while not ready():
            self.check()
            if time.monotonic() > deadline:
                raise LaptopError(f"{what} did not answer within {seconds:.0f} seconds.")
            time.sleep(0.05)

    def echo(self) -> None:
        """From now on, show what the children print, those to come included."""
        self._echo = True
        for child in self._children:
            child.echo = True

    def watch(self, *, until: Callable[[], bool]) -> None:
        """Stay until interrupted or told; raise LaptopError when a child ends."""
        while not until():
            self.check()
            time.sleep(0.2)

    def stop(self) -> None:
        """End every child: ask first, insist after a grace period."""
        with undisturbed():
            self._stop()

    def _stop(self) -> None:
        for signum in (signal.SIGTERM, signal.SIGKILL):
            for child in self._children:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.process.pid, signum)
            deadline = time.monotonic() + GRACE_SECONDS
            for child in self._children:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.process.wait(timeout=max(0.0, deadline - time.monotonic()))
        for child in self._children:
            child.release()


def is_alive(pid: int) -> bool:
    """Tell whether a process of ours is running."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return not _has_ended(pid)


def _has_ended(pid: int) -> bool:
    """Whether all that is left of a process is its exit code, which nobody has asked for yet."""
    with contextlib.suppress(OSError):  # where there is no /proc
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return status.rpartition(")")[2].split()[0] == "Z"
    return False


def end_with_parent() -> None:
    """In a child: end this process as soon as its parent is gone.

    The parent holds the other end of standard input and never writes to it, so the only thing
    that can be read there is its end.
    """

    def follow() -> None:
        while os.read(0, 1024):
            pass
        os._exit(0)

    threading.Thread(target=follow, daemon=True).start()
