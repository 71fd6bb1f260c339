"""Page, Markdown and command: what they say is what the records give, in plain text, and nothing else."""

import re
from pathlib import Path

import pytest
from claims_suites import MAX_STEPS, SEEDS, STUCK, hypothesis, make_plan, make_suite, ratio, times, write_suite
from html_page import Page

from smidgen.runtime.command_line import run_command
from studies.charts import log_axis
from studies.first_round import wording
from studies.first_round.__main__ import claims
from studies.first_round.effects import regret
from studies.first_round.page import render_claims_page
from studies.first_round.plan import ArmPlan, Claim, Comparison, Plan
from studies.first_round.plots import panels, ratio_axis, step_axis, survival_path
from studies.first_round.records import Suite, read_suite
from studies.first_round.survival import Effect, EscapeTimes
from studies.first_round.tables import NOTHING_YET, markdown
from studies.first_round.verdicts import FVU_MARGINS, RATIO_MARGINS, Judgement, judge

ROOT = Path(__file__).resolve().parents[3]
EVIL = "</style><script>alert(1)</script><img src=x onerror=alert(2)> | <!-- claims:end --> {{ 7*7 }}"
DOCUMENT = "# Claims\n\n<!-- claims:begin -->\nold\n<!-- claims:end -->\n\nafter\n"
REGRET = Comparison(
    name="over-coin", kind="regret", slow=("raw", "raw-n"), fast=("dft1d", "dft1d-n"), rule="ours", against="coin"
)


def demo(statement: str = "A DFT shortens it.") -> Suite:
    """A gain, a gain in an interaction, an FVU, a rule's choice, and an arm that has not run."""
    hypotheses = {
        "H10": hypothesis(ratio("raw", "haar")),
        "H1": hypothesis(
            ratio("raw", "dft1d", group="dft"),
            ratio("raw", "dct", group="dft"),
            Comparison(name="interaction", kind="interaction", slow=("raw", "raw-n"), fast=("dft1d", "dft1d-n")),
        ),
        "H2": hypothesis(Comparison(name="fvu", kind="fvu", slow=("raw",), fast=("dft1d",)), ratio("raw", "dft1d")),
        "H9": hypothesis(REGRET),
    }
    claim = {
        "C1": Claim(statement=statement, hypotheses=("H1", "not H2/fvu")),
        "C2": Claim(statement="Another.", hypotheses=("H10",)),
    }
    arms = {
        "raw": STUCK,
        "dft1d": times(400),
        "dct": times(3000, draw=1),
        "raw-n": times(900, draw=2),
        "dft1d-n": times(700, draw=3),
    }
    chosen = {"raw": "dft1d", "raw-n": "dft1d-n"}
    choices = {raw: {"ours": {str(seed): name for seed in SEEDS}} for raw, name in chosen.items()}
    # As read from a file, in which names are sorted by letters.
    plan = Plan.from_json(make_plan([*arms, "haar"], hypotheses, claim).to_json())
    return make_suite(plan, arms, choices=choices)


def arm_rows(html: str) -> list[str]:
    """The rows of the table of arms, each cell's text between bars."""
    table = html[html.index("<tbody>") :]
    rows = re.findall(r"<tr.*?</tr>", table, flags=re.S)
    cells = [re.findall(r"<t[hd].*?</t[hd]>", row, flags=re.S) for row in rows]
    return ["|".join(" ".join(re.sub(r"<.*?>", " ", cell).split()) for cell in row) for row in cells]


@pytest.fixture(scope="module")
def judgement() -> Judgement:
    return judge(demo())


@pytest.fixture(scope="module")
def page(judgement: Judgement) -> Page:
    return Page(render_claims_page(judgement))


def test_every_claim_and_hypothesis_has_its_verdict(page: Page) -> None:
    badges = {text for attrs, text in page.all("li", class_="claim")}
    assert any(text.startswith("C1 A DFT shortens it. Rests on all of these:") for text in badges)
    assert any(text.endswith("not run yet 1 of 2 arms") for text in badges)
    titles = [text for _, text in page.all("h3")]
    assert [title.split()[0] for title in titles] == ["H1", "H2", "H9", "H10"]
    assert [text for _, text in page.all("span", class_="badge")][2:3] == ["\u2713 holds"]
    assert all("no gain over raw" in text for _, text in page.all("section", class_="hypothesis"))


def test_figures_and_numbers_of_runs_stand_beside_the_verdicts(page: Page, judgement: Judgement) -> None:
    rows = [text for attrs, text in page.all("li", class_="comparison") if "axis" not in (attrs["class"] or "")]
    effect = judgement.hypotheses["H1"].comparisons[0].effect
    assert effect is not None
    assert wording.effect_value(effect) in rows[0]
    assert wording.effect_interval(effect) in rows[0]
    assert "escaped 0/10 against 10/10" in rows[0]
    assert "not measured yet" in rows[-1]
    sections = [text for _, text in page.all("section", class_="hypothesis")]
    assert "50 runs; all comparisons have to hold; p < 0.001 after Holm's correction." in sections[0]
    assert "10 runs (1 of 2 arms)." in sections[-1]


def test_each_arm_stands_in_the_table_with_its_learning_rate(page: Page) -> None:
    rows = arm_rows(page.html)
    assert len(rows) == 6
    assert rows[-2] == "raw|3,072|0.001|0/10|10,000 / 10,000|1.00|0.50|0.90|1.00|(10 beyond 10,000)"
    assert [row for row in rows if "not run yet" in row] == ["haar|3,072|not run yet"]


def test_each_plot_names_its_curves(page: Page) -> None:
    figures = [text for _, text in page.all("figure", class_="panel")]
    assert figures[0].startswith("dft 0 % 50 % 100 %")
    assert "raw 0 of 10 escaped, mean 10,000 of 10,000 steps" in figures[0]
    assert ["always the first" in text for text in figures] == [False, False, False, True, False]
    assert "ours 20 of 20 escaped" in figures[3]
    assert "regret 1.00\u00d7" in figures[3]


def test_ids_are_unique_and_references_to_them_hold(page: Page) -> None:
    ids = [attrs["id"] for _, attrs, _ in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    targets = {attrs["aria-labelledby"] for _, attrs, _ in page.elements if "aria-labelledby" in attrs}
    targets |= {(attrs["href"] or "").removeprefix("#") for attrs, _ in page.all("a")}
    assert targets <= set(ids)


def test_the_page_needs_neither_network_nor_script(page: Page) -> None:
    assert page.all("script") == []
    assert not re.search(r"(https?:)?//[a-z]", page.html)
    loaded = [attrs.get("src") or attrs.get("href") for _, attrs, _ in page.elements if {"src", "href"} & attrs.keys()]
    assert all(address and address.startswith(("#", "data:,")) for address in loaded)
    policy = next(attrs["content"] for attrs, _ in page.all("meta") if attrs.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:")


def test_hostile_text_stays_text() -> None:
    judged = judge(demo(EVIL))
    parsed = Page(render_claims_page(judged))
    assert parsed.all("script") == []
    assert parsed.all("img") == []
    assert "{{ 7*7 }}" in parsed.html
    tables = markdown(judged)
    assert "<" not in tables
    assert {line.count("|") - line.count("\\|") for line in tables.splitlines() if line.startswith("| C")} == {5}


def test_the_same_records_give_the_same_bytes(judgement: Judgement) -> None:
    assert render_claims_page(judge(demo())) == render_claims_page(judgement)


def test_a_smoke_form_says_that_it_means_nothing() -> None:
    value = demo().plan.to_json() | {"form": "smoke"}
    judged = judge(Suite(Plan.from_json(value), {}))
    for text in (render_claims_page(judged), markdown(judged)):
        assert "whose verdicts mean nothing" in text
        assert "not run yet" in text
    assert "mean nothing" not in markdown(judge(demo()))


def test_a_measure_without_a_title_shows_under_its_name() -> None:
    suite = demo()
    for run in suite.arms["raw"].seeds:
        run.final["latent_contrast"] = 0.0027
    html = render_claims_page(judge(suite))
    assert "Latent contrast" in html
    assert any("|0.0027|" in row for row in arm_rows(html))


def test_an_arm_s_own_scale_of_the_rates_shows() -> None:
    suite = demo()
    plan = suite.plan.to_json()
    plan["arms"]["raw"]["training"]["lr_scale"] = 0.1
    rows = arm_rows(render_claims_page(judge(Suite(Plan.from_json(plan), suite.arms))))
    assert any(row.startswith("raw|3,072|0.0001|0/10") for row in rows)


def test_markdown_holds_every_verdict(judgement: Judgement) -> None:
    lines = markdown(judgement).splitlines()
    assert lines[0] == "5 of 6 arms have run: 50 runs on 10 seeds each."
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| H")]
    verdicts = {row[0]: row[3] for row in cells[:4]}
    assert verdicts["H1"] == "**holds**"
    assert verdicts["H10"] == "**not run yet** (1 of 2 arms)"
    assert cells[4][1:4] == ["raw is slower than dft1d", cells[4][2], "0/10 against 10/10"]
    assert re.fullmatch(r"\d+\.\d\u00d7 \[\d+\.\d to \d+\.\d\]", cells[4][2])
    assert all(line.count("|") in (5, 6) for line in lines if line.startswith("|"))


def test_regret_is_measured_against_the_better_arm() -> None:
    suite = demo()
    first = [suite.escape_times(name) for name in REGRET.slow]
    # The better arms are the Fourier ones: their regret is 1, that of always raw the ratio of the means.
    assert regret(REGRET, suite, [suite.escape_times(name) for name in REGRET.fast]) == pytest.approx(1)
    assert regret(REGRET, suite, first) > 3


@pytest.mark.parametrize(
    ("comparison", "words"),
    [
        (ratio("raw", "dct", "not_slower"), "raw is not slower than dct"),
        (ratio("raw", "dct", "equal"), "raw is as fast as dct"),
        (
            Comparison(name="a", kind="ratio", slow=("a", "b", "c"), fast=("d",)),
            "a, b and c (geometric mean) is slower than d",
        ),
        (
            Comparison(name="a", kind="interaction", slow=("a", "b"), fast=("c", "d"), predicted="not_slower"),
            "the gain a over c is not larger than the gain b over d",
        ),
        (Comparison(name="a", kind="fvu", slow=("a",), fast=("b",)), "a ends with held-out FVU worse than b"),
        (REGRET, "choosing between two arms on 2 data sets, ours beats a coin"),
    ],
)
def test_predictions_in_words(comparison: Comparison, words: str) -> None:
    assert wording.prediction(comparison) == words


def test_numbers_for_people() -> None:
    assert [wording.significant(value) for value in (0.0712, 1.456, 12.34, 123.4, 1234.5)] == [
        "0.07",
        "1.46",
        "12.3",
        "123",
        "1,234",
    ]
    assert [wording.p_text(value) for value in (0.0004, 0.0123, 0.25)] == ["< 0.001", "= 0.012", "= 0.25"]
    measures = [wording.measure_text(value) for value in (None, 0.0, 0.98, -0.25, 0.0027)]
    assert measures == ["\u2013", "0.00", "0.98", "\u22120.25", "0.0027"]
    difference = Effect(-0.25, 0.0, 10, is_log=False)
    assert (wording.effect_value(difference), wording.effect_interval(difference)) == (
        "\u22120.25",
        "\u22120.25 to \u22120.25",
    )


def test_axes_are_shared_and_hold_everything(judgement: Judgement) -> None:
    axis = ratio_axis(judgement)
    parts = [part for judged in judgement.hypotheses.values() for part in judged.comparisons]
    places = [axis.place(part) for part in parts if part.effect is not None and part.effect.is_log]
    assert all(place and 0 <= place.low <= place.value <= place.high <= 100 for place in places)
    assert not any(place and (place.is_cut_low or place.is_cut_high) for place in places)
    assert [tick.label for tick in log_axis(10, 10_000).ticks] == ["10", "100", "1,000", "10,000"]
    assert [tick.label for tick in log_axis(0.25, 4).ticks] == ["0.5", "1", "2"]
    assert len(log_axis(1e-3, 1e3).ticks) == 7


def test_a_survival_curve_is_a_staircase_from_all_to_those_that_stay() -> None:
    axis = log_axis(10, 1000)
    runs = EscapeTimes((0, 1), (100.0, 1000.0), (True, False))
    assert survival_path(runs, 1000, axis) == "M0 0 L500 0 L500 500 L1000 500 L1000 500 L1000 500"
    assert survival_path(runs, 90, axis).startswith("M0 0 L477.1 0")


def test_an_arm_keeps_its_colour_within_a_hypothesis(judgement: Judgement) -> None:
    suite = judgement.suite
    plots = panels(suite.plan.hypotheses["H1"], suite, step_axis(suite))
    assert [[curve.name for curve in panel.curves] for panel in plots] == [
        ["raw", "dft1d", "dct"],
        ["raw", "raw-n", "dft1d", "dft1d-n"],
    ]
    paints = {(curve.name, curve.paint) for panel in plots for curve in panel.curves}
    assert len(paints) == len({name for name, _ in paints}) == 5


def run(*arguments: str) -> int:
    return run_command(claims, list(arguments))


def test_command_writes_everything_and_finds_drift(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder, document = write_suite(tmp_path / "results" / "claims", demo()), tmp_path / "claims.md"
    document.write_text(DOCUMENT)
    arguments = [f"results={folder}", f"markdown={document}"]
    assert run(*arguments) == 0
    assert "holds" in capsys.readouterr().out
    written = [document, tmp_path / "results" / "claims.html"]
    before = [path.read_bytes() for path in written]
    assert document.read_text().startswith("# Claims\n\n<!-- claims:begin -->\n5 of 6 arms")
    assert run(*arguments) == 0
    assert run(*arguments, "--check") == 0
    assert [path.read_bytes() for path in written] == before
    document.write_text(document.read_text().replace("**holds**", "**fails**"))
    capsys.readouterr()
    assert run(*arguments, "check=true") == 2
    assert str(document) in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["results={folder}/none"], "no plan.json in"),
        (["results={folder}", "markdown={folder}/none.md"], "does not exist; pass markdown=PATH"),
        (["result={folder}"], "unknown key 'result'"),
    ],
)
def test_mistakes_are_named(arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = write_suite(tmp_path, demo())
    assert run_command(claims, [argument.format(folder=folder) for argument in arguments]) == 2
    assert message in capsys.readouterr().err


def test_the_committed_tables_are_what_the_records_give() -> None:
    document = (ROOT / "docs" / "claims.md").read_text()
    results = ROOT / "results" / "claims"
    between = document.partition("<!-- claims:begin -->\n")[2].partition("\n<!-- claims:end -->")[0]
    expected = markdown(judge(read_suite(results))) if (results / "plan.json").exists() else NOTHING_YET
    assert between == expected, "run: python -m studies.first_round markdown=docs/claims.md"


def test_the_document_states_the_margins_that_are_applied() -> None:
    document = " ".join((ROOT / "docs" / "claims.md").read_text().split())
    for margins in (RATIO_MARGINS, FVU_MARGINS):
        assert f"at least {margins.effect:g}" in document
        assert f"[{margins.band[0]:g}, {margins.band[1]:g}]" in document


def test_a_grid_that_is_unknown_leaves_the_number_of_tokens_open() -> None:
    suite = demo()
    training = {"max_steps": MAX_STEPS}
    suite.plan.arms["haar"] = ArmPlan(data={}, network={}, training=training, title="a few words")
    assert "haar a few words|\u2013|not run yet" in arm_rows(render_claims_page(judge(suite)))
