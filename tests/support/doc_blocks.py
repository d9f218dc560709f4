"""The fenced blocks of the documentation, and the commands in them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md")])

FENCE = re.compile(r"^(?P<fence>```+)(?P<kind>[^\n`]*)\n(?P<text>.*?)^(?P=fence)$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block: the word after its fence, its text, and where it is."""

    page: Path
    line: int
    kind: str
    text: str

    @property
    def place(self) -> str:
        """Page and line."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@dataclass(frozen=True)
class Command:
    """A command of a `console` block, and the output that is shown below it."""

    place: str
    text: str
    output: tuple[str, ...]


def blocks(page: Path) -> list[Block]:
    """Return the blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(page, text.count("\n", 0, match.start()) + 1, match["kind"], match["text"])
        for match in FENCE.finditer(text)
    ]


def commands(block: Block) -> Iterator[Command]:
    """Yield the commands of a `console` block: lines after a prompt, and how they go on."""
    lines = block.text.splitlines()
    number = 0
    while number < len(lines):
        assert lines[number].startswith("$ "), f"{block.place}: output without a command"
        start = number
        while lines[number].endswith("\\"):
            number += 1
        number += 1
        text = "\n".join(lines[start:number])[2:]
        output = number
        while number < len(lines) and not lines[number].startswith("$ "):
            number += 1
        yield Command(f"{block.place}+{start + 1}", text, tuple(lines[output:number]))


_OF_THE_LAPTOP = re.compile(r"localhost:|-m local\.|gatehouse --local")


def is_run(command: Command) -> bool:
    """Return True if `make run` provides everything for a command of a `console` block."""
    return bool(_OF_THE_LAPTOP.search(command.text))
