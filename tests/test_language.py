"""The language rules of CONTRIBUTING.md, for every tracked file. See tests/support/language.py."""

import re
from pathlib import Path

import pytest

from tests.support.language import BASELINE, ROOT, Prose, baseline, check, counts, violations_in

SHOWN = 12
WRITE = "python -m tests.support.language --write"


def test_violations_are_those_of_the_baseline() -> None:
    current, report, slack = counts(), [], []
    for name in sorted({*current, *baseline()}):
        count, allowed = current.get(name, 0), baseline().get(name, 0)
        if count > allowed:
            found = violations_in(ROOT / name)
            report.append(f"{name}: {count} violations, {allowed} allowed")
            report += [f"  {name}:{each.line}: {each.message}" for each in found[:SHOWN]]
            report += [f"  … and {count - SHOWN} more"] if count > SHOWN else []
        elif count < allowed:
            slack.append(f"{name}: {allowed} allowed, {count} found")
    assert not report, "\n".join(["Write to the language rules of CONTRIBUTING.md:", *report])
    assert not slack, "\n".join([f"Lower the baseline with: {WRITE}", *slack])


def test_baseline_is_sorted_with_one_line_per_file() -> None:
    names = [line.rpartition(" ")[0] for line in BASELINE.read_text().splitlines()]
    assert names == sorted(set(names)), f"Repair the merge with: {WRITE}"


def _messages(text: str, kind: str = "text") -> list[str]:
    return [each.message for each in check(Prose(1, text, kind))]


@pytest.mark.parametrize(
    "text",
    [
        "Entries are fresh until `fresh_for`. After that the first caller refreshes.",
        "There is no default.",
        "The token is no longer valid, and no older than a minute.",
        "What does it cost?",
        "For example, `nobody` and `trouble` are in code.",
        "Connections use keep-alive.",
        " ".join(["word"] * 20) + ".",
        " ".join(["word"] * 15) + "; " + " ".join(["word"] * 15) + ".",
    ],
)
def test_plain_sentences_pass(text: str) -> None:
    assert _messages(text) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Answers are kept.", "'kept'"),
        ("NOBODY knows it.", "'NOBODY'"),
        ("The key is no secret.", "'is no secret'"),
        ("The old entry is gone.", "'is gone'"),
        ("A good token passes.", "'good token'"),
        ("A bad client secret fails.", "'bad client secret'"),
        ("What is stored. And why.", "begins with 'What'"),
        ("It fails. So it retries.", "begins with 'So'"),
        ("**Where it is.**", "begins with 'Where'"),
        (" ".join(["word"] * 21), "21 words"),
    ],
)
def test_violation_is_reported(text: str, message: str) -> None:
    assert [found for found in _messages(text) if message in found], _messages(text)


@pytest.mark.parametrize(
    ("name", "message"),
    [("who waits gets the result", "begins with 'who'"), ("a token is kept", "'kept'"), ("x" * 61, "61 characters")],
)
def test_test_names_follow_the_rules(name: str, message: str) -> None:
    assert [found for found in _messages(name, "test name") if message in found]


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("a.py", '"""A module."""\n\nLIMIT = 1\n"""Whether it is."""\n', 4),
        ("a.py", "x = 1\ny = 2  # nobody\n", 2),
        ("a.py", "# one\n# nobody\n", 1),
        ("a.py", 'raise ValueError(f"nobody has the key {key}")\n', 1),
        ("a.py", "def test_nobody() -> None: ...\n", 1),
        ("a.md", "Text.\n\n```sh\nnobody\n```\n| a | b |\n|---|---|\n| nobody | `nobody` |\n", 8),
        ("a.yaml", "A:\n  Description: >-\n    Nobody reads it.\n", 2),
        ("a.yaml", "# nobody\nA: 1\n", 1),
        ("a.js", "const a = 1;\n// nobody\n", 2),
        ("a.css", "a { }\n/* nobody */\n", 2),
        ("a.html", "<p>\n<b>nobody</b>\n", 2),
        ("Makefile", "test: ## Nobody\n", 1),
    ],
)
def test_prose_of_each_file_type_is_read(tmp_path: Path, name: str, content: str, line: int) -> None:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    assert [each.line for each in violations_in(path)] == [line]


def test_strings_of_tests_are_not_read() -> None:
    path = ROOT / "tests" / "support" / "language.py"
    assert "name the component" in path.read_text(encoding="utf-8")
    assert not any("'nobody'" in each.message for each in violations_in(path))


def test_glossary_is_sorted_and_names_sources() -> None:
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("| ")
    ][1:]
    terms = [term.lower() for term, _, _ in rows]
    assert len(terms) >= 60
    assert terms == sorted(set(terms))
    for term, _, source in rows:
        assert re.fullmatch(r"RFC \d+, [\d.]+|Gatehouse|[A-Z][\w ]+: .+", source), term
