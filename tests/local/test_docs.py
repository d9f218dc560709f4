"""The commands of the documentation print the documented output on the laptop edition.

`sh` blocks are sessions, and the next block is their complete output. In a `console` block, the
lines below a command are lines of its output, in order. Variable text is written as …, or is a
time. tests/unit/test_doc_blocks.py checks the other commands.
"""

import os
import re
import shlex
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest

from tests.support.cli_forks import forked_gatehouse
from tests.support.doc_blocks import PAGES, ROOT, blocks, commands, is_run
from tests.support.laptop import Laptop, free_port

MARK = "----- next block -----"
SESSIONS = [page for page in PAGES if any(block.kind == "sh" for block in blocks(page))]
TRANSCRIPTS = [
    page
    for page in PAGES
    if any(is_run(each) for block in blocks(page) if block.kind == "console"
           for each in commands(block))
]  # fmt: skip
EPOCH_SECONDS = re.compile(r"\b1[0-9]{9}\b")


@pytest.mark.parametrize("page", SESSIONS, ids=lambda page: page.name)
def test_sessions_print_the_shown_output(spare_laptop: Laptop, page: Path) -> None:
    on_page = blocks(page)
    printed = iter(_printed(spare_laptop, [block.text for block in on_page if block.kind == "sh"]))
    for block, below in zip(on_page, [*on_page[1:], None], strict=True):
        if block.kind != "sh":
            continue
        shown = below.text if below and below.kind in {"text", "json"} else ""
        output = _words(next(printed))
        expected = _words(_relocated(shown, spare_laptop))
        assert re.fullmatch(_pattern(expected), output, re.DOTALL), f"{block.place}\n{block.text}\nprinted\n{output}"


@pytest.mark.parametrize("page", TRANSCRIPTS, ids=lambda page: page.name)
def test_commands_print_the_shown_lines(spare_laptop: Laptop, page: Path) -> None:
    run = [
        command for block in blocks(page) if block.kind == "console" for command in commands(block) if is_run(command)
    ]
    for command, output in zip(run, _printed(spare_laptop, [each.text for each in run]), strict=True):
        lines = iter(output.splitlines())
        for shown in map(str.strip, command.output):
            pattern = _pattern(_relocated(shown, spare_laptop))
            assert any(re.fullmatch(pattern, line.strip()) for line in lines), (
                f"{command.place}\n{command.text}\nshould print\n{shown}\nand prints\n{output}"
            )


def _printed(laptop: Laptop, texts: Sequence[str]) -> list[str]:
    """Run texts in one shell, as a reader would, and return what each prints.

    Without pipefail, as in a reader's shell: it would change the exit codes for `||`.
    """
    script = f"\necho; echo '{MARK}'\n".join(_relocated(text, laptop) for text in texts)
    script = re.sub(r"(?<!/)\.venv/bin/gatehouse", shlex.join(forked_gatehouse()), script)
    result = subprocess.run(
        ["bash", "-eu", "-c", script],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name not in {"COLUMNS", "FORCE_COLOR"}}
        | _ports(laptop)
        | {"LC_ALL": "C"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.split(MARK)


def _pattern(shown: str) -> str:
    literal = ".*?".join(re.escape(part) for part in shown.split("…"))
    return EPOCH_SECONDS.sub("[0-9]{10}", literal)


@cache
def _external_port() -> int:
    return free_port()


def _relocated(text: str, laptop: Laptop) -> str:
    ports = {
        "8085": laptop.addresses.auth_port,
        "8091": laptop.addresses.api_port,
        "8092": laptop.addresses.bound_api_port,
        "8443": laptop.addresses.mtls_auth_port,
        "8444": laptop.addresses.mtls_api_port,
        "8445": laptop.addresses.mtls_bound_api_port,
        "8101": _external_port(),
    }
    for port, actual in ports.items():
        text = text.replace(f"localhost:{port}", f"localhost:{actual}")
        text = text.replace(f"--port {port}", f"--port {actual}")
    return text


def _ports(laptop: Laptop) -> dict[str, str]:
    """Return the variables with which a documented command finds the laptop edition."""
    return {
        "GATEHOUSE_AUTH_PORT": str(laptop.addresses.auth_port),
        "GATEHOUSE_API_PORT": str(laptop.addresses.api_port),
        "GATEHOUSE_AWS_PORT": str(laptop.addresses.aws_port),
        "GATEHOUSE_MTLS_PORT": str(laptop.addresses.mtls_auth_port),
        "GATEHOUSE_MTLS_API_PORT": str(laptop.addresses.mtls_api_port),
    }


def _words(text: str) -> str:
    """Return the text with single spaces, because responses do not end with a newline."""
    return " ".join(text.split())
