"""Every fenced block of the documentation is of a kind that is checked. See tests/local too.

`sh` blocks, and those commands of `console` blocks that are about the laptop edition, are run by
tests/local/test_docs.py.
"""

import importlib.util
import json
import re
import shlex
import subprocess
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import click
import pytest
from botocore import xform_name
from botocore.session import get_session

from infra.cli.app import app
from infra.cloudformation import load, parse
from tests.support.doc_blocks import FENCE, PAGES, ROOT, Block, blocks, commands, is_run

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
MAKE_TARGETS = {name for rule in re.findall(r"^([a-z][a-z -]*):", MAKEFILE, re.MULTILINE) for name in rule.split()}
_ASSIGNMENT = re.compile(r"([A-Z][A-Z_]*)=.*", re.DOTALL)
_AWS_OPTIONS = {"cli-input-json", "query", "output", "region", "profile"}
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


def check_command(command: Sequence[str], directory: str = ".") -> None:
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


FIGURES = {"README.md": 1}
"""The number of `text` blocks of a page that are drawings and not output."""

_BY_HAND = "tests/local/test_separate_apis.py"
RUN_BY = {
    "cd local/auth_server && ../../.venv/bin/chalice local --port 8085": _BY_HAND,
    "cd local/guarded_api && ../../.venv/bin/chalice local --port 8091": _BY_HAND,
    "python3 -m pip wheel --no-deps --wheel-dir dist .": "tests/artifacts/test_wheel.py",
    "python3 -m pip install dist/gatehouse-*.whl": "tests/artifacts/test_wheel.py",
    "python -m uvicorn --app-dir docs/examples/library fastapi_app:app &": (
        "tests/integration/test_library_examples.py"
    ),
    ".venv/bin/python docs/examples/mcp/agent.py": "tests/local/test_clients_mcp.py",
    'curl -i http://127.0.0.1:8000/orders -H "Authorization: Bearer $TOKEN"': (
        "tests/integration/test_library_examples.py"
    ),
    'python3 -m pip install "$(ls dist/gatehouse-*.whl)[cli]"': "tests/artifacts/test_wheel.py",
    'python3 -m pip install "$(ls dist/gatehouse-*.whl)[cdk]"': "tests/artifacts/test_cdk.py",
}
"""Commands that do not end, or change the machine, and the test that runs them in its own way."""


def _is_output(block: Block) -> bool:
    on_page = blocks(block.page)
    before = on_page.index(block) - 1
    return before >= 0 and on_page[before].kind == "sh"


def _sh(block: Block) -> None:
    subprocess.run(["bash", "-n", "-c", block.text], check=True, capture_output=True)


def _text(block: Block) -> None:
    if _is_output(block):
        return
    drawings = [each for each in blocks(block.page) if each.kind == "text" and not _is_output(each)]
    assert len(drawings) == FIGURES.get(str(block.page.relative_to(ROOT)))


def _yaml(block: Block) -> None:
    assert parse(block.text)


def _toml(block: Block) -> None:
    assert tomllib.loads(block.text)


def _console(block: Block) -> None:
    directory = "."
    for command in commands(block):
        text = command.text.partition("  #")[0].strip()
        if text in RUN_BY:
            assert (ROOT / RUN_BY[text]).exists()
        elif text.startswith("cd ") and "&" not in text:
            directory = text.removeprefix("cd ")
            assert (ROOT / directory).is_dir()
        elif not is_run(command):
            for simple in simple_commands(text):
                check_command(simple, directory)


def _toctree(block: Block) -> None:
    entries = [line for line in block.text.splitlines() if line and not line.startswith(":")]
    for entry in entries:
        assert (block.page.parent / f"{entry}.md").exists(), entry


def _python_block(block: Block) -> None:
    """Find the block in one of the examples, which tests/integration and tests/artifacts run."""
    examples = [path for name in ("cdk", "library") for path in (ROOT / "docs" / "examples" / name).rglob("*.py")]
    assert any(block.text.strip() in example.read_text(encoding="utf-8") for example in examples)


def _hcl(block: Block) -> None:
    """Parse the block, and find it in the example, which tests/unit/infra/test_terraform.py reads."""
    import hcl2

    assert hcl2.loads(f"{block.text}\n")
    examples = (ROOT / "docs" / "examples" / "terraform").glob("*.tf")
    assert any(block.text.strip() in example.read_text(encoding="utf-8") for example in examples)


def _usage(block: Block) -> None:
    assert block.page.relative_to(ROOT).as_posix() == "docs/reference/cli.md", "name its kind"
    assert block.text.startswith("gatehouse ")


RULES: dict[str, Callable[[Block], object]] = {
    "sh": _sh,
    "text": _text,
    "json": lambda block: _is_output(block) or json.loads(block.text),
    "yaml": _yaml,
    "toml": _toml,
    "hcl": _hcl,
    "console": _console,
    "python": _python_block,
    "{toctree}": _toctree,
    "": _usage,
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_blocks_of_a_page_are_of_a_kind_that_is_checked(page: Path) -> None:
    fences = re.findall(r"^```", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(fences) == 2 * len(blocks(page))
    for block in blocks(page):
        try:
            RULES[block.kind](block)
        except Exception as error:
            error.add_note(block.place)
            raise


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_sentences_exist(page: Path) -> None:
    """Commands within a sentence: `make …` and `gatehouse …`."""
    prose = FENCE.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"`make ([a-z]+)", prose):
        assert target in MAKE_TARGETS, target
    for words in re.findall(r"`gatehouse ((?:[a-z][a-z-]* ?)+)", prose):
        is_command(words.split())


@pytest.mark.parametrize(
    "command",
    [
        "make nothing",
        "make deploy STAG=dev",
        "gatehouse clients forget billing",
        "gatehouse clients create --secret s3cret billing",
        "gatehouse --stak gatehouse doctor",
        "gatehouse clients delete",
        "aws lambda invoke --function billing out.json",
        "aws lambda summon",
        "sam deploy --parameter-overrides Audiences=a",
        "sam deploy --force",
        "python -m tests.artifacts.nothing",
        "frobnicate",
    ],
)
def test_a_command_that_does_not_exist_is_noticed(command: str) -> None:
    for simple in simple_commands(command):
        with pytest.raises((AssertionError, KeyError, click.UsageError)):
            check_command(simple)
