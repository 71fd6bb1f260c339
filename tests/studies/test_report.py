"""Page, document and terminal of the second round, from no record, from some, and from all."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from smidgen.runtime.command_line import run_command
from smidgen.runtime.schemas import to_json
from studies.claims import __main__ as command
from studies.claims import design
from studies.claims.choices import read_choices
from studies.claims.decisions import NOT_RUN, decide_all
from studies.claims.page import log_axis, render_page, survival_points
from studies.claims.plan import StudyPlan
from studies.claims.records import (
    TUNING,
    BlockRecord,
    Records,
    Run,
    arm_sha256,
    read_records,
    record_path,
    write_record,
)
from studies.claims.report import arm_reports, claim_reports, effect_text, interval, number, state_text
from studies.claims.round_two import FOLDER, build_plan
from studies.claims.tables import markdown

PLAN = build_plan()
NOTHING = Records({})


def made_up_block(name: str, block: str, area: float, escape: int | None = 40, lr: float = 1e-3) -> BlockRecord:
    arm = PLAN.arms[name]
    horizons = {*(h for h in design.AREA_HORIZONS if h <= arm.horizon), arm.horizon}
    seeds = design.TUNING_SEEDS if block == TUNING else design.BLOCKS[block]
    runs = tuple(
        Run(
            seed=seed,
            areas={str(h): min(float(h), area * (1 + seed % 7 / 50)) for h in horizons},
            fvu={"500": 0.5},
            escape_step=escape,
            steps_run=arm.horizon,
            diverged=False,
            curve=((0, 1.0), (100, None)),
            initial={},
            final={"attention_entropy": 0.05 if escape is None else 0.9},
        )
        for seed in seeds
    )
    return BlockRecord(arm=name, arm_sha256=arm_sha256(arm), block=block, lr=lr, runs=runs)


def made_up(blocks: str, *names: str, **areas: float) -> Records:
    """Records of some arms of the plan on some blocks; their searches ended."""
    found = {}
    for place, name in enumerate(names):
        area = list(areas.values())[place] if areas else 100.0
        searches = [
            made_up_block(name, TUNING, area, lr=lr, escape=60 - 20 * (lr == 1e-3)) for lr in (3e-4, 1e-3, 3e-3)
        ]
        found[name] = (*searches, *(made_up_block(name, block, area) for block in blocks))
    return Records(found)


def c6_arms() -> tuple[str, ...]:
    return PLAN.contrasts[PLAN.claims["C6"].contrast].arms


def texts(records: Records) -> tuple[str, str]:
    results = decide_all(PLAN, records, read_choices(FOLDER))
    return render_page(PLAN, results, records, FOLDER), markdown(PLAN, results, records, FOLDER)


def test_without_records_everything_reads_not_run_yet() -> None:
    results = decide_all(PLAN, NOTHING, {})
    for each in claim_reports(PLAN, results):
        assert state_text(each.primary).startswith(NOT_RUN)
        assert effect_text(each.primary) == "\u2013"
    page, document = texts(NOTHING)
    for text in (page, document):
        assert text.count(NOT_RUN) >= len(PLAN.contrasts)
        assert "holds**" not in text
    assert "<path" not in page


def test_ten_seeds_of_thirty_are_a_first_look_and_no_decision() -> None:
    slow, fast = c6_arms()
    records = made_up("a", slow, fast, slow=900.0, fast=90.0)
    results = decide_all(PLAN, records, {})
    primary = results[PLAN.claims["C6"].contrast]
    assert state_text(primary) == "not decided yet (10 of 30 seeds)"
    assert effect_text(primary).startswith("10.0\u00d7")
    page, document = texts(records)
    assert "First look, 10 of 30 seeds, which decides nothing" in page
    assert "First look, 10 of 30 seeds, which decides nothing" in document
    assert page.count("<path") == 2


def test_thirty_seeds_decide_and_the_page_says_by_how_much() -> None:
    slow, fast = c6_arms()
    page, document = texts(made_up("abc", slow, fast, slow=900.0, fast=90.0))
    assert "the claim holds in this reading" in page
    assert "**holds** | 10.0\u00d7" in document


def test_an_arm_whose_search_goes_on_has_no_rate() -> None:
    slow, _ = c6_arms()
    searching = Records({slow: (made_up_block(slow, TUNING, 90.0, lr=1e-3),)})
    (row,) = arm_reports(PLAN, searching)
    assert (row.rate, row.learned) == ("searching", NOT_RUN)
    assert row.search == "0.001: 40, 40, 40, 40"


def test_records_come_back_as_they_were_written(tmp_path: Path) -> None:
    slow, _ = c6_arms()
    record = made_up_block(slow, "a", 100.0)
    path = write_record(tmp_path, record)
    assert path == record_path(tmp_path, slow, "a", 1e-3)
    assert read_records(tmp_path, PLAN.arms).blocks[slow] == (record,)
    assert json.loads(path.read_text()) == json.loads(json.dumps(to_json(record)))


def test_the_command_writes_page_and_document_and_finds_drift(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "round"
    folder.mkdir()
    for name in ("plan.json", "coverage.json", "choices.json"):
        shutil.copyfile(FOLDER / name, folder / name)
    for block in "abc":
        for name, area in zip(c6_arms(), (900.0, 90.0), strict=True):
            write_record(folder, made_up_block(name, block, area))
    document, page = tmp_path / "round.md", tmp_path / "round.html"
    document.write_text("# It\n<!-- claims-round-2:begin -->\n<!-- claims-round-2:end -->\n")
    arguments = [f"results={folder}", f"markdown={document}", f"html={page}"]
    assert run_command(command.report, arguments) == 0
    assert "holds" in capsys.readouterr().out
    assert run_command(command.report, [*arguments, "check=true"]) == 0
    written = page.read_bytes(), document.read_bytes()
    assert run_command(command.report, arguments) == 0
    assert (page.read_bytes(), document.read_bytes()) == written
    document.write_text(document.read_text().replace("**holds**", "**fails**"))
    assert run_command(command.report, [*arguments, "check=true"]) == 2
    assert str(document) in capsys.readouterr().err


def test_a_missing_plan_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(command.report, [f"results={tmp_path}"]) == 2
    assert "no plan.json in" in capsys.readouterr().err


def test_the_terminal_table_fits_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    command.print_terminal(PLAN, decide_all(PLAN, NOTHING, {}), Console(width=80))
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def test_nothing_from_records_is_read_as_markup() -> None:
    contrast = dataclasses.replace(PLAN.contrasts["C6.periodic.dft3d"], title="<b>|slow|</b>")
    plan: StudyPlan = dataclasses.replace(PLAN, contrasts={**PLAN.contrasts, "C6.periodic.dft3d": contrast})
    results = decide_all(plan, NOTHING, {})
    assert "<b>" not in render_page(plan, results, NOTHING, FOLDER)
    assert "<b>" not in markdown(plan, results, NOTHING, FOLDER)


def test_survival_is_drawn_as_steps_to_the_horizon() -> None:
    assert survival_points(0.0, [10.0, 100.0], [0.5, 0.5], 1_000) == [
        (0, 1),
        (1, 1),
        (1, 0.5),
        (2, 0.5),
        (2, 0.5),
        (3, 0.5),
    ]
    assert [tick.label for tick in log_axis(1, 4_000).ticks] == ["1", "10", "100", "1,000"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.123, "0.12"),
        (9.999, "10.0"),
        (12.34, "12.3"),
        (99.96, "100"),
        (123.4, "123"),
        (1234.5, "1,234"),
        (float("inf"), "\u221e"),
    ],
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_an_interval_that_so_few_seeds_cannot_give_is_open() -> None:
    results = decide_all(PLAN, made_up("a", *c6_arms()), {})["C6.periodic.dft3d"]
    assert results.effect is not None
    assert interval(results.effect, design.LOOKS[0].confidence) == "0.00 to \u221e"


def test_the_committed_document_is_what_the_records_give() -> None:
    assert run_command(command.report, ["markdown=docs/claims-round-2.md", "html=null", "check=true"]) == 0
