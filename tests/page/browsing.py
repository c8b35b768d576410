"""A browser, wherever it is, and visits to pages from their files, without a network."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

ON_PATH = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "microsoft-edge",
    "microsoft-edge-stable",
)
ON_MACOS = [f"/Applications/{one}.app/Contents/MacOS/{one}" for one in ("Google Chrome", "Chromium", "Microsoft Edge")]
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
NO_BROWSER = "no browser: install Chromium, Chrome or Edge, or set CHROME to where one is"
NO_DRIVER = "no browser: playwright, which drives it, does not start; install playwright anew"
PATIENCE = 60_000  # milliseconds for what takes one second on a machine that does nothing else

expect.set_options(timeout=PATIENCE / 2)


def go_without(sentence: str) -> NoReturn:
    """Skip what needs a browser; under CI, whose machines are to have one, fail."""
    if os.environ.get("CI") == "true":
        pytest.fail(sentence, pytrace=False)
    pytest.skip(sentence)


def find_browser() -> str:
    """The browser that CHROME names by its path or its name; without CHROME, the first that is there."""
    if named := os.environ.get("CHROME"):
        return shutil.which(named) or pytest.fail(f"CHROME leads nowhere: there is no program {named}", pytrace=False)
    return next(filter(None, map(shutil.which, (*ON_PATH, *ON_MACOS))), None) or go_without(NO_BROWSER)


@contextmanager
def running_browser() -> Iterator[Browser]:
    place = find_browser()
    try:
        playwright = sync_playwright().start()
    except Exception:  # whatever it came upon: playwright says it in its own words or in those of asyncio
        go_without(NO_DRIVER)
    try:
        browser = playwright.chromium.launch(executable_path=place, args=FLAGS.split(), timeout=PATIENCE)
        yield browser
        browser.close()
    finally:
        playwright.stop()


class Visits:
    """Pages opened without a network, and whatever they have asked for or complained of."""

    def __init__(self, browser):
        self.browser, self.contexts, self.allowed, self.messages = browser, [], set(), []

    def __call__(self, file, width=1280, **options):
        """Open a page and wait until it answers; it scrolls at once, so that nothing is sought where it was."""
        view = {"width": width, "height": 900}
        context = self.browser.new_context(viewport=view, offline=True, reduced_motion="reduce", **options)
        context.set_default_timeout(PATIENCE)
        self.contexts.append(context)
        page = context.new_page()
        page.route("**/*", self.inspect)
        page.on("console", lambda message: self.messages.append(message.text))
        page.on("pageerror", lambda error: self.messages.append(str(error)))
        page.on("dialog", self.refuse)
        address = Path(file).resolve().as_uri()
        self.allowed.add(address)
        page.goto(address)
        if options.get("java_script_enabled", True):
            wait_until_ready(page)
        return page

    def inspect(self, route):
        if not route.request.url.startswith(("data:", "blob:")) and route.request.url not in self.allowed:
            self.messages.append(f"asked for {route.request.url}")
            route.abort()
        else:
            route.continue_()

    def refuse(self, dialog):
        self.messages.append(dialog.message)
        dialog.dismiss()

    def check(self):
        """Fail if a page has asked for anything or complained of anything since it was last checked."""
        messages, self.messages = self.messages, []
        assert not messages, messages

    def end(self):
        for context in self.contexts:
            context.close()
        self.check()


def wait_until_ready(page):
    page.wait_for_selector("html[data-ready]", state="attached")


def wait_for_frame(page):
    """Wait for the next frame; whatever was to be drawn before it has been drawn."""
    page.evaluate("() => new Promise(requestAnimationFrame)")
