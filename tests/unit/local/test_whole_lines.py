from __future__ import annotations

import os
import pty
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from local.whole_lines import WholeLines, print_whole_lines
from tests.support.laptop import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def pipe() -> Iterator[tuple[int, WholeLines]]:
    """The reading end of a pipe, and lines into the other."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    yield reading, WholeLines(writing)
    os.close(reading)
    os.close(writing)


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65_536)
    except BlockingIOError:
        return b""


def test_a_line_is_passed_on_when_it_is_complete_and_at_once(pipe: tuple[int, WholeLines]) -> None:
    reading, lines = pipe
    print("half", end="", file=lines)
    assert _read(reading) == b""
    print(" and half", file=lines)
    assert _read(reading) == b"half and half\n"


def test_another_threads_line_does_not_come_between(pipe: tuple[int, WholeLines]) -> None:
    reading, lines = pipe
    lines.write("one ")
    other = threading.Thread(target=print, args=("two",), kwargs={"file": lines})
    other.start()
    other.join()
    lines.write("line\n")
    assert _read(reading) == b"two\none line\n"


def test_what_utf_8_has_no_form_for_is_no_crash(pipe: tuple[int, WholeLines]) -> None:
    reading, lines = pipe
    print("ä \ud800", file=lines)
    assert _read(reading) == "ä ?\n".encode()


def test_output_that_somebody_captures_stays_captured(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    captured = sys.stdout
    print_whole_lines(tmp_path / "log")
    assert sys.stdout is captured
    assert capsys.readouterr().out == ""


PRINTS = """
import sys
from pathlib import Path
from local.whole_lines import print_whole_lines
print_whole_lines(Path(sys.argv[1]))
print('{"endpoint": "issue_token"}')
print("POST /token 200 1.0 ms")
"""


def test_on_a_terminal_json_goes_to_the_log_and_a_file_gets_everything(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "auth_server.json.log"
    command = [sys.executable, "-c", PRINTS, str(log)]
    reading, terminal = pty.openpty()
    subprocess.run(command, cwd=ROOT, stdout=terminal, check=True)
    os.close(terminal)
    shown = os.read(reading, 65_536).decode().splitlines()
    os.close(reading)
    assert shown == [f"The functions' log (JSON) is in {log}.", "POST /token 200 1.0 ms"]
    assert log.read_text() == '{"endpoint": "issue_token"}\n'
    piped = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert piped.stdout.splitlines() == ['{"endpoint": "issue_token"}', "POST /token 200 1.0 ms"]
