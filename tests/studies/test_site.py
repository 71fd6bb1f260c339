"""The documents as a site: it builds without a warning, every link leads somewhere, and a browser walks through it."""

from __future__ import annotations

import functools
import os
import posixpath
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import pytest

from tests.browser import DESKTOP, NEEDS_BROWSER, PHONE, launched_browser

if TYPE_CHECKING:
    from playwright import sync_api

ROOT = Path(__file__).parents[2]
browser = launched_browser  # a fixture


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def links(page: Path) -> set[str]:
    """What a page of the site refers to."""
    return set(re.findall(r"""<[^>]*\s(?:href|src)=["']?([^"'\s>]+)""", page.read_text(encoding="utf-8")))


@pytest.mark.slow
def test_every_link_leads_to_a_file_of_the_site_and_to_an_anchor_in_it(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert {"index.html", "start.html", "board.html", "commands.html", "reference.html"} <= {
        page.name for page in pages
    }
    broken, anchors = [], functools.cache(lambda page: set(re.findall(r"""\sid=["']?([^"'\s>]+)""", page.read_text())))
    for page in pages:
        if page.name in ("404.html", "leaderboard-page.html"):  # absolute links; made of data, and tested elsewhere
            continue
        for link in links(page):
            parts = urlsplit(link)
            if parts.scheme in ("http", "https", "data", "javascript"):
                continue
            target = site / posixpath.normpath(
                posixpath.join(page.parent.relative_to(site).as_posix(), unquote(parts.path))
            )
            target = page if not parts.path else target / "index.html" if target.is_dir() else target
            if not target.is_file() or (parts.fragment and unquote(parts.fragment) not in anchors(target)):
                broken.append(f"{page.relative_to(site)}: {link}")
    assert broken == []


@pytest.mark.slow
def test_the_reference_has_every_public_name_and_every_command(site: Path) -> None:
    import smidgen

    reference = (site / "reference.html").read_text(encoding="utf-8")
    assert [name for name in smidgen.__all__ if f"smidgen.{name}<" not in reference and name != "__version__"] == []
    assert ":class:" not in reference
    commands = (site / "commands.html").read_text(encoding="utf-8")
    scripts = re.findall(r"^(smidgen-\w+) =", (ROOT / "pyproject.toml").read_text(), flags=re.MULTILINE)
    assert [name for name in scripts if f"usage: {name}" not in commands] == []


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    handler = functools.partial(QuietHandler, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.mark.parametrize(("viewport", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")])
class TestInABrowser:
    pytestmark = NEEDS_BROWSER

    def test_a_newcomer_finds_the_way(
        self, browser: sync_api.Browser, address: str, viewport: dict[str, int], scheme: str
    ) -> None:
        context = browser.new_context(viewport=viewport, color_scheme=scheme)
        context.set_default_timeout(30_000)
        page, complaints, elsewhere = context.new_page(), [], []
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: elsewhere.append(request.url) if address not in request.url else None)
        page.goto(f"{address}/index.html")
        body = "getComputedStyle(document.body).backgroundColor"
        assert (sum(map(int, re.findall(r"\d+", page.evaluate(body))[:3])) > 600) == (scheme == "light")
        if viewport == DESKTOP:
            page.get_by_role("link", name="Leaderboard", exact=True).first.click()
            page.get_by_role("link", name="The whole page: every measure, curves and videos").click()
            assert page.title().startswith("smidgen")
            page.go_back()
        else:
            page.locator("label[for='__search']").first.click()
        page.locator(".md-search__input").fill("cue slope")
        page.locator(".md-search-result__link").first.click()
        page.wait_for_load_state()
        assert "cue slope" in page.inner_text("article").lower()
        wider = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert page.evaluate(wider) <= 0
        assert (complaints, elsewhere) == ([], [])
        context.close()
