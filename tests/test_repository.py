"""Rules of the whole repository."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests import conftest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]

_FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_CODE = re.compile(r"`[^`\n]*`")
_FILE_NAME = re.compile(r"`((?:authorizer|docs|functions|infra|local|tests)/[\w/.-]+\.\w+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def test_nothing_that_git_ignores_is_tracked() -> None:
    command = ["git", "ls-files", "--cached", "--ignored", "--exclude-standard"]
    assert not subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout


def test_units_of_the_tests_are_files() -> None:
    named = conftest.STARTS | conftest.ARTIFACTS | {*conftest.FIRST} - {"laptop"}
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_links_and_file_names_of_pages_exist() -> None:
    assert not [f"{page.relative_to(ROOT)}: {fault}" for page in PAGES for fault in _missing(page)]


def _missing(page: Path) -> Iterator[str]:
    """Yield the links of a page that lead nowhere, and its names of files that do not exist."""
    for link in _links(page):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            yield link
    if page.name != "CHANGELOG.md":  # names former files
        names = _FILE_NAME.findall(page.read_text(encoding="utf-8"))
        yield from (name for name in names if not (ROOT / name).exists())


def test_every_page_of_the_docs_is_linked_from_another() -> None:
    linked = {
        (page.parent / link.partition("#")[0]).resolve()
        for page in PAGES
        for link in _links(page)
        if not link.startswith("#")
    }
    assert set(ROOT.glob("docs/**/*.md")) - linked == {ROOT / "docs" / "index.md"}


HANDLERS = sorted([*ROOT.glob("functions/*/handler.py"), ROOT / "authorizer" / "handler.py"])
MAX_HANDLER_LINES = 40
FRAMEWORKS = {
    "adapters/chalice.py": {"chalice"},
    "adapters/fastapi.py": {"fastapi", "starlette"},
    "adapters/mcp.py": {"mcp"},
    "adapters/powertools.py": {"aws_lambda_powertools"},
    "pytest_plugin.py": {"pytest"},
}


def test_authorizer_needs_only_cryptography() -> None:
    allowed = {"cryptography", "_typeshed", *sys.stdlib_module_names}  # _typeshed: for type checkers only
    folder = ROOT / "authorizer"
    modules = {path.relative_to(folder).as_posix(): _imported(path) - allowed for path in folder.rglob("*.py")}
    assert {name: packages for name, packages in modules.items() if packages} == FRAMEWORKS


def test_functions_of_handler_modules_are_short() -> None:
    for path in HANDLERS:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                is_build = isinstance(node, ast.FunctionDef) and node.name == "build"
                assert is_build or lines <= MAX_HANDLER_LINES, f"{path}, line {node.lineno}: {lines} lines"


def _imported(path: Path) -> set[str]:
    """Return the top-level packages that a module imports absolutely, anywhere in its text."""
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.append(node.module)
    return {name.partition(".")[0] for name in names}


def _links(page: Path) -> list[str]:
    """Return the links of a page within the repository."""
    text = _CODE.sub("", _FENCED.sub("", page.read_text(encoding="utf-8")))
    return [link for link in _LINK.findall(text) if "://" not in link]


@cache
def _anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    text = _FENCED.sub("", page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in _HEADING.findall(text)}
