"""Output on narrow and ASCII terminals, and on files that cannot be written."""

import errno
import sys
from io import BytesIO, TextIOWrapper

import pytest

from infra.cli.errors import CommandError, ExitCode
from infra.cli.output import Terminal, TextTable, write_in_any_encoding
from local.demo_clients import authorizer_client, demo_clients, keyed_clients
from tests.support.cli import CommandLine
from tests.support.server import client


def test_demo_clients_fit_80_columns(gatehouse: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    for each in (*demo_clients(), *keyed_clients(), authorizer_client("x")):
        gatehouse.clients.put(each, None)
    for columns in (None, "80"):
        if columns:
            monkeypatch.setenv("COLUMNS", columns)
        lines = gatehouse("clients", "list").stdout.splitlines()
        assert max(map(len, lines)) <= 80
        words = {word for line in lines for word in line.split()}
        for seen in gatehouse.clients.list():
            named = {seen.key, *seen.record.authentication_methods, *seen.record.scopes}
            assert named <= words


def test_output_fits_the_terminal(gatehouse: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    gatehouse.clients.put(client("a"), None)
    for width in (40, 80):
        monkeypatch.setenv("COLUMNS", str(width))
        for command in ("clients list", "keys list", "clients show a", "doctor --all"):
            lines = gatehouse(*command.split()).stdout.splitlines()
            assert max(len(line.rstrip()) for line in lines) <= width, command


def test_missing_characters_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    written = BytesIO()
    monkeypatch.setattr(sys, "stdout", TextIOWrapper(written, encoding="ascii"))
    write_in_any_encoding()
    Terminal(as_json=False).show(None, "░█▒│ … → ✓ ✗ · Zürich")
    sys.stdout.flush()
    assert written.getvalue() == b".#-| ... -> + x - Z?rich\n"


class _FullDisk(BytesIO):
    def write(self, _text: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("as_json", [True, False])
def test_unwritable_result_is_an_error(as_json: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", TextIOWrapper(_FullDisk(), encoding="utf-8", write_through=True))
    with pytest.raises(CommandError, match="No space left on device") as refused:
        Terminal(as_json=as_json).show({}, "said")
    assert refused.value.code is ExitCode.FAILURE


def test_colours_need_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    Terminal(as_json=False).fail(CommandError("It is so.", "Do this."))
    assert "\x1b[1;31m" in capsys.readouterr().err
    monkeypatch.setenv("NO_COLOR", "1")
    Terminal(as_json=False).fail(CommandError("It is so.", "Do this."))
    assert "31m" not in capsys.readouterr().err


def test_nested_progress_is_suppressed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    people, program = Terminal(as_json=False), Terminal(as_json=True)
    with people.progress("Reading the ring"), people.progress("Looking up the stack"):
        pass
    said = capsys.readouterr()
    assert ("Reading the ring …" in said.err, "Looking" in said.err, said.out) == (True, False, "")
    with program.progress("Reading the ring"):
        pass
    assert capsys.readouterr().err == ""


def test_prose_has_the_width_that_short_words_leave(capsys: pytest.CaptureFixture[str]) -> None:
    row = ("ok", "authorization server", "with a forged token", "a forged token is answered 401 with a challenge")
    Terminal(as_json=False).show({}, TextTable(("", "area", "check", "finding"), [row] * 2))
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split(maxsplit=2)[:2] == ["ok", "authorization"]
    assert lines[1].rstrip().endswith(row[-1])
