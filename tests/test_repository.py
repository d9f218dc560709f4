"""Rules of the whole repository."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    for link in _links(page):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        if anchor:
            assert anchor in _anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_file_names_in_a_page_exist(page: Path) -> None:
    if page.name != "CHANGELOG.md":  # names former files
        names = _FILE_NAME.findall(page.read_text(encoding="utf-8"))
        assert not [name for name in names if not (ROOT / name).exists()]


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


@pytest.mark.parametrize("path", HANDLERS, ids=lambda path: path.parent.name)
def test_functions_of_handler_modules_are_short(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            is_build = isinstance(node, ast.FunctionDef) and node.name == "build"
            assert is_build or lines <= MAX_HANDLER_LINES, f"line {node.lineno}: {lines} lines"


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


def _anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    text = _FENCED.sub("", page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in _HEADING.findall(text)}
