"""How often the leaderboard's test tells equal recipes apart: the simulation, its record, and the page."""

import math
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit

from smidgen.evaluation.statistics import SIGNIFICANCE
from smidgen.runtime.command_line import run_command
from smidgen.runtime.files import read_json
from smidgen.runtime.markdown import page_with_tables
from studies.calibration.two_levels import (
    LEVELS,
    NUM_COMPARISONS,
    RECORD,
    TABLE_NAME,
    false_alarms,
    outcomes,
    table,
    two_levels,
)

PAGE = Path("docs/protocol.md")


def test_training_seeds_and_episodes_deviate_as_they_are_told_to() -> None:
    generator = np.random.default_rng(0)
    difficulty_E = np.array([-math.inf] * 50 + [math.inf] * 50)
    assert outcomes(generator, 0.0, 1.0, difficulty_E).mean(axis=0).tolist() == [0.0] * 50 + [1.0] * 50
    rates = [outcomes(generator, 1.0, 2.0, np.zeros(100)).mean(axis=1) for _ in range(200)]
    draws = expit(1.0 + generator.normal(0.0, 2.0, 100_000))
    assert np.mean(rates) == pytest.approx(draws.mean(), abs=0.03)
    assert np.std(rates) == pytest.approx(draws.std(), abs=0.03)


def test_a_small_simulation_is_the_same_on_every_run(tmp_path: Path) -> None:
    assert false_alarms(0.8, 1.5, 0.0, 3) == false_alarms(0.8, 1.5, 0.0, 3)
    page = tmp_path / "page.md"
    page.write_text(f"<!-- {TABLE_NAME} table: begin -->\n<!-- {TABLE_NAME} table: end -->\n")
    arguments = [f"out={tmp_path / 'found.json'}", f"page={page}", "samples=1"]
    assert run_command(two_levels, arguments) == 0
    assert page.read_text().count("\n| 0.") == len(read_json(tmp_path / "found.json")["rows"])


def test_the_page_shows_the_record_and_a_single_test_keeps_its_level() -> None:
    found = read_json(Path(RECORD))
    assert page_with_tables(PAGE, {TABLE_NAME: table(found)}) == PAGE.read_text(encoding="utf-8")
    assert found["levels"] == LEVELS
    error = 3 * math.sqrt(SIGNIFICANCE * (1 - SIGNIFICANCE) / found["samples"])
    assert max(row["one_test"] for row in found["rows"]) <= SIGNIFICANCE + error
    # All twelve together: the sum of their levels bounds the chance of any false alarm.
    assert NUM_COMPARISONS * max(row["strictest_of_all"] for row in found["rows"]) <= 0.1
