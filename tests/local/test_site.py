"""The documentation's site in Chromium: nothing is cut off, on a desktop and on a phone."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.support.browser import browser, chromium
from tests.support.laptop import ROOT

SPHINX = ROOT / ".venv-docs" / "bin" / "sphinx-build"
CUT_OFF = """() => [...document.querySelectorAll('article table, article pre, html')]
    .filter(each => each.scrollWidth > each.clientWidth + 1 && each.clientWidth > 0)
    .map(each => `${each.tagName} ${each.scrollWidth} > ${each.clientWidth}: `
        + each.innerText.slice(0, 60))"""

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(chromium() is None, reason="Chromium is not installed"),
    pytest.mark.skipif(not SPHINX.exists(), reason="make docs has not run"),
]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    site = tmp_path_factory.mktemp("site")
    # The builder that links files, so that pages open without a server.
    command = (str(SPHINX), "-q", "-b", "html", "docs", str(site))
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    return sorted(page for page in site.rglob("*.html") if page.stem not in {"search", "genindex"})


@pytest.fixture(scope="module")
def chrome() -> Iterator[Browser]:
    with browser() as started:
        yield started


@pytest.mark.parametrize("width", [1280, 400])
def test_tables_and_code_blocks_fit(pages: list[Path], chrome: Browser, width: int) -> None:
    assert len(pages) > 10
    page = chrome.new_page(viewport={"width": width, "height": 900})
    cut_off: dict[str, list[str]] = {}
    for file in pages:
        page.goto(file.as_uri())
        found = page.evaluate(CUT_OFF)
        if found:
            cut_off[file.stem] = found
    page.close()
    assert cut_off == {}
