"""Supervise child processes: start, watch, log, and always stop them."""

import contextlib
import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

from local.cli import STOP_SIGNALS, LaptopError
from local.log_output import RotatingLog, is_json

SUPERVISED = "GATEHOUSE_SUPERVISED"
"""Set in the environment of a child that must end with its parent."""

GRACE_SECONDS = 3.0
LAST_LINES = 8
GATHER_SECONDS = 0.01
_READ_SIZE = 65_536


class Child:
    """A running process. Its output goes to a log file and, with `echo`, to the terminal.

    The terminal gets no JSON: the functions' structured logs are in the log file.
    """

    def __init__(
        self, name: str, command: Sequence[str], *, cwd: Path, env: Mapping[str, str], log: Path, echo: bool
    ) -> None:
        self.name = name
        self.echo = echo
        self.last_lines: deque[str] = deque(maxlen=LAST_LINES)
        log.open("wb").close()
        self._log = RotatingLog(log)
        # The child's standard input is a pipe that closes when this process ends, even if it is killed. The child then
        # ends, too. A Ctrl-C does not reach the child's own session: this process decides in which order children end.
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
        assert isinstance(output, io.BufferedReader)
        with output, contextlib.closing(self._log):
            for lines in _batches(output):
                shown = [line for line in lines if not is_json(line)]
                self.last_lines.extend(shown)
                # A full disk or a closed terminal must not end the reader of the child's output.
                with contextlib.suppress(OSError):
                    self._log.write("".join(lines).encode())
                if self.echo:
                    with contextlib.suppress(OSError):
                        sys.stdout.write("".join(f"{self.name:>11} │ {line}" for line in shown))
                        sys.stdout.flush()

    def end_message(self) -> str:
        """Return the last lines of this process, and its exit code."""
        self._reader.join(timeout=1)
        last = "".join(f"    {line}" for line in self.last_lines)
        printed = f"The {self.name} process printed last:\n{last}" if last else ""
        ended = f"ended unexpectedly (exit code {self.process.returncode}); its log is {self._log.path}."
        return f"{printed}The {self.name} process {ended}"


def _batches(output: io.BufferedReader) -> Iterator[list[str]]:
    """Yield whole lines in batches, because waking up for each line costs more than the line."""
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
def signals_deferred() -> Iterator[None]:
    """Defer stop signals to the end of the block, so that no started child is left unknown."""
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
    """The children of one run, as a context manager that stops them all."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._children: list[Child] = []
        self._echo = False
        logs.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, name: str, command: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> None:
        """Start a child; `name` is that of its log file, and the prefix of its lines."""
        log = self._logs / f"{name.replace(' ', '-')}.log"
        with signals_deferred():
            child = Child(name, command, cwd=cwd, env=env, log=log, echo=self._echo)
            self._children.append(child)

    def check(self) -> None:
        """Raise LaptopError if a child has ended."""
        for child in self._children:
            if child.process.poll() is not None:
                raise LaptopError(child.end_message())

    def wait_until(self, ready: Callable[[], bool], what: str, *, seconds: float) -> None:
        """Return when `ready()` is true; raise LaptopError if a child ends or time is up."""
        deadline = time.monotonic() + seconds
        while not ready():
            self.check()
            if time.monotonic() > deadline:
                raise LaptopError(f"{what} did not answer within {seconds:.0f} seconds.")
            time.sleep(0.05)

    def echo(self) -> None:
        """From now on, print the output of all children."""
        self._echo = True
        for child in self._children:
            child.echo = True

    def watch(self, *, until: Callable[[], bool]) -> None:
        """Wait until `until()` is true; raise LaptopError if a child ends."""
        while not until():
            self.check()
            time.sleep(0.2)

    @signals_deferred()
    def stop(self) -> None:
        """End every child: SIGTERM first, SIGKILL after a grace period."""
        for signum in (signal.SIGTERM, signal.SIGKILL):
            for child in self._children:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.process.pid, signum)
            deadline = time.monotonic() + GRACE_SECONDS
            for child in self._children:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.process.wait(timeout=max(0.0, deadline - time.monotonic()))
        for child in self._children:
            assert child.process.stdin is not None
            child.process.stdin.close()


def is_running(pid: int) -> bool:
    """Return whether a process is running. A zombie is not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with contextlib.suppress(OSError):  # macOS has no /proc
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return status.rpartition(")")[2].split()[0] != "Z"
    return True


def end_with_supervisor(environ: Mapping[str, str]) -> None:
    """End this process when the supervisor that has started it ends, if there is one.

    The supervisor has the other end of standard input and never writes to it. Reading returns when it has ended.
    """
    if not environ.get(SUPERVISED):
        return

    def follow() -> None:
        while os.read(0, 1024):
            pass
        os._exit(0)

    threading.Thread(target=follow, daemon=True).start()
