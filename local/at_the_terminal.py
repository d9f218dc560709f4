"""What a person at the terminal sees of an end: one sentence, and no traceback."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
from typing import TYPE_CHECKING

from local.errors import LaptopError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ENDING", "at_the_terminal"]

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""A Ctrl-C, what make and IDEs send, and a terminal that is closed: we end, children first."""

_FULL = (errno.ENOSPC, errno.EDQUOT)


def at_the_terminal(run: Callable[[], int]) -> int:
    """Run, and turn interruptions and known troubles into exit codes and one sentence."""
    # All of them end us as Ctrl-C does: children first. A script that starts us in the background
    # has SIGINT ignored, unless we say otherwise.
    for signum in ENDING:
        signal.signal(signum, signal.default_int_handler)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        return run()
    except KeyboardInterrupt:
        print("\nStopped.")
        return 0
    except BrokenPipeError:
        # Who read us has gone (`make run | head`); Python must not try to flush for them at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except LaptopError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        if error.filename is None and error.errno not in _FULL:
            raise
        where = error.filename or "the disk"
        print(f"Cannot use {where}: {error.strerror}.", file=sys.stderr)
        return 1
