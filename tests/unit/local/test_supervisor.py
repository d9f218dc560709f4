"""Output of child processes in log files and on the terminal, and their end."""

import os
import signal
import sys
from pathlib import Path

import pytest

from local.cli import LaptopError
from local.supervisor import Supervisor, signals_deferred

# Parts of lines, many lines at once, bytes that are not text, and a last line without its end.
PRINTS = """
import os
for piece in (b"be", b"gun\\n", b"many\\n" * 5000, b"\\xff\\n", b"last"):
    os.write(1, piece)
"""


def test_output_has_whole_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = ["begun", *["many"] * 5000, "\N{REPLACEMENT CHARACTER}", "last"]
    with Supervisor(tmp_path) as supervisor:
        supervisor.echo()
        supervisor.start("a child", [sys.executable, "-c", PRINTS], cwd=tmp_path, env={})
        with pytest.raises(LaptopError, match="    many\n    \N{REPLACEMENT CHARACTER}\n    last\n"):
            supervisor.watch(until=lambda: False)
    log = (tmp_path / "a-child.log").read_text(encoding="utf-8")
    assert log.splitlines() == expected
    assert capsys.readouterr().out.splitlines() == [f"    a child │ {line}" for line in expected]


def test_full_disk_does_not_stop_terminal_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a-child.log").symlink_to("/dev/full")
    with Supervisor(tmp_path) as supervisor:
        supervisor.echo()
        supervisor.start("a child", [sys.executable, "-c", PRINTS], cwd=tmp_path, env={})
        with pytest.raises(LaptopError, match=r"ended unexpectedly \(exit code 0\)"):
            supervisor.watch(until=lambda: False)
    assert capsys.readouterr().out.endswith("    a child │ last\n")


def test_terminal_gets_no_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = ['{"endpoint": "issue_token"}', "POST /token 200 1.0 ms", "{unfinished", "Traceback"]
    with Supervisor(tmp_path) as supervisor:
        supervisor.echo()
        prints = f"print({chr(10).join(lines)!r})"
        supervisor.start("a child", [sys.executable, "-c", prints], cwd=tmp_path, env={})
        with pytest.raises(LaptopError):
            supervisor.watch(until=lambda: False)
    assert (tmp_path / "a-child.log").read_text(encoding="utf-8").splitlines() == lines
    assert capsys.readouterr().out.splitlines() == [f"    a child │ {line}" for line in lines[1:]]


def test_child_needs_its_log_file(tmp_path: Path) -> None:
    (tmp_path / "a-child.log").mkdir()
    with Supervisor(tmp_path) as supervisor, pytest.raises(IsADirectoryError):
        supervisor.start("a child", [sys.executable], cwd=tmp_path, env={})


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_is_deferred_until_a_child_is_known(signum: signal.Signals) -> None:
    before = signal.getsignal(signum)
    known: list[str] = []

    def start_a_child() -> None:
        with signals_deferred():
            signal.raise_signal(signum)
            known.append("child")

    with pytest.raises(KeyboardInterrupt):
        start_a_child()
    assert known == ["child"]
    assert signal.getsignal(signum) is before


def test_signal_does_not_interrupt_the_end_of_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kill = os.killpg
    ended: list[int] = []

    def kill_during_a_signal(group: int, signum: int) -> None:
        signal.raise_signal(signal.SIGINT)
        kill(group, signum)
        ended.append(group)

    supervisor = Supervisor(tmp_path)
    for name in ("one", "two"):
        supervisor.start(name, [sys.executable, "-c", "input()"], cwd=tmp_path, env={})
    monkeypatch.setattr(os, "killpg", kill_during_a_signal)
    with pytest.raises(KeyboardInterrupt):
        supervisor.stop()
    assert len(set(ended)) == 2
