"""Exit codes and error messages of the laptop edition's commands.

`python -m local.cli MODULE` runs the `main` of a module. Ctrl-C also ends the module's import.
"""

import errno
import importlib
import io
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Sent by Ctrl-C, by make and IDEs, and when a terminal is closed."""

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


class LaptopError(Exception):
    """The laptop edition cannot continue. The message names the cause and a fix."""


def run_command(run: Callable[[], int]) -> int:
    """Run a command. Signals and expected errors become an exit code and one sentence."""
    # A script that starts a command in the background has SIGINT ignored by default.
    for signum in STOP_SIGNALS:
        signal.signal(signum, _interrupt)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        return run()
    except KeyboardInterrupt:
        print("\nStopped.")
        return 0
    except BrokenPipeError:
        # The reader has exited (`make run | head`). Python must not flush to it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except LaptopError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        if error.filename is None and error.errno not in _DISK_FULL:
            raise
        where = error.filename or "the disk"
        print(f"Cannot use {where}: {error.strerror}.", file=sys.stderr)
        return 1


def _interrupt(_signum: int, _frame: FrameType | None) -> NoReturn:
    """Raise KeyboardInterrupt once. A second signal would interrupt the stop."""
    for signum in STOP_SIGNALS:
        signal.signal(signum, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    module = sys.argv.pop(1)
    # The commands raise the LaptopError of `local.cli`, which `__main__` does not catch.
    cli = importlib.import_module("local.cli")
    sys.exit(cli.run_command(lambda: importlib.import_module(module).main()))
