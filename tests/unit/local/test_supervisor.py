"""What children print: whole lines, in order, in the log and on the terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from local.errors import LaptopError
from local.supervisor import Supervisor

if TYPE_CHECKING:
    from pathlib import Path

# Pieces of lines, many lines at once, bytes that are no text, and an end without the end of a line.
PRINTS = """
import os
for piece in (b"be", b"gun\\n", b"many\\n" * 5000, b"\\xff\\n", b"last"):
    os.write(1, piece)
"""


def test_lines_of_a_child_are_kept_and_shown_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = ["begun", *["many"] * 5000, "\N{REPLACEMENT CHARACTER}", "last"]
    with Supervisor(tmp_path) as supervisor:
        supervisor.start("a child", [sys.executable, "-c", PRINTS], cwd=tmp_path, env={})
        supervisor.echo()
        with pytest.raises(
            LaptopError, match="    many\n    \N{REPLACEMENT CHARACTER}\n    last\n"
        ):
            supervisor.watch(until=lambda: False)
    log = (tmp_path / "a-child.log").read_text(encoding="utf-8")
    assert log.splitlines() == expected
    assert capsys.readouterr().out.splitlines() == [f"    a child │ {line}" for line in expected]
