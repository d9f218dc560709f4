"""Exit codes and error messages of the laptop edition's commands.

`python -m local.cli MODULE` runs the `main` of a module.
"""

import errno
import importlib
import io
import os
import signal
import sys
from collections.abc import Callable

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Sent by Ctrl-C, by make and IDEs, and when a terminal is closed."""

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


class LaptopError(Exception):
    """The laptop edition cannot continue. The message names the cause and a fix."""


def run_command(run: Callable[[], int]) -> int:
    """Run a command. Signals and expected errors become an exit code and one sentence."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        # A script that starts a command in the background has SIGINT ignored by default.
        for signum in STOP_SIGNALS:
            signal.signal(signum, signal.default_int_handler)
        return run()
    except KeyboardInterrupt:
        for signum in STOP_SIGNALS:
            signal.signal(signum, signal.SIG_IGN)
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


def run_module(name: str) -> int:
    """Run the `main` of a module as a command. A signal during its import takes effect after the import.

    A KeyboardInterrupt within the import system may be lost, or print a traceback.
    """
    received: list[int] = []
    for each in STOP_SIGNALS:
        signal.signal(each, lambda signum, _frame: received.append(signum))
    main: Callable[[], int] = importlib.import_module(name).main
    if received:
        # A blocked signal stays pending. Python would report one that arrives while it is being ignored.
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        print("\nStopped.")
        return 0
    return run_command(main)


if __name__ == "__main__":
    # The commands raise the LaptopError of `local.cli`, which `__main__` does not catch.
    sys.exit(importlib.import_module("local.cli").run_module(sys.argv.pop(1)))
