"""Tables, wording and command: they say what the records give, in plain text, and nothing else."""

import re
from pathlib import Path

import pytest
from claims_suites import SEEDS, STUCK, hypothesis, make_plan, make_suite, ratio, times, write_suite

from smidgen.runtime.command_line import run_command
from studies.first_round import wording
from studies.first_round.__main__ import claims
from studies.first_round.decisions import FVU_MARGINS, RATIO_MARGINS, Decisions, decide
from studies.first_round.plan import Claim, Comparison, FirstRoundPlan
from studies.first_round.records import Suite, read_suite
from studies.first_round.survival import Effect
from studies.first_round.tables import markdown

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
    plan = FirstRoundPlan.from_json(make_plan([*arms, "haar"], hypotheses, claim).to_json())
    return make_suite(plan, arms, choices=choices)


@pytest.fixture(scope="module")
def decisions() -> Decisions:
    return decide(demo())


def test_hostile_text_stays_text() -> None:
    tables = markdown(decide(demo(EVIL)))
    assert "<" not in tables
    assert {line.count("|") - line.count("\\|") for line in tables.splitlines() if line.startswith("| C")} == {5}


def test_markdown_holds_every_decision(decisions: Decisions) -> None:
    lines = markdown(decisions).splitlines()
    assert lines[0] == "5 of 6 arms have run: 50 runs, 10 seeds for each arm."
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| H")]
    decisions = {row[0]: row[3] for row in cells[:4]}
    assert decisions["H1"] == "**holds**"
    assert decisions["H10"] == "**not run yet** (1 of 2 arms)"
    assert cells[4][1:4] == ["raw is slower than dft1d", cells[4][2], "0/10 against 10/10"]
    assert re.fullmatch(r"\d+\.\d\u00d7 \[\d+\.\d to \d+\.\d\]", cells[4][2])
    assert all(line.count("|") in (5, 6) for line in lines if line.startswith("|"))


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
    difference = Effect(-0.25, 0.0, 10, is_log=False)
    assert (wording.effect_value(difference), wording.effect_interval(difference)) == (
        "\u22120.25",
        "\u22120.25 to \u22120.25",
    )


def run(*arguments: str) -> int:
    return run_command(claims, list(arguments))


def test_command_writes_everything_and_finds_drift(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder, document = write_suite(tmp_path / "results" / "claims", demo()), tmp_path / "claims.md"
    document.write_text(DOCUMENT)
    arguments = [f"results={folder}", f"markdown={document}"]
    assert run(*arguments) == 0
    assert "holds" in capsys.readouterr().out
    before = document.read_bytes()
    assert document.read_text().startswith("# Claims\n\n<!-- claims:begin -->\n5 of 6 arms")
    assert run(*arguments) == 0
    assert run(*arguments, "check=true") == 0
    assert document.read_bytes() == before
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
    assert between == markdown(decide(read_suite(results))), (
        "run: python -m studies.first_round markdown=docs/claims.md"
    )


def test_the_document_states_the_margins_that_are_applied() -> None:
    document = " ".join((ROOT / "docs" / "claims.md").read_text().split())
    for margins in (RATIO_MARGINS, FVU_MARGINS):
        assert f"at least {margins.effect:g}" in document
        assert f"[{margins.band[0]:g}, {margins.band[1]:g}]" in document
