import os
import pty
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.log_output import RotatingLog, WholeLines, print_whole_lines
from tests.support.laptop import ROOT


def test_full_log_is_replaced_and_the_previous_one_stays(tmp_path: Path) -> None:
    log = RotatingLog(tmp_path / "log", max_bytes=4)
    for data in (b"one\n", b"two\n", b"three\n", b"4\n"):
        log.write(data)
    log.close()
    assert (tmp_path / "log").read_bytes() == b"4\n"
    assert (tmp_path / "log.1").read_bytes() == b"three\n"
    assert len(list(tmp_path.iterdir())) == 2


def test_two_writers_append_to_a_log_and_replace_it_once(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"0\n")
    first, second = (RotatingLog(tmp_path / "log", max_bytes=4) for _ in range(2))
    first.write(b"one\n")
    first.write(b"2\n")
    second.write(b"3\n")
    first.close()
    second.close()
    assert (tmp_path / "log").read_bytes() == b"2\n3\n"
    assert (tmp_path / "log.1").read_bytes() == b"0\none\n"


@pytest.fixture
def pipe() -> Iterator[tuple[int, WholeLines]]:
    """The reading end of a pipe, and lines into the other."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    yield reading, WholeLines(writing)
    os.close(reading)
    os.close(writing)


def read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65_536)
    except BlockingIOError:
        return b""


def test_line_is_written_when_complete(pipe: tuple[int, WholeLines]) -> None:
    reading, lines = pipe
    print("half", end="", file=lines)
    assert read(reading) == b""
    print(" and half", file=lines)
    assert read(reading) == b"half and half\n"


def test_lines_of_threads_are_not_mixed(pipe: tuple[int, WholeLines]) -> None:
    reading, lines = pipe
    lines.write("one ")
    other = threading.Thread(target=print, args=("two",), kwargs={"file": lines})
    other.start()
    other.join()
    lines.write("line\n")
    assert read(reading) == b"two\none line\n"


def test_lone_surrogate_is_replaced(pipe: tuple[int, WholeLines]) -> None:
    reading, lines = pipe
    print("ä \ud800", file=lines)
    assert read(reading) == "ä ?\n".encode()


def test_captured_output_stays_captured(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    captured = sys.stdout
    print_whole_lines(tmp_path / "log")
    assert sys.stdout is captured
    assert capsys.readouterr().out == ""


PRINTS = """
import sys
from pathlib import Path
from local.log_output import print_whole_lines
print_whole_lines(Path(sys.argv[1]))
print('{"endpoint": "issue_token"}')
print("POST /token 200 1.0 ms")
"""


def test_json_goes_to_the_log_on_a_terminal_only(tmp_path: Path) -> None:
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
