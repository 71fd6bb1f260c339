"""The page of a check: its bytes, and how it looks in a real browser, wide, on a phone and in the dark."""

from __future__ import annotations

from pathlib import Path

import pytest
from check_sets import write_set

from smidgen.evaluation.check.command import main
from tests.browser import (
    CUT_TEXT,
    DESKTOP,
    NEEDS_BROWSER,
    PHONE,
    Visit,
    launched_browser,  # noqa: F401  (the fixture ``browser``)
)

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is in the test extra")
CODES = {"Sees": 0, "SeesByChunk": 0, "FollowsState": 3}


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[str, Path]:
    """The page of each policy; the second one's name tries to be markup."""
    folder = tmp_path_factory.mktemp("pages")
    data = write_set(folder / "<b>theirs & more.hdf5")
    for policy, code in CODES.items():
        assert main([f"data={data}", f"out={folder / policy}", f"policy=check_policies:{policy}"]) == code
    return {policy: folder / policy / "check.html" for policy in CODES}


def test_names_are_shown_and_are_no_markup(pages):
    html = pages["Sees"].read_text()
    assert "&lt;b&gt;theirs &amp; more.hdf5" in html
    assert "<b>theirs" not in html


def test_a_page_of_a_table_of_predictions_has_no_probes(tmp_path, pages):
    import numpy as np

    np.savez(tmp_path / "mine.npz", episode=np.arange(12), step=np.zeros(12, int), prediction=np.zeros((12, 2)))
    data = next(pages["Sees"].parent.parent.glob("*.hdf5"))
    assert main([f"data={data}", f"out={tmp_path / 'out'}", f"predictions={tmp_path / 'mine.npz'}"]) == 3
    html = (tmp_path / "out" / "check.html").read_text()
    assert "mine.npz does not use its cameras" in html, "it always answers the same"
    assert "grey frames" not in html.lower()


class TestInABrowser:
    pytestmark = NEEDS_BROWSER

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    @pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["wide", "phone"])
    @pytest.mark.parametrize("policy", CODES)
    def test_nothing_is_cut_asked_for_or_complained_of(self, browser, pages, policy, viewport, scheme):
        visited = Visit(browser, pages[policy], viewport=viewport, color_scheme=scheme)
        assert visited.page.evaluate(CUT_TEXT) == []
        assert visited.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert visited.complaints == []
        assert {url.split(":")[0] for url in visited.requests} <= {"file", "data"}
        broken = "[...document.images].filter((each) => !each.complete || !each.naturalWidth).length"
        assert visited.page.evaluate(broken) == 0
        visited.context.close()

    def test_the_first_screen_has_the_answer_the_cameras_and_what_to_try(self, browser, pages):
        visited = Visit(browser, pages["Sees"])
        for text in ("sees uses its cameras to decide what to do", "Ignored: wrist.", "How sure:", "What to try first"):
            box = visited.page.get_by_text(text).first.bounding_box()
            assert box["y"] + box["height"] <= DESKTOP["height"], text
        visited.context.close()

    def test_the_decision_has_its_colour_and_the_slope_stands_in_its_band(self, browser, pages):
        visited = Visit(browser, pages["Sees"])
        place = "(mark) => mark.getBoundingClientRect().x"
        mark = visited.page.locator(".how-sure circle").evaluate(place)
        sees = visited.page.locator(".how-sure rect.sees").evaluate(place)
        assert mark > sees
        assert visited.page.locator("h1.sees").count() == 1
        visited.context.close()
