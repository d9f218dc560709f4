"""Checks of documented commands without running them: programs, commands and options."""

import importlib.util
import re
import shlex
from collections.abc import Callable, Mapping, Sequence

import click
from botocore import xform_name
from botocore.session import get_session

from infra.cli.app import app
from infra.cloudformation import load
from tests.support.doc_blocks import ROOT

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
MAKE_TARGETS = {name for rule in re.findall(r"^([a-z][a-z -]*):", MAKEFILE, re.MULTILINE) for name in rule.split()}
_ASSIGNMENT = re.compile(r"([A-Z][A-Z_]*)=.*", re.DOTALL)
_AWS_OPTIONS = {"query", "output", "region", "profile"}
_SAM_OPTIONS = {"build": set[str](), "deploy": {"--guided", "--stack-name", "--parameter-overrides"}}


def simple_commands(text: str) -> list[list[str]]:
    """Return the commands of a line of shell as words, without redirections and assignments."""
    lexer = shlex.shlex(text.replace("\\\n", " "), posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    found: list[list[str]] = [[]]
    words = iter(lexer)
    for word in words:
        if set(word) <= set("|&;()"):
            found.append([])
        elif set(word) <= set("<>"):
            next(words)
        elif found[-1] or not _ASSIGNMENT.fullmatch(word):
            found[-1].append(word)
    return [command for command in found if command]


def check(command: Sequence[str], directory: str = ".") -> None:
    """Return if a command and its options exist; `directory` is where it is run.

    Raises:
        AssertionError: they do not, or nothing here knows such commands.
    """
    program = command[0].removeprefix(".venv/bin/")
    assert program in CHECKS, f"no rule for {program}"
    CHECKS[program](command[1:], directory)


def _make(words: Sequence[str], _directory: str) -> None:
    for word in words:
        variable = _ASSIGNMENT.fullmatch(word)
        known = re.search(rf"\$\({variable[1]}\)", MAKEFILE) if variable else word in MAKE_TARGETS
        assert known, word


def gatehouse(words: Sequence[str], _directory: str = ".") -> None:
    """Parse the words as `gatehouse` does, up to where the command would begin to work."""
    command: click.Command = app
    name, rest, context = "gatehouse", list(words), None
    while True:
        context = command.make_context(name, rest, parent=context)
        if not isinstance(command, click.Group):
            return
        given = [*context._protected_args, *context.args]
        found_name, found, rest = command.resolve_command(context, given)
        assert found_name is not None
        assert found is not None
        name, command = found_name, found


def is_command(names: Sequence[str]) -> None:
    """Return if `gatehouse` has a command, or a group, of these names; raises AssertionError."""
    command: click.Command = app
    for name in names:
        assert isinstance(command, click.Group), names
        found = command.get_command(click.Context(command), name)
        assert found is not None, names
        command = found


def _aws(words: Sequence[str], _directory: str) -> None:
    service, action, *rest = words
    model = get_session().get_service_model(service)
    operations = {xform_name(name, "-"): name for name in model.operation_names}
    shape = model.operation_model(operations[action]).input_shape
    members = {xform_name(name, "-") for name in shape.members} if shape else set[str]()
    for word in rest:
        assert not word.startswith("--") or word[2:] in members | _AWS_OPTIONS, word


def _sam(words: Sequence[str], directory: str) -> None:
    command, *rest = words
    options = [word for word in rest if word.startswith("--")]
    assert set(options) <= _SAM_OPTIONS[command]
    parameters: Mapping[str, object] = load(ROOT / directory / "template.yaml")["Parameters"]
    given = {word.partition("=")[0] for word in rest if "=" in word}
    assert given <= parameters.keys()


def _python(words: Sequence[str], _directory: str) -> None:
    assert words[0] == "-m"
    assert importlib.util.find_spec(words[1]), words[1]


CHECKS: Mapping[str, Callable[[Sequence[str], str], None]] = {
    "make": _make,
    "gatehouse": gatehouse,
    "aws": _aws,
    "sam": _sam,
    "python": _python,
}
