"""Debian's Chromium, driven by Playwright, for the tests of our pages; install/browser.py installs it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright import sync_api

BROWSER = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}
# Text that is wider than the box it stands in, and no part that may scroll around it.
CUT_TEXT = """[...document.querySelectorAll('td, th, .bar-name, .bar-value, .chips span, figcaption, .badge')]
    .filter((part) => part.scrollWidth > part.clientWidth + 1 && !part.matches('.seed-grid td, .hidden *') &&
        getComputedStyle(part).display !== 'inline' && part.clientWidth)
    .map((part) => `${part.className}: ${part.textContent.trim()}`)"""
NEEDS_BROWSER = [
    pytest.mark.skipif(not os.access(BROWSER, os.X_OK), reason=f"no {BROWSER}: python install/browser.py says why"),
    pytest.mark.slow,
]


@pytest.fixture(scope="module", name="browser")
def launched_browser() -> Iterator[sync_api.Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=BROWSER, headless=True, args=FLAGS)
        yield launched
        launched.close()


class Visit:
    """A page that was opened, with all that it complained of and asked for."""

    def __init__(self, browser: sync_api.Browser, address: Path, **options: object) -> None:
        self.context = browser.new_context(**{"viewport": DESKTOP, "color_scheme": "light", **options})
        self.context.set_default_timeout(30_000)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(address.as_uri())
