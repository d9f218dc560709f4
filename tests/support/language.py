"""Check prose in code and documents against the language rules of CONTRIBUTING.md.

python -m tests.support.language FILE …     list the violations of some files
python -m tests.support.language --write    lower the baseline to the current counts

The baseline has one line per file with the violations that were there when the rules began. The
test fails for a file with more. `--write` refuses to raise the total.
"""

import argparse
import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Callable, Iterator
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple

import yaml

ROOT = Path(__file__).resolve().parents[2]
BASELINE = ROOT / "tests" / "language_baseline.txt"
# Generated pages are checked at their source. The last two files contain the banned words.
EXCLUDED = re.compile(
    r"docs/(reference/.*|strictness\.md|benchmarks\.md|interop\.md)"
    r"|tests/(support/language|test_language)\.py|tests/(unit/|local/|benchmarks/)node/.*"
)
# Strings of these files are test data. Those of benchmarks, interop and strictness are pages of docs/.
TESTS = re.compile(rf"{re.escape(ROOT.as_posix())}/tests/(?!benchmarks/|interop/|strictness/)")
LONGEST_SENTENCE = 20
LONGEST_TEST_NAME = 60

_JUDGED = "(?:tokens?|proofs?|keys?|secrets?|signatures?|certificates?|requests?)"
# Pattern → suggestion. A pattern matches whole words, in any case.
BANNED = {
    r"nobody|no one|somebody|someone|whoever|whichever|anybody": "name the component",
    r"ours|our own": "Gatehouse's",
    r"troubles?": "failure, error",
    r"mend(?:s|ed|ing)?": "fix, repair",
    r"play(?:s|ed|ing)?": "emulate, run, support",
    r"tell(?:s|ing)?|told": "report, print, state; for 'unless told': Default: X",
    r"says|said|saying": "state, print, return, report",
    r"stands?(?!-)|standing|stood": "exist, be defined in",
    r"besides?": "next to, compared with, in addition to",
    r"meanwhile": "concurrently",
    r"likewise": "the same",
    r"anew|once more": "again",
    r"(?<!-)hands?(?!-)|handed|handing": "pass, return, manual",
    r"keeps?(?!-alive)|keeping|kept": "cache, store, retain",
    r"puts? back": "restore",
    r"(?:is|are|was|were|be|been|has|have) gone": "was deleted, does not exist",
    r"(?<!there )(?:is|are|was|were) no (?!more|less|\w+er\b)\w+": "is not a X",
    r"halves": "private key, public key",
    r"floors?|rooms?": "module, package, layer",
    r"doomed|(?<!-)alive": "expired, revoked, active",
    r"chatter|dialogues?|stor(?:y|ies)|tales?": "output, prompts, scenario",
    r"patien(?:t|ce)": "timeout",
    rf"(?:good|bad) (?:\w+ )?{_JUDGED}": "valid, invalid",
}
_BANNED = [(re.compile(rf"\b(?:{words})\b", re.IGNORECASE), to) for words, to in BANNED.items()]
_FIRST_WORD = re.compile(r"(what|who|where|whether|of|so|for(?! example| instance))\b", re.IGNORECASE)
_CODE = re.compile(r"``[^`]+``|`[^`]*`|https?://\S+|\{[^{}]*\}")
_SENTENCE = re.compile(r".+?(?:[.!?]['\")*\]]*(?=\s|$)|$)")
_CLAUSE_END = re.compile(r"[:;]\**\s|[:;]$| — | → ")
_WORD = re.compile(r"[^\W_]")


class Prose(NamedTuple):
    """A paragraph, comment, docstring, message or name, and the line where it begins."""

    line: int
    text: str
    kind: str = "text"


class Violation(NamedTuple):
    """A broken rule: the line of the text, the rule, and the words in question."""

    line: int
    message: str


def violations_in(path: Path) -> list[Violation]:
    """Return the violations of a file, in order."""
    text = path.read_text(encoding="utf-8")
    found = [each for prose in READERS[_kind(path)](text) for each in check(prose)]
    if path.suffix == ".py" and not TESTS.match(path.as_posix()):
        found += [each for prose in _python_messages(text) for each in check(prose)]
    return sorted(found)


def check(prose: Prose) -> Iterator[Violation]:
    """Yield the violations of one piece of prose."""
    text = _CODE.sub("CODE", " ".join(prose.text.split()))
    for pattern, better in _BANNED:
        for match in pattern.finditer(text):
            yield Violation(prose.line, f"'{match[0]}': write {better}")
    if prose.kind == "test name":
        if _FIRST_WORD.match(text):
            yield Violation(prose.line, f"a test name begins with '{text.split()[0]}'")
        if len(text) > LONGEST_TEST_NAME:
            yield Violation(prose.line, f"a test name of {len(text)} characters: {text}")
        return
    for match in _SENTENCE.finditer(text):
        sentence = match[0].strip(" *_>\"'(")
        first = _FIRST_WORD.match(sentence)
        if first and not sentence.rstrip("*_\"')").endswith("?"):
            yield Violation(prose.line, f"begins with '{first[0]}': {_start(sentence)}")
        for clause in _CLAUSE_END.split(sentence):
            length = sum(bool(_WORD.search(word)) for word in clause.split())
            if length > LONGEST_SENTENCE:
                yield Violation(prose.line, f"{length} words: {_start(clause)}")


def _start(sentence: str) -> str:
    return " ".join(sentence.split()[:8]) + " …"


@lru_cache(maxsize=1)
def _nodes(text: str) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(ast.parse(text)))


def _python(text: str) -> Iterator[Prose]:
    for node in _nodes(text):
        body = getattr(node, "body", None)
        for each in body if isinstance(body, list) else []:
            # Docstrings, and the strings below a field or a member that describe it.
            value = getattr(each, "value", None)
            if isinstance(each, ast.Expr) and isinstance(value, ast.Constant):
                yield from _paragraphs(str(value.value), each.lineno)
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            name = re.sub(r"^test_(rfc\d+_(\d+_)*)?", "", node.name)
            yield Prose(node.lineno, name.replace("_", " "), "test name")
    yield from _python_comments(text)


def _python_comments(text: str) -> Iterator[Prose]:
    block: list[str] = []
    start = last = 0
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type != tokenize.COMMENT:
            continue
        comment = token.string.lstrip("#! ")
        comment = re.sub(r"^(noqa|type|fmt|pragma|mypy):?[^-]*(- )?", "", comment)
        line = token.start[0]
        own_line = not token.line[: token.start[1]].strip()
        if block and not (own_line and line == last + 1):
            yield Prose(start, " ".join(block))
            block = []
        if not block:
            start = line
        block.append(comment)
        last = line if own_line else 0
    if block:
        yield Prose(start, " ".join(block))


def _python_messages(text: str) -> Iterator[Prose]:
    """Yield string constants with at least four words: messages, help texts, descriptions."""
    skipped = {id(node.value) for node in _nodes(text) if isinstance(node, ast.Expr)}
    for node in _nodes(text):
        if isinstance(node, ast.JoinedStr):
            skipped |= {id(part) for part in node.values}
            parts = [str(part.value) if isinstance(part, ast.Constant) else "CODE" for part in node.values]
            yield from _message(node.lineno, "".join(parts))
        elif isinstance(node, ast.Constant) and id(node) not in skipped:
            yield from _message(node.lineno, node.value if isinstance(node.value, str) else "")


def _message(line: int, text: str) -> Iterator[Prose]:
    words = re.findall(r"(?<!\S)[A-Za-z',.;:]+(?!\S)", text)
    if len(words) >= 4:
        yield from _paragraphs(text, line)


def _paragraphs(text: str, line: int) -> Iterator[Prose]:
    """Yield paragraphs and list items; indented blocks after `::` and `>>>` are code."""
    block: list[str] = []
    start = line
    for number, raw in enumerate([*text.splitlines(), ""], line):
        stripped = raw.strip()
        item = re.match(r"([-*]|\d+\.) |[A-Za-z_]+: |(Args|Returns|Raises|Yields):$", stripped)
        if block and (not stripped or item):
            yield Prose(start, " ".join(block))
            block = []
        if stripped and not stripped.startswith((">>>", "$ ")):
            if not block:
                start = number
            block.append(re.sub(r"^([-*]|\d+\.) ", "", stripped))


def _markdown(text: str) -> Iterator[Prose]:
    fenced = heading = False
    block: list[str] = []
    start = 0
    for number, raw in enumerate([*text.splitlines(), ""], 1):
        line = raw.strip()
        if line.startswith("```"):
            fenced = not fenced
            line = ""
        elif fenced:
            continue
        line = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", line)
        item = re.match(r"([-*+]|\d+\.) |#+ |> |\|", line)
        if block and (not line or item or heading):
            yield Prose(start, " ".join(block))
            block = []
        if line.startswith("|"):
            for cell in line.strip("|").split("|"):
                if _WORD.search(cell):
                    yield Prose(number, cell.strip())
        elif line:
            if not block:
                start = number
            block.append(re.sub(r"^(([-*+]|\d+\.) |#+ |> )", "", line))
        heading = line.startswith("#")


_DESCRIBED = {
    "Description", "description", "summary", "AlarmDescription", "ConstraintDescription",
    "AssertDescription",
}  # fmt: skip


def _yaml(text: str) -> Iterator[Prose]:
    yield from _line_comments(text, "#")
    nodes = [yaml.compose(text, Loader=yaml.SafeLoader)]
    while nodes:
        node = nodes.pop()
        if isinstance(node, yaml.SequenceNode):
            nodes += node.value
        elif isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                nodes.append(value)
                if key.value in _DESCRIBED and isinstance(value, yaml.ScalarNode):
                    yield from _paragraphs(value.value, value.start_mark.line + 1)


def _line_comments(text: str, mark: str) -> Iterator[Prose]:
    block: list[str] = []
    start = 0
    pattern = re.compile(rf"(?P<before>.*?)(?:^|\s){re.escape(mark)}+!? ?(?P<comment>.*)")
    for number, line in enumerate([*text.splitlines(), ""], 1):
        match = pattern.fullmatch(line)
        before = match["before"].strip() if match else ""
        if block and (not match or before):
            yield Prose(start, " ".join(block))
            block = []
        if match and not before:
            if not block:
                start = number
            block.append(match["comment"])
        elif match and mark == "#" and before.count('"') % 2 == before.count("'") % 2 == 0:
            yield Prose(number, match["comment"])


def _makefile(text: str) -> Iterator[Prose]:
    yield from _line_comments(text, "#")


def _script(text: str) -> Iterator[Prose]:
    yield from _line_comments(text, "//")
    for match in re.finditer(r"/\*(.*?)\*/|<!--(.*?)-->", text, re.DOTALL):
        comment = re.sub(r"^\s*\*", "", match[1] or match[2] or "", flags=re.MULTILINE)
        yield Prose(text.count("\n", 0, match.start()) + 1, comment)


def _html(text: str) -> Iterator[Prose]:
    for match in re.finditer(r"<!--(.*?)-->|>([^<>]+)<", text, re.DOTALL):
        shown = match[1] or match[2]
        if _WORD.search(shown):
            yield Prose(text.count("\n", 0, match.start()) + 1, shown)


READERS: dict[str, Callable[[str], Iterator[Prose]]] = {
    ".py": _python,
    ".md": _markdown,
    ".yaml": _yaml,
    ".toml": _makefile,
    ".js": _script,
    ".css": _script,
    ".mjs": _script,
    ".html": _html,
    "Makefile": _makefile,
    "run": _makefile,
}


def _kind(path: Path) -> str:
    return path.suffix or path.name


def checked_files() -> list[Path]:
    """Return the files that the rules apply to, sorted."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    paths = (Path(name) for name in names.splitlines() if not EXCLUDED.fullmatch(name))
    return sorted(ROOT / path for path in paths if _kind(path) in READERS and (ROOT / path).exists())


def counts() -> dict[str, int]:
    """Return the violations per file, without files that have none."""
    found = {path.relative_to(ROOT).as_posix(): len(violations_in(path)) for path in checked_files()}
    return {name: count for name, count in found.items() if count}


@cache
def baseline() -> dict[str, int]:
    """Return the baseline. A merge may leave two lines for a file: the lower one is valid."""
    found: dict[str, int] = {}
    for line in BASELINE.read_text(encoding="utf-8").splitlines():
        name, _, count = line.rpartition(" ")
        found[name] = min(int(count), found.get(name, int(count)))
    return found


def main() -> int:
    """List violations, or rewrite the baseline; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--write", action="store_true", help="rewrite the baseline")
    arguments = parser.parse_args()
    for path in arguments.files:
        for line, message in violations_in(path.resolve()):
            print(f"{path}:{line}: {message}")
    if not arguments.write:
        return 0
    now = counts()
    if BASELINE.exists() and sum(now.values()) > sum(baseline().values()):
        print(f"{sum(now.values())} violations; the baseline allows {sum(baseline().values())}.")
        return 1
    BASELINE.write_text("".join(f"{name} {count}\n" for name, count in sorted(now.items())))
    print(f"{sum(now.values())} violations in {len(now)} files.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
