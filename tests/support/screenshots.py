"""`make screenshots`: pictures of the real console, for the docs.

It starts the laptop edition on the ports that the docs name, presses the buttons, and takes pictures.
"""

import sys
from pathlib import Path
from typing import Literal, NamedTuple

from playwright.sync_api import Browser

from tests.support.browser import accessibility_faults, browser, chromium, perform, wait_until_idle
from tests.support.laptop import free_environment, running

TELEPHONE = 480
FOLDER = Path(__file__).resolve().parents[2] / "docs" / "images"


class Picture(NamedTuple):
    """A picture to take: what is pressed before, on what screen, and of which part of the page.

    Sizes are in CSS pixels.
    """

    name: str
    button: str | None
    theme: Literal["light", "dark"]
    width: int
    height: int
    part: str | None = None


PICTURES = (
    Picture("console", "Get a token and call", "light", 1280, 1000),
    Picture("console-policy", "Get a token and call", "light", 1280, 1000, "li:nth-child(6)"),
    Picture("console-dark", "Change the token", "dark", 1280, 1000),
    Picture("console-narrow", "Omit the scope", "light", 390, 844),
    Picture("console-outage", "no key set yet", "light", 1280, 1000),
)


def take(started: Browser, picture: Picture, url: str, folder: Path) -> list[str]:
    """Take one picture; return what axe-core finds wrong with the page."""
    page = started.new_page(
        viewport={"width": picture.width, "height": picture.height}, color_scheme=picture.theme, reduced_motion="reduce"
    )
    page.goto(url)
    wait_until_idle(page)
    if picture.button:
        perform(page, picture.button)
    page.mouse.move(0, 0)
    if picture.width > TELEPHONE:
        page.evaluate("scrollTo(0, 0)")
    seen = page.locator(f"#steps {picture.part}") if picture.part else page
    seen.screenshot(path=folder / f"{picture.name}.png")
    faults = accessibility_faults(page)
    page.close()
    return faults


def main() -> int:
    """Take all pictures; return 1 when one of them shows a page that is not accessible."""
    if chromium() is None:
        _say("There is no Chromium here: install it, such as with apt-get install chromium.")
        return 1
    FOLDER.mkdir(exist_ok=True)
    shown = {"GATEHOUSE_AUTH_PORT": "8085", "GATEHOUSE_API_PORT": "8091"}
    with running({**free_environment(), **shown}) as laptop, browser() as started:
        laptop.wait_for_line("Everything is up")
        url = laptop.addresses.console_url
        faults = [fault for picture in PICTURES for fault in take(started, picture, url, FOLDER)]
    for fault in faults:
        _say(fault)
    _say(f"{len(PICTURES)} pictures in {FOLDER}.")
    return 1 if faults else 0


def _say(line: str) -> None:
    print(line)


if __name__ == "__main__":
    sys.exit(main())
