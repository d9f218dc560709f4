"""What is shown where the terminal or the file takes nothing but ASCII."""

from __future__ import annotations

import codecs
import sys
from io import TextIOWrapper
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_PLAIN: Final[Mapping[str, str]] = {
    "…": "...",
    "→": "->",
    "░": ".",
    "█": "#",
    "▒": "-",
    "│": "|",
    "✓": "+",
    "✗": "x",
    "·": "-",
}
"""What we draw and write beyond ASCII, for a terminal or a file that takes nothing else."""

_IN_PLAIN: Final = "gatehouse.plain"


def write_in_any_encoding() -> None:
    """Let stdout and stderr take what their encoding does not have, in marks that it does have."""
    codecs.register_error(_IN_PLAIN, _in_plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors=_IN_PLAIN)


def _in_plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    missing = error.object[error.start : error.end]
    return "".join(_PLAIN.get(mark, "?") for mark in missing), error.end
