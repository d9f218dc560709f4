"""The commands of docs/ do what docs/ says."""

from __future__ import annotations

import os
import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.laptop import ROOT, free_environment

if TYPE_CHECKING:
    from tests.support.laptop import Laptop

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MARK = "----- next block -----"


@pytest.mark.parametrize("document", ["tokens.md", "guard-your-api.md", "cli.md"])
def test_a_documents_commands_print_what_it_says(laptop: Laptop, document: str) -> None:
    blocks = BLOCK.findall(_relocated((ROOT / "docs" / document).read_text(), laptop))
    commands = [text for kind, text in blocks if kind == "sh"]
    result = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f"\necho; echo '{MARK}'\n".join(commands)],
        cwd=ROOT,
        env={**os.environ, **_ports(laptop), "LC_ALL": "C"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    printed = iter(result.stdout.split(MARK))
    for number, (kind, text) in enumerate(blocks):
        if kind != "sh":
            continue
        output = _words(next(printed))
        following = blocks[number + 1] if number + 1 < len(blocks) else ("sh", "")
        expected = "" if following[0] == "sh" else following[1]
        pattern = ".*?".join(re.escape(part) for part in _words(expected).split("…"))
        assert re.fullmatch(pattern, output, re.DOTALL), f"{text}\nprinted\n{output}"


def _relocated(text: str, laptop: Laptop) -> str:
    origins = {"8085": laptop.addresses.auth_port, "8091": laptop.addresses.api_port}
    for port, actual in origins.items():
        text = text.replace(f"localhost:{port}", f"localhost:{actual}")
    free = free_environment()["GATEHOUSE_API_PORT"]
    return text.replace("localhost:8101", f"localhost:{free}").replace(
        "--port 8101", f"--port {free}"
    )


def _ports(laptop: Laptop) -> dict[str, str]:
    """What a process that a document starts beside the laptop edition finds it by."""
    return {
        "GATEHOUSE_AUTH_PORT": str(laptop.addresses.auth_port),
        "GATEHOUSE_API_PORT": str(laptop.addresses.api_port),
        "GATEHOUSE_AWS_PORT": str(laptop.addresses.aws_port),
    }


def _words(text: str) -> str:
    """The text with a single space wherever there is any: answers stand without a line's end."""
    return " ".join(text.split())
