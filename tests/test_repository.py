"""Rules of the whole repository."""

import re
import subprocess
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


def _links(page: Path) -> list[str]:
    """Return the links of a page within the repository."""
    text = _CODE.sub("", _FENCED.sub("", page.read_text(encoding="utf-8")))
    return [link for link in _LINK.findall(text) if "://" not in link]


def _anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    text = _FENCED.sub("", page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in _HEADING.findall(text)}
