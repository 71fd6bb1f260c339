"""The page's structure, escaping, determinism and contrast; a browser is not needed."""

import base64
import hashlib
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from html_page import Page
from leaderboard_records import (
    REFERENCES,
    TEST_SEEDS_START,
    build_record,
    demo_records,
    judged,
    seed_record,
    training_curve,
    unmeasured,
    video_entries,
)

from smidgen.evaluation.records import Record
from smidgen.leaderboard import page as page_module
from smidgen.leaderboard.columns import COLUMNS
from smidgen.leaderboard.page import render_page
from smidgen.leaderboard.page_entries import assign_colours
from smidgen.leaderboard.ranking import rank_runs
from smidgen.leaderboard.rows import Run
from smidgen.runtime.charts import nice_interval, path_data, step_axis, thinned, value_axis
from smidgen.runtime.look import page_style

EVIL = '</script><script>alert(1)</script><img src=x onerror=alert(2)>" onmouseover="alert(3)\' <!-- {{ 7*7 }}'


def render(*records: Record) -> str:
    rows = [Run(f"{record['policy']['name']}.json", "0" * 64, record) for record in records]
    return render_page(rank_runs(rows), Path("outputs/leaderboard.html"), Path("outputs/videos"))


@pytest.fixture(scope="module")
def demo() -> Page:
    return Page(render(*demo_records()))


def hostile(collapse: dict[str, Any]) -> Record:
    """A record with a hostile string wherever the schema lets one through, and where it does not."""
    record = build_record(
        "evil",
        [True, False],
        policy={"transform": EVIL, "standardise_before": EVIL},
        collapse=collapse,
        environment={"env_id": EVIL, EVIL: EVIL},
        training_curve=training_curve(300),
        videos=[{"seed": TEST_SEEDS_START, "file": "javascript:alert(1)"}],
        task=EVIL,
    )
    record["policy"]["name"] = EVIL
    return record


def test_a_table_row_for_each_record_ranked_ones_first(demo: Page) -> None:
    rows = [attrs for attrs, _ in demo.all("tr") if "data-transform" in attrs]
    assert [row["data-reference"] for row in rows] == ["no"] * 3 + ["yes"] * 6
    names = [text for _, text in demo.all("th", scope="row", class_="policy")]
    assert names == ["dft3d", "raw", "dft1d", "expertprivileged", *(f"{name}baseline" for name in REFERENCES)]


def test_every_column_sorts_by_a_button_and_one_says_how(demo: Page) -> None:
    headings = [attrs for attrs, _ in demo.all("th", scope="col") if "data-first" in attrs]
    assert len(headings) == len(COLUMNS) == len([1 for attrs, _ in demo.all("button") if attrs.get("title")])
    assert [attrs["aria-sort"] for attrs in headings if "aria-sort" in attrs] == ["ascending"]
    cells = [attrs["data-value"] for attrs, _ in demo.all("td", class_="success")]
    assert [float(value) for value in cells if value] == [0.86, 0.74, 0.08, 1, 0, 0, 0, 0, 0]


def test_a_missing_value_is_a_dash_that_tells_why(demo: Page) -> None:
    spans = demo.all("span", class_="missing")
    dashes = [(attrs["title"], text) for attrs, text in spans if "title" in attrs]
    assert (
        "the policy observes privileged state",
        "\u2013not available: the policy observes privileged state",
    ) in dashes
    assert all(title for title, _ in dashes)
    reasons = [text for _, text in demo.all("li") if "privileged state" in text]
    measures = "Spread ratio, Cue slope, R\u00b2, Skill vs time mean, Skill vs persistence"
    assert reasons == [f"expert ({measures}): the policy observes privileged state"]


def test_bars_span_the_rate_and_its_interval(demo: Page) -> None:
    labels = [attrs["aria-label"] for attrs, _ in demo.all("svg", role="img", class_="bar-plot")]
    assert labels[0] == "dft3d: 43 of 50 episodes, 86 %, interval 74\u201393 %"
    assert len(labels) == 9
    widths = [attrs["width"] for attrs, _ in demo.all("rect", class_="fill")]
    assert widths[:3] == ["86.00%", "74.00%", "8.00%"]
    ends = {(attrs["x1"], attrs["x2"]) for attrs, _ in demo.all("line", class_="whisker")}
    assert ("73.81%", "93.05%") in ends


def test_one_curve_for_each_trained_policy_in_each_panel(demo: Page) -> None:
    assert [attrs["data-panel"] for attrs, _ in demo.all("figure", class_="panel")] == ["task-0-cue_slope", "task-0-r2"]
    assert len(demo.all("g", class_="curve")) == 6
    # dft3d and raw escape, dft1d does not; R^2 has no escape step.
    assert len(demo.all("path", class_="escape")) == 2
    data = json.loads(dict_of(demo, "curves"))
    points = data["task-0-cue_slope"]["series"][0]["points"]
    assert points[0][0] == 0
    assert points[-1] == [1500, 0.93]


def dict_of(parsed: Page, element_id: str) -> str:
    return next("".join(text) for _, attrs, text in parsed.elements if attrs.get("id") == element_id)


def test_a_policy_keeps_its_colour_everywhere(demo: Page) -> None:
    paints: dict[str | None, set[str]] = {}
    for _, attrs, _ in demo.elements:
        if attrs.get("data-key") and "curve" in (attrs.get("class") or ""):
            paints.setdefault(attrs["data-key"], set()).add((attrs["class"] or "").split()[1])
    assert len(paints) == 3
    assert all(len(colours) == 1 for colours in paints.values())
    assert len(set.union(*paints.values())) == 3
    other_task = build_record("raw", [True], task="door")
    groups = rank_runs(Run("x", "0", record) for record in [*demo_records(), other_task])
    colours = assign_colours(groups)
    assert sorted(colours) == ["dft1d", "dft3d", "raw"]
    assert len(set(colours.values())) == 3


def test_a_recipe_has_its_colour_on_every_page_and_for_any_training_seeds() -> None:
    def colours(*records: Record) -> dict[str, int]:
        return assign_colours(rank_runs(Run(f"{index}.json", "0", record) for index, record in enumerate(records)))

    one, three = seed_record("raw", 0, [True], task="door"), [seed_record("raw", seed, [True]) for seed in range(3)]
    others = [build_record(f"other-{index}", [True]) for index in range(3)]
    alone = colours(one)["raw"]
    assert colours(*three) == {"raw": alone}
    assert colours(one, *three) == {"raw": alone}
    assert alone in colours(one, *others).values()
    many = colours(*(build_record(f"recipe-{index}", [True]) for index in range(16)))
    assert sorted(many.values()) == list(range(16))


def test_videos_are_referred_to_relatively_with_captions(demo: Page) -> None:
    videos = [attrs for attrs, _ in demo.all("video")]
    assert [video["src"] for video in videos][:4] == [f"videos/{entry['file']}" for entry in video_entries("dft3d")]
    assert all({"controls", "muted", "loop", "playsinline"} <= video.keys() for video in videos)
    assert all(video["preload"] == "none" for video in videos)
    captions = [text for _, text in demo.all("figcaption") if "seed" in text]
    assert captions[0] == "dft3d seed 3000000 \u2713 success"
    assert captions[3] == "dft3d seed 3000003 \u2717 missed grasp"


def test_the_page_needs_no_network(demo: Page) -> None:
    assert not re.search(r"(https?:)?//[a-z]", re.sub(r"<script.*?</script>", "", demo.html, flags=re.S))
    loaded = [attrs.get("src") or attrs.get("href") for _, attrs, _ in demo.elements if {"src", "href"} & attrs.keys()]
    assert all(address and address.startswith(("videos/", "#", "data:,")) for address in loaded)


def test_nothing_runs_but_the_page_s_own_script(demo: Page) -> None:
    policy = next(attrs["content"] for attrs, _ in demo.all("meta") if attrs.get("http-equiv"))
    (script,) = re.findall(r"<script>(.*?)</script>", demo.html, flags=re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy is not None
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy


@pytest.mark.parametrize("collapse", [unmeasured(EVIL), judged(0.5, "partly_blind", verdict_source=EVIL)])
def test_hostile_records_stay_text(collapse: dict[str, Any]) -> None:
    html = render(hostile(collapse), build_record("good", [True, True], task=EVIL, policy={"transform": "raw"}))
    parsed = Page(html)
    assert len(parsed.all("script")) == 3
    assert parsed.all("img") == []
    assert not [attrs for _, attrs, _ in parsed.elements if any(name.startswith("on") for name in attrs)]
    assert "{{ 7*7 }}" in html
    names = [series["name"] for panel in json.loads(dict_of(parsed, "curves")).values() for series in panel["series"]]
    assert names == [EVIL, EVIL]
    assert [attrs["src"] for attrs, _ in parsed.all("video")] == ["videos/javascript%3Aalert%281%29"]


def test_the_same_records_give_the_same_bytes() -> None:
    assert render(*demo_records()) == render(*demo_records()[::-1])


def test_where_the_records_lie_leaves_no_trace(tmp_path: Path) -> None:
    groups = rank_runs(Run("a.json", "0", record) for record in demo_records())
    pages = {render_page(groups, tmp_path / name / "x.html", tmp_path / name / "videos") for name in ("a", "b")}
    assert len(pages) == 1
    assert str(tmp_path) not in pages.pop()


def test_ids_are_unique_and_references_to_them_hold(demo: Page) -> None:
    ids = [attrs["id"] for _, attrs, _ in demo.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    targets = {
        attrs[name]
        for _, attrs, _ in demo.elements
        for name in ("aria-labelledby", "aria-describedby")
        if name in attrs
    }
    targets |= {attrs["href"].removeprefix("#") for attrs, _ in demo.all("a") if attrs["href"]}
    assert targets <= set(ids)


def test_measures_are_explained(demo: Page) -> None:
    terms = {text for _, text in demo.all("dt")}
    assert {entry.title for entry in COLUMNS if entry.band} <= terms


@pytest.mark.parametrize("kind", ["expert", "baseline"])
def test_references_alone_make_a_page(kind: str) -> None:
    parsed = Page(render(build_record("only", [True, False], kind)))
    assert "No ranked policy yet" in parsed.html
    assert parsed.all("figure", class_="panel") == []
    assert parsed.all("video") == []


def test_the_finding_names_the_best_and_who_cannot_be_told_from_it() -> None:
    groups = rank_runs(Run("x", "0", record) for record in demo_records())
    assert page_module.headline(groups[0]) == (
        "dft3d leads: 43 of 50 episodes, 86 % (95 % interval 74 to 93 %). "
        "Not separable from the best on shared seeds: raw."
    )
    alone = rank_runs([Run("x", "0", build_record("a", [True, False]))])
    assert page_module.headline(alone[0]).startswith("a is the only ranked policy: 1 of 2 episodes")
    nobody = rank_runs([Run("x", "0", build_record("a", [False, False]))])
    assert page_module.headline(nobody[0]).startswith("No ranked policy succeeds: 0 of 2 episodes")
    tied = rank_runs(Run(name, "0", build_record(name, [True] * 9)) for name in "ab")
    assert page_module.headline(tied[0]).startswith("a and b share the lead: 9 of 9 episodes")


def test_two_tasks_two_sections_with_links() -> None:
    parsed = Page(render(build_record("a", [True]), build_record("a", [True], task="door")))
    assert [text for _, text in parsed.all("h2")] == ["Over tasks", "door", "lift", "What the measures mean"]
    assert [attrs["href"] for attrs, _ in parsed.all("a")][1:4] == ["#overview", "#task-0", "#task-1"]


def test_axes_keep_a_diverged_run_from_flattening_the_others() -> None:
    axis = value_axis([-50.0, 0.9], (-1, 0, 0.5, 1), -0.1, 1.1)
    assert (axis.low, axis.high) == (-1.1, 1.1)
    assert axis.percent(-50) == 0
    assert [tick.label for tick in axis.ticks] == ["\u22121", "0", "0.5", "1"]
    assert [tick.label for tick in value_axis([0.9], (-1, 0, 0.5, 1), -0.1, 1.1).ticks] == ["0", "0.5", "1"]


@pytest.mark.parametrize(("smallest", "interval"), [(0.2, 1), (3, 5), (11, 20), (21, 25), (375, 500), (2500, 2500)])
def test_round_step_intervals(smallest: float, interval: int) -> None:
    assert nice_interval(smallest) == interval


def test_paths_cover_the_square_and_long_curves_keep_their_ends() -> None:
    axis = value_axis([], (0,), 0, 1)
    assert path_data([(0, 0.0), (50, 0.5), (100, 1.0)], step_axis(100), axis) == "M0 1000 L500 500 L1000 0"
    assert path_data([(100, 0.25)], step_axis(100), axis) == "M1000 750 h0"
    points = [(step, math.sin(step)) for step in range(1001)]
    kept = thinned(points)
    assert len(kept) <= 301
    assert kept[0][0] == 0
    assert kept[-1][0] == 1000


def luminance(colour: str) -> float:
    channels = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_contrast_meets_wcag_aa(theme: int) -> None:
    style = page_style()
    pairs = re.findall(r"--([a-z0-9]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)", style)
    colours = {name: both[theme] for name, *both in pairs}

    def contrast(name: str, ground: str) -> float:
        low, high = sorted((luminance(colours[name]), luminance(colours[ground])))
        return (high + 0.05) / (low + 0.05)

    for ground in ("ground", "surface"):
        texts = {name: contrast(name, ground) for name in ("ink", "soft", "accent", "near", "won", "lost")}
        assert min(texts.values()) >= 4.5, texts
    assert contrast("ink", "heat") >= 4.5
    marks = [*(f"c{index}" for index in range(8)), "expert", "win"]
    lines = {name: contrast(name, "ground") for name in marks}
    assert min(lines.values()) >= 3, lines
