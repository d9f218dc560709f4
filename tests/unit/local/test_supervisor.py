"""What children print: whole lines, in order, in the log and on the terminal; and how they end."""

import signal
import sys
from pathlib import Path

import pytest

from local.cli import LaptopError
from local.supervisor import Supervisor, undisturbed

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
        supervisor.echo()
        supervisor.start("a child", [sys.executable, "-c", PRINTS], cwd=tmp_path, env={})
        with pytest.raises(
            LaptopError, match="    many\n    \N{REPLACEMENT CHARACTER}\n    last\n"
        ):
            supervisor.watch(until=lambda: False)
    log = (tmp_path / "a-child.log").read_text(encoding="utf-8")
    assert log.splitlines() == expected
    assert capsys.readouterr().out.splitlines() == [f"    a child │ {line}" for line in expected]


def test_a_full_disk_keeps_lines_from_the_log_and_not_from_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a-child.log").symlink_to("/dev/full")
    with Supervisor(tmp_path) as supervisor:
        supervisor.echo()
        supervisor.start("a child", [sys.executable, "-c", PRINTS], cwd=tmp_path, env={})
        with pytest.raises(LaptopError, match=r"ended unexpectedly \(exit code 0\)"):
            supervisor.watch(until=lambda: False)
    assert capsys.readouterr().out.endswith("    a child │ last\n")


def test_the_terminal_gets_no_json_and_the_log_gets_everything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ['{"endpoint": "issue_token"}', "POST /token 200 1.0 ms", "{unfinished", "Traceback"]
    with Supervisor(tmp_path) as supervisor:
        supervisor.echo()
        prints = f"print({chr(10).join(lines)!r})"
        supervisor.start("a child", [sys.executable, "-c", prints], cwd=tmp_path, env={})
        with pytest.raises(LaptopError) as ended:
            supervisor.watch(until=lambda: False)
    assert (tmp_path / "a-child.log").read_text(encoding="utf-8").splitlines() == lines
    assert "Traceback" in str(ended.value)
    assert "issue_token" not in str(ended.value)
    assert capsys.readouterr().out.splitlines() == [f"    a child │ {line}" for line in lines[1:]]


def test_a_log_that_cannot_be_opened_starts_no_child(tmp_path: Path) -> None:
    (tmp_path / "a-child.log").mkdir()
    with Supervisor(tmp_path) as supervisor, pytest.raises(IsADirectoryError):
        supervisor.start("a child", [sys.executable], cwd=tmp_path, env={})


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_waits_until_a_child_is_known(signum: signal.Signals) -> None:
    before = signal.getsignal(signum)
    known: list[str] = []

    def start_a_child() -> None:
        with undisturbed():
            signal.raise_signal(signum)
            known.append("child")

    with pytest.raises(KeyboardInterrupt):
        start_a_child()
    assert known == ["child"]
    assert signal.getsignal(signum) is before
