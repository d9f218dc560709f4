"""Every fenced block of the documentation is of a kind that is checked. See tests/local too.

`sh` blocks, and those commands of `console` blocks that are about the laptop edition, are run by
tests/local/test_docs.py.
"""

import json
import re
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from infra.cloudformation import parse
from tests.support import doc_commands
from tests.support.doc_blocks import FENCE, PAGES, ROOT, Block, all_blocks, blocks, commands, is_run

BLOCKS = all_blocks()
FIGURES = {"README.md": 1}
"""The number of `text` blocks of a page that are drawings and not output."""

_BY_HAND = "tests/local/test_separate_apis.py"
RUN_BY = {
    "cd local/auth_server && ../../.venv/bin/chalice local --port 8085": _BY_HAND,
    "cd local/guarded_api && ../../.venv/bin/chalice local --port 8091": _BY_HAND,
    "python3 -m pip wheel --no-deps --wheel-dir dist .": "tests/artifacts/test_wheel.py",
    'python3 -m pip install "$(ls dist/gatehouse-*.whl)[cli]"': "tests/artifacts/test_wheel.py",
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


def _json(block: Block) -> None:
    if not _is_output(block):
        json.loads(block.text)


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
            for simple in doc_commands.simple_commands(text):
                doc_commands.check(simple, directory)


def _toctree(block: Block) -> None:
    entries = [line for line in block.text.splitlines() if line and not line.startswith(":")]
    for entry in entries:
        assert (block.page.parent / f"{entry}.md").exists(), entry


def _usage(block: Block) -> None:
    assert block.page.relative_to(ROOT).as_posix() == "docs/reference/cli.md", "name its kind"
    assert block.text.startswith("gatehouse ")


RULES: dict[str, Callable[[Block], None]] = {
    "sh": _sh,
    "text": _text,
    "json": _json,
    "yaml": _yaml,
    "toml": _toml,
    "console": _console,
    "{toctree}": _toctree,
    "": _usage,
}


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.place)
def test_a_block_is_of_a_kind_that_is_checked(block: Block) -> None:
    RULES[block.kind](block)


def test_every_fence_of_every_page_is_read() -> None:
    for page in PAGES:
        fences = re.findall(r"^```", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert len(fences) == 2 * len(blocks(page)), page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_sentences_exist(page: Path) -> None:
    """Commands within a sentence: `make …` and `gatehouse …`."""
    prose = FENCE.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"`make ([a-z]+)", prose):
        assert target in doc_commands.MAKE_TARGETS, target
    for words in re.findall(r"`gatehouse ((?:[a-z][a-z-]* ?)+)", prose):
        doc_commands.is_command(words.split())


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
    for simple in doc_commands.simple_commands(command):
        with pytest.raises((AssertionError, KeyError, click.UsageError)):
            doc_commands.check(simple)
