"""docs/standards.md names an existing test for every clause."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

TESTS = Path(__file__).parent
DOCUMENT = TESTS.parent / "docs" / "standards.md"
_RFCS = """
    6749 6750 7009 7515 7516 7517 7518 7519 7521 7523 7638 7662 8037 8414 8693 8705 8707 8725 9068 9449 9700 9701
    9728 9864 9964 10070
"""
STANDARDS = {
    *(f"RFC {number}" for number in _RFCS.split()),
    "draft-ietf-oauth-identity-assertion-authz-grant",
    "draft-ietf-oauth-spiffe-client-auth-02",
    "MCP authorization",
}

_HEADING = re.compile(r"## (RFC \d+|draft-[a-z0-9-]+|MCP authorization)\b")
_NAME = re.compile(r"`([a-z0-9_/]+\.py)::(test_\w+)`")
_EXCUSE = re.compile(r"(not applicable|not done|in part): \S+( \S+){2,}", re.IGNORECASE)


class Row(NamedTuple):
    """One clause: the standard, its section and the row's text."""

    standard: str
    section: str
    demand: str
    here: str
    proof: str

    def __str__(self) -> str:
        return f"{self.standard}, {self.section}: {self.demand[:40]}"


def read_rows(text: str) -> list[Row]:
    """Read the table of each standard."""
    rows, standard = [], ""
    for line in text.splitlines():
        if line.startswith("## "):
            heading = _HEADING.match(line)
            standard = heading[1] if heading else ""
        if standard and line.startswith("|") and not line.startswith(("| ---", "| clause")):
            cells = [cell.strip() for cell in line.strip("|").split(" | ")]
            assert len(cells) == 4, f"A row has four cells: {line}"
            rows.append(Row(standard, *cells))
    return rows


@cache
def names_in(path: Path) -> frozenset[str]:
    """The names of the test functions of a file; none where there is no file."""
    if not path.is_file():
        return frozenset()
    tree = ast.parse(path.read_text())
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


ROWS = read_rows(DOCUMENT.read_text())


def test_every_standard_has_rows() -> None:
    assert {row.standard for row in ROWS} == STANDARDS


def test_rows_have_existing_tests_or_a_reason() -> None:
    assert not [f"{row}: {fault}" for row in ROWS for fault in faults(row)]


def faults(row: Row) -> Iterator[str]:
    """Yield the reasons why a row proves nothing."""
    named = _NAME.findall(row.proof)
    if rest := _NAME.sub("", row.proof).replace(",", "").strip():
        yield f"{rest} is not the name of a test"
    for file, name in named:
        if name not in names_in(TESTS / file):
            yield f"there is no test {file}::{name}"
    if not (named or _EXCUSE.search(row.here)):
        yield "neither a test nor a reason why there is none"


def test_no_clause_is_listed_twice() -> None:
    demands = [(row.standard, row.section, row.demand) for row in ROWS]
    assert len(set(demands)) == len(demands)
