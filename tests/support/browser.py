"""The system's Chromium, driven by Playwright, and axe-core to look at a page with."""

import contextlib
import shutil
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}


def chromium() -> str | None:
    """Return the path of the system's Chromium or Chrome, if there is one."""
    return next(filter(None, map(shutil.which, _NAMES)), None)


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """Start the system's Chromium without a window."""
    with sync_playwright() as playwright:
        # Containers have no user namespaces to build its sandbox with, and little shared memory.
        options = ["--no-sandbox", "--disable-dev-shm-usage"]
        started = playwright.chromium.launch(executable_path=chromium(), args=options)
        try:
            yield started
        finally:
            started.close()


def wait_until_idle(page: Page) -> None:
    """Return when the console's scene is over."""
    page.wait_for_selector('body[data-busy="false"]')


def perform(page: Page, button: str) -> None:
    """Press one of the console's buttons and wait until its scene is over."""
    page.get_by_role("button", name=button, exact=True).click()
    wait_until_idle(page)


def accessibility_faults(page: Page) -> list[str]:
    """Return axe-core's findings about the current page, with their elements."""
    page.evaluate(_axe())
    found: list[dict[str, Any]] = page.evaluate(
        "rules => axe.run(document, rules).then(results => results.violations)", _RULES
    )
    return [
        f"{fault['id']}: {fault['help']}: {node['target']} {node['failureSummary']}"
        for fault in found
        for node in fault["nodes"]
    ]


@cache
def _axe() -> str:
    return (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")
