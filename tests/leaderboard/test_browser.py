"""The page in a real browser: it loads from a disk without a network, sorts, filters, plays, and looks as it should.

Debian's Chromium, driven by Playwright; skipped with the reason where it is not installed (install/browser.py).
``python tests/leaderboard/test_browser.py NEW_FOLDER`` writes the reference picture anew.
"""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.browser import (
    BROWSER,
    CUT_TEXT,
    DESKTOP,
    FLAGS,
    NEEDS_BROWSER,
    PHONE,
    Visit,
    launched_browser,  # noqa: F401  (the fixture ``browser``)
)

HERE = Path(__file__).parent
REFERENCE = HERE / "page_reference.png"
# Each with the largest mean difference in grey levels: half a pixel's shift stays below it, a chart without its marks
# (thin lines, in the last two) is above it.
PARTS = {
    "#task-1 .bars-figure": 5.0,
    "#task-1 .collapse": 5.0,
    "#task-1 .seed-grid": 8.0,
    ".heat": 5.0,
    ".demonstrations": 0.5,
}
TILE_PX = (10, 6)
# Fonts differ between machines, and what stands beside text moves with it: the pictures are taken without any.
WITHOUT_TEXT = "body * { font-size: 0 !important; line-height: 0 !important }"

pytestmark = NEEDS_BROWSER
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is in the test extra")


def build_site(folder: Path) -> Path:
    """The page of records with all its parts, with videos as `smidgen-eval` writes them; returns the site."""
    from leaderboard_records import rich_records, write

    from smidgen.evaluation.videos import write_video
    from smidgen.leaderboard.command import leaderboard
    from studies.claims.__main__ import report
    from studies.claims.round_two import FOLDER

    look = folder / "saliency" / "lift-raw-400-2000000-input.mp4"
    # Videos of records of version 1 carry no mark.
    write_video(look, [np.full((64, 64, 3), 20 * shade, dtype=np.uint8) for shade in range(12)], True, 20, mark="")
    (folder / "videos").mkdir()
    for record in rich_records():
        write(folder / "results", record)
        for video in record["videos"][:-1]:
            shutil.copyfile(look, folder / "videos" / video["file"])
    claims = folder / "claims.html"
    report([f"results={FOLDER}", f"html={claims}"])
    leaderboard([f"results={folder / 'results'}", f"site={folder / 'site'}", f"claims={claims}"])
    return folder / "site"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_site(tmp_path_factory.mktemp("site"))


@pytest.fixture
def visit(browser: sync_api.Browser, site: Path) -> Iterator[Visit]:
    visited = Visit(browser, site / "index.html")
    yield visited
    visited.context.close()
    # A video that is not there is asked for and not found; nothing else may go wrong.
    assert [line for line in visited.complaints if "ERR_FILE_NOT_FOUND" not in line] == []
    assert {url.split(":")[0] for url in visited.requests} <= {"file", "data"}


def names(page: sync_api.Page) -> list[str]:
    rows = page.locator("#task-1 .board tbody").first.locator("tr:visible .policy > span")
    return [text.split("\n")[0] for text in rows.all_inner_texts()]


def column(page: sync_api.Page, title: str) -> sync_api.Locator:
    return page.locator("#task-1 .board thead th[data-first]").filter(has_text=title)


def test_it_loads_without_a_complaint_and_asks_for_no_video_before_one_is_played(visit: Visit, site: Path) -> None:
    visit.page.wait_for_load_state("networkidle")
    assert visit.complaints == []
    assert {url.removeprefix(site.as_uri()) for url in visit.requests if not url.startswith("data:")} == {"/index.html"}
    visit.page.locator("#task-1 .seed-grid td.video").first.click()
    playing(visit.page)
    assert any(url.startswith(f"{site.as_uri()}/videos/") for url in visit.requests)


OVERLAPS = """[...document.querySelectorAll('.band-names div, .bar, .bar-axis div')].flatMap((line) => {
    const boxes = [...line.children].map((part) => [part.textContent, part.getBoundingClientRect()])
        .filter(([text, box]) => box.width && box.height && text.trim());
    return boxes.flatMap(([text, a], index) => boxes.slice(index + 1)
        .filter(([, b]) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 &&
            Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1)
        .map(([other]) => `${text} over ${other}`));
})"""
SILENT_SCROLLS = """[...document.querySelectorAll('.scroll')]
    .filter((part) => part.checkVisibility() && part.scrollWidth > part.clientWidth)
    .filter((part) => !part.previousElementSibling.checkVisibility() ||
        !part.previousElementSibling.textContent.includes('Scroll sideways'))
    .map((part) => part.getAttribute('aria-label') ?? part.className)"""


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_no_text_is_cut_no_labels_overlap_and_what_scrolls_says_so(
    browser: sync_api.Browser, site: Path, viewport: dict[str, int]
) -> None:
    visited = Visit(browser, site / "index.html", viewport=viewport)
    visited.page.add_style_tag(content=".seed-scroll { content-visibility: visible !important }")
    visited.page.wait_for_timeout(300)
    assert visited.page.evaluate(CUT_TEXT) == []
    assert visited.page.evaluate(OVERLAPS) == []
    assert visited.page.evaluate(SILENT_SCROLLS) == []
    visited.context.close()


def test_every_seed_of_a_full_entry_fits_a_desktop(browser: sync_api.Browser, tmp_path: Path) -> None:
    from leaderboard_records import build_record, write

    from smidgen.leaderboard.command import leaderboard

    write(tmp_path / "results", build_record("perceiver-dft3d", [index % 3 > 0 for index in range(200)]))
    leaderboard([f"results={tmp_path / 'results'}"])
    visited = Visit(browser, tmp_path / "leaderboard.html")
    grid = visited.page.locator(".seed-scroll")
    grid.scroll_into_view_if_needed()
    assert visited.page.locator(".seed-grid td:not(.total)").count() == 200
    assert grid.evaluate("(part) => part.scrollWidth - part.clientWidth") == 0
    assert visited.page.get_by_text("to watch it").count() == 0
    visited.context.close()


def test_the_claims_page_leads_to_each_claim(browser: sync_api.Browser, site: Path) -> None:
    visited = Visit(browser, site / "claims.html", viewport=PHONE)
    links = visited.page.get_by_role("navigation").get_by_role("link")
    assert [link.inner_text() for link in links.all()] == [f"C{number}" for number in range(1, 8)]
    links.last.click()
    heading = visited.page.locator("#C7 h2")
    assert heading.bounding_box()["y"] < PHONE["height"] / 2
    visited.context.close()


def test_a_column_sorts_by_click_and_by_enter(visit: Visit) -> None:
    assert names(visit.page) == ["dft3d", "raw-400", "raw-100", "raw-25"]
    demos = column(visit.page, "Demos")
    demos.get_by_role("button").click()
    assert demos.get_attribute("aria-sort") == "descending"
    assert names(visit.page) == ["raw-400", "raw-100", "dft3d", "raw-25"]
    demos.get_by_role("button").press("Enter")
    assert demos.get_attribute("aria-sort") == "ascending"
    assert names(visit.page) == ["raw-25", "dft3d", "raw-100", "raw-400"]
    assert visit.page.locator("#task-1 .board [aria-sort]").count() == 1


def test_filters_hide_a_policy_everywhere_in_its_task(visit: Visit) -> None:
    section = visit.page.locator("#task-1")
    section.get_by_placeholder("Filter policies").fill("raw-4")
    assert names(visit.page) == ["raw-400"]
    assert section.locator(".count").inner_text() == "1 of 6 rows"
    assert section.locator(".seed-grid tr:visible").count() == section.locator(".collapse .bar:visible").count() == 1
    section.get_by_placeholder("Filter policies").fill("")
    section.locator("select[name=transform]").select_option("dft3d")
    assert names(visit.page) == ["dft3d"]
    section.locator("select[name=transform]").select_option("")
    section.get_by_label("References").uncheck()
    assert section.locator(".board tr[data-reference=yes]:visible").count() == 0
    assert visit.page.locator("#task-0 .board tr[data-reference=yes]:visible").count() == 2


def wait_until(page: sync_api.Page, condition: str) -> None:
    """Asks again and again; Playwright's own wait evaluates strings in the page, which the page's policy forbids."""
    for _ in range(300):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(100)
    pytest.fail(f"not true within 30 s: {condition}")


def playing(page: sync_api.Page) -> str:
    """Waits until the player's video runs and returns its title."""
    wait_until(page, "document.querySelector('.player[open] video')?.currentTime > 0.2")
    return page.locator("#player-title").inner_text()


def test_a_click_on_a_recorded_episode_plays_it(visit: Visit) -> None:
    visit.page.locator("#task-1 .seed-grid td.video").nth(1).click()
    assert playing(visit.page) == "dft3d-seed0, seed 3000001: success after 50 steps"
    visit.page.get_by_role("button", name="Close").click()
    assert visit.page.locator(".player video").count() == 0
    assert not visit.page.locator(".player").is_visible()


def test_the_keyboard_walks_over_the_seeds_and_plays(visit: Visit) -> None:
    page = visit.page
    page.locator("#task-1 .seed-grid td[tabindex='0']").focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowDown", "ArrowRight", "ArrowRight", "ArrowLeft"):
        page.keyboard.press(key)
    focused = page.locator("#task-1 .seed-grid td:focus")
    assert focused.get_attribute("aria-label") == "raw-400, seed 3000001: success after 50 steps, video"
    # Tab reaches one cell of the grid, not each.
    assert page.locator("#task-1 .seed-grid td[tabindex='0']").count() == 1
    page.keyboard.press("Enter")
    assert playing(page) == "raw-400, seed 3000001: success after 50 steps"
    page.keyboard.press("Escape")
    assert not page.locator(".player").is_visible()
    assert focused.count() == 1


def test_an_episode_without_a_video_says_so(visit: Visit) -> None:
    visit.page.locator("#task-1 .seed-grid tr").nth(4).locator("td").nth(2).click()
    readout = visit.page.locator("[data-readout=task-1]").inner_text()
    assert readout.startswith("raw-100, seed 3000002: ")
    assert readout.endswith(" No video of this episode was kept.")
    assert not visit.page.locator(".player").is_visible()


def test_a_video_that_was_lost_says_where_it_was_expected(visit: Visit, site: Path, tmp_path: Path) -> None:
    (tmp_path / "alone.html").write_bytes((site / "index.html").read_bytes())
    visit.page.goto((tmp_path / "alone.html").as_uri())
    visit.page.locator("#task-1 .seed-grid td.video").first.click()
    gone = visit.page.locator(".player-gone")
    gone.wait_for()
    assert gone.inner_text() == "The video is not beside this page (expected at videos/lift-dft3d-3000000.mp4)."


def test_every_video_can_be_decoded(visit: Visit) -> None:
    page = visit.page
    page.get_by_role("button", name="Play all").first.click()
    wait_until(page, "[...document.querySelectorAll('#task-0 video')].every((clip) => clip.currentTime > 0)")
    assert page.locator("#task-0 .videos video").count() == 3


def test_a_policy_s_saliency_plays_from_its_row(visit: Visit) -> None:
    visit.page.get_by_role("link", name="what it looks at").click()
    assert playing(visit.page) == "raw-400: what it looks at, seed 2000000 (input)"


def ground(page: sync_api.Page) -> str:
    return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))


def test_the_button_turns_the_page_dark_and_back(visit: Visit) -> None:
    assert ground(visit.page) == "rgb(251, 250, 248)"
    visit.page.get_by_role("button", name="Dark").click()
    assert ground(visit.page) == "rgb(19, 20, 22)"
    visit.page.get_by_role("button", name="Light").click()
    assert ground(visit.page) == "rgb(251, 250, 248)"
    visit.page.emulate_media(color_scheme="dark")
    assert ground(visit.page) == "rgb(251, 250, 248)"


@pytest.mark.parametrize("name", ["index.html", "claims.html"])
def test_nothing_is_wider_than_a_phone(browser: sync_api.Browser, site: Path, name: str) -> None:
    visited = Visit(browser, site / name, viewport=PHONE)
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert visited.page.evaluate(wide) == 0
    assert visited.page.locator("h1").is_visible()
    visited.context.close()


def test_focus_shows_and_motion_can_be_refused(browser: sync_api.Browser, site: Path) -> None:
    visited = Visit(browser, site / "index.html", reduced_motion="reduce")
    page = visited.page
    page.keyboard.press("Tab")
    assert page.locator(".skip:focus").is_visible()
    page.locator("#task-0 .board thead button").first.focus()
    page.keyboard.press("Tab")
    focused = "getComputedStyle(document.activeElement)"
    assert page.evaluate(f"{focused}.outlineStyle") == "solid"
    page.locator("#task-1 .seed-grid td.video").first.click()
    assert page.locator(".player video").evaluate("(clip) => clip.loop") is False
    assert page.locator(".curve").first.evaluate("(curve) => getComputedStyle(curve).transitionDuration") == "0s"
    visited.context.close()


def test_without_a_script_everything_but_the_play_is_there(browser: sync_api.Browser, site: Path) -> None:
    visited = Visit(browser, site / "index.html", java_script_enabled=False)
    assert visited.page.locator("#task-1 .board tbody tr:visible").count() == 7
    assert not visited.page.locator("#task-1 .tools").is_visible()
    assert not visited.page.locator(".theme").is_visible()
    visited.context.close()


def tiles(browser: sync_api.Browser, address: Path, color_scheme: str) -> np.ndarray:
    """The parts of `PARTS` beside each other, each shrunk to a tile: uint8 (rows, columns, 3)."""
    visited = Visit(browser, address, color_scheme=color_scheme, reduced_motion="reduce")
    visited.page.add_style_tag(content=WITHOUT_TEXT)
    shots = [visited.page.locator(part).first.screenshot() for part in PARTS]
    visited.context.close()
    images = [Image.open(io.BytesIO(shot)).convert("RGB") for shot in shots]
    return np.concatenate([np.asarray(image.resize(TILE_PX, Image.Resampling.BOX)) for image in images], axis=1)


def differences(seen: np.ndarray, wanted: np.ndarray) -> list[float]:
    """Mean difference of each tile, in grey levels."""
    apart = np.abs(seen.astype(float) - wanted).mean(axis=(0, 2))
    return [float(part.mean()) for part in np.split(apart, len(PARTS))]


def test_it_looks_as_it_did(browser: sync_api.Browser, site: Path) -> None:
    wanted = np.asarray(Image.open(REFERENCE))
    light, dark = (differences(tiles(browser, site / "index.html", scheme), wanted) for scheme in ("light", "dark"))
    assert [part for part, found in zip(PARTS, light, strict=True) if found > PARTS[part]] == []
    assert [part for part, found in zip(PARTS, dark, strict=True) if found <= PARTS[part]] == []


def write_reference(folder: Path) -> None:
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=BROWSER, headless=True, args=FLAGS)
        Image.fromarray(tiles(launched, build_site(folder) / "index.html", "light")).save(REFERENCE, optimize=True)
        launched.close()


if __name__ == "__main__":
    write_reference(Path(sys.argv[1]))
