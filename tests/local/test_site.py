"""The documentation's site in Chromium: nothing is cut off, on a desktop and on a phone."""

import subprocess
from pathlib import Path

import pytest

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


def test_tables_and_code_blocks_fit(tmp_path: Path) -> None:
    # The builder that links files, so that pages open without a server.
    command = (str(SPHINX), "-q", "-b", "html", "docs", str(tmp_path))
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    pages = sorted(page for page in tmp_path.rglob("*.html") if page.stem not in {"search", "genindex"})
    assert len(pages) > 10
    cut_off: dict[str, list[str]] = {}
    with browser() as chrome:
        page = chrome.new_page()
        for file in pages:
            page.goto(file.as_uri())
            for width in (1280, 400):
                page.set_viewport_size({"width": width, "height": 900})
                if found := page.evaluate(CUT_OFF):
                    cut_off[f"{file.stem} at {width}"] = found
    assert cut_off == {}
