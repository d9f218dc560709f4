"""The console in a real browser: display, buttons and announcements; no request to other hosts."""

from collections.abc import Iterator
from typing import NamedTuple

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, Route

from tests.support.browser import accessibility_faults, browser, chromium, perform, wait_until_idle
from tests.support.laptop import Laptop

pytestmark = pytest.mark.browser

RUN = "Get a token and call"
NARROWEST = 320


class Scene(NamedTuple):
    """A button, the last title, and a text of the steps."""

    button: str
    end: str
    text: str


SCENES = (
    Scene(RUN, "200 OK", "The policy names every route that its scopes open"),
    Scene("Expire the token", "401 Unauthorized", "The token has expired"),
    Scene("Change the token", "401 Unauthorized", "The signature is not valid for the named key"),
    Scene("Omit the scope", "403 Forbidden", "its scopes open no route"),
    Scene("Rotate the keys", "200 OK", "The authorizer fetches the key set and caches it."),
    Scene("a fresh key set", "200 OK", "and not fetched"),
    Scene("a stale key set", "200 OK", "is stale, and used while the endpoint is down"),
    Scene("no key set yet", "500 Internal Server Error", "The issuer's key set cannot be fetched"),
    Scene("Restore it", "200 OK", "The authorizer fetches the key set and caches it."),
)
KINDS = (("jwt", "200 OK"), ("at+jwt", "200 OK"), ("opaque", "200 OK"), ("dpop", "200 OK"), ("mtls", "200 OK"))


@pytest.fixture(scope="module")
def started() -> Iterator[Browser]:
    """One browser for these tests; they are skipped without the system's Chromium."""
    if chromium() is None:
        pytest.skip("No Chromium is installed here (apt-get install chromium).")
    with browser() as started:
        yield started


@pytest.fixture
def page(started: Browser, laptop: Laptop) -> Iterator[Page]:
    """The console's page. An error in its log or a request to another host fails the test.

    Afterwards the JWKS endpoint is restored.
    """
    url = laptop.addresses.console_url
    context = started.new_context(reduced_motion="reduce", permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    problems: list[str] = []

    def note_message(message: ConsoleMessage) -> None:
        problems.append(message.text)

    def note_request(request: Request) -> None:
        if not request.url.startswith(f"{url}/"):
            problems.append(f"requests {request.url}")

    page.on("console", note_message)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", note_request)
    page.goto(url)
    wait_until_idle(page)
    yield page
    if page.locator("#down").is_visible():
        perform(page, "Restore it")
    context.close()
    assert not problems


def title(page: Page) -> str | None:
    return page.locator("#now-title").text_content()


def test_every_scene_ends_as_expected(page: Page) -> None:
    assert accessibility_faults(page) == []
    for scene in SCENES:
        perform(page, scene.button)
        assert title(page) == scene.end, scene.button
        assert scene.text in (page.locator("#steps").text_content() or ""), scene.button
        assert accessibility_faults(page) == [], scene.button


@pytest.mark.parametrize("button", [RUN, "no key set yet"])
def test_dark_and_narrow_page_is_accessible(page: Page, button: str) -> None:
    page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    page.set_viewport_size({"width": NARROWEST, "height": 640})
    perform(page, button)
    page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    assert accessibility_faults(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") == NARROWEST


def test_each_kind_of_token(page: Page) -> None:
    for kind, end in KINDS:
        page.get_by_label("Kind of token", exact=True).select_option(kind)
        perform(page, RUN)
        assert title(page) == end, kind


def test_second_call_uses_the_cached_policy(page: Page) -> None:
    perform(page, RUN)
    perform(page, "Call again with the same token")
    assert "The authorizer is not called." in (page.locator("#steps").text_content() or "")
    assert title(page) == "200 OK"


def test_matched_key_and_resource_are_highlighted(page: Page) -> None:
    perform(page, RUN)
    matched = page.locator("tr.matched").all_text_contents()
    kid = page.locator("pre", has_text='"kid"').first.text_content() or ""
    assert matched[0].partition("RS256")[0] in kid
    assert matched[1] == "AllowGET/country/code/*← this request"


def test_keyboard_is_enough_and_retains_focus(page: Page) -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the steps"
    page.get_by_role("button", name=RUN).focus()
    page.keyboard.press("Enter")
    page.locator("#now-title", has_text="200 OK").wait_for()
    wait_until_idle(page)
    assert page.evaluate("document.activeElement.textContent") == RUN
    perform(page, "no key set yet")
    page.get_by_role("button", name="Restore it").press("Enter")
    page.wait_for_selector("#down", state="hidden")
    wait_until_idle(page)
    assert page.evaluate("document.activeElement.id") == "break-title"


def test_steps_are_announced_to_screen_readers(page: Page) -> None:
    assert page.get_by_role("status").get_attribute("id") == "now"
    perform(page, RUN)
    spoken = page.get_by_role("status").text_content() or ""
    assert "guarded API → client" in spoken
    assert "200 OK" in spoken


def test_curl_command_is_copied(page: Page) -> None:
    perform(page, RUN)
    page.get_by_role("button", name="Copy as curl").last.click()
    page.get_by_text("Copied", exact=True).wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == page.locator(".curl pre").last.text_content()
    assert copied.startswith("curl -i ")


def test_messages_are_animated(page: Page) -> None:
    page.emulate_media(reduced_motion="no-preference")
    page.get_by_role("button", name=RUN).click()
    page.wait_for_selector('.message.on[data-way="client auth"]')
    page.wait_for_selector('.message.on[data-way="auth client"]')
    page.emulate_media(reduced_motion="reduce")
    wait_until_idle(page)
    assert title(page) == "200 OK"


def test_sender_constrained_tokens(page: Page) -> None:
    for kind in ("dpop", "mtls"):
        page.get_by_label("Kind of token", exact=True).select_option(kind)
        for button, end in (
            (RUN, "200 OK"),
            ("Call again with the same token", "200 OK"),
            ("Omit the scope", "403 Forbidden"),
            ("Change the token", "401 Unauthorized"),
            ("a fresh key set", "200 OK"),
            ("no key set yet", "500 Internal Server Error"),
            ("Restore it", "200 OK"),
        ):
            perform(page, button)
            assert title(page) == end, (kind, button)


def test_rejected_valid_token_is_not_called_invalid(page: Page) -> None:
    """The page sends a DPoP-bound token without a proof."""
    page.get_by_label("Kind of token", exact=True).select_option("dpop")

    def send_as_bearer(route: Route) -> None:
        sent = route.request.post_data or ""
        route.continue_(post_data=sent.replace('"scheme":"DPoP"', '"scheme":"Bearer"'))

    page.route("**/tasks/call", send_as_bearer)
    perform(page, RUN)
    assert title(page) == "401 Unauthorized"
    sentence = page.locator("#now-sentence").text_content() or ""
    assert "not because the token is invalid" in sentence
    steps = page.locator("#steps").text_content() or ""
    assert "no good" not in steps + sentence
    page.unroute("**/tasks/call")
    perform(page, "Expire the token")
    assert "rejects the token" in (page.locator("#now-sentence").text_content() or "")


@pytest.mark.parametrize("by", ["button", "key"])
def test_animation_can_be_skipped(page: Page, by: str) -> None:
    page.emulate_media(reduced_motion="no-preference")
    skip = page.get_by_role("button", name="Skip the animation")
    assert skip.get_attribute("aria-disabled") == "true"
    page.clock.install()  # the clock is stopped: without a skip, no second step appears
    page.get_by_role("button", name=RUN).click()
    page.locator("#steps li").first.wait_for()
    assert page.locator("#steps li").count() == 1
    if by == "button":
        skip.click()
    else:
        page.keyboard.press("Escape")
    wait_until_idle(page)
    assert title(page) == "200 OK"
    page.clock.resume()
    assert skip.get_attribute("aria-disabled") == "true"


@pytest.mark.parametrize("task", ["token", "call"])
def test_error_clears_earlier_results(started: Browser, laptop: Laptop, task: str) -> None:
    context = started.new_context(reduced_motion="reduce")
    page = context.new_page()
    page.goto(laptop.addresses.console_url)
    wait_until_idle(page)
    perform(page, RUN)
    page.route(f"**/tasks/{task}", lambda route: route.abort())
    perform(page, RUN)
    assert title(page) == "The task failed"
    assert page.locator("#steps li").count() == 0
    assert page.locator("#no-steps").is_visible()
    assert page.locator(".message.on, .actor.on").count() == 0
    # Only a token of the failed run itself can be used again.
    again = page.get_by_role("button", name="Call again with the same token")
    assert again.get_attribute("aria-disabled") == str(task == "token").lower()
    context.close()
