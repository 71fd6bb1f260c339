"""The table of docs/theory.md: predictions hold, new transforms join, the page does not drift."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from smidgen.policies.transforms import TRANSFORMS
from studies.pages import theory_table
from studies.pages.closed_forms import participation, predict
from studies.pages.theory_table import CHANGES, TableConfig, main, markdown_table, measure

PAGE = Path(__file__).resolve().parents[2] / "docs" / "theory.md"


@pytest.mark.parametrize("grid", [(1, 16, 16), (3, 16, 16), (2, 16, 32), (3, 32, 32)], ids=str)
@pytest.mark.parametrize("draws", [1, 2])
def test_exact_predictions_are_what_is_measured(grid, draws):
    lines = measure(TableConfig(grid=grid, draws=draws, page=None))
    assert [line.transform for line in lines] == list(TRANSFORMS)
    num_exact = 0
    for line in lines:
        assert list(line.cells) == list(CHANGES)
        for change, cell in line.cells.items():
            assert 1 <= cell.measured <= line.num_tokens * (1 + 1e-9)
            if cell.predicted is not None and cell.predicted.exact:
                assert cell.measured == pytest.approx(cell.predicted.value, rel=1e-6), (line.transform, change)
                num_exact += 1
    assert num_exact >= 20


def test_approximate_predictions_are_near():
    lines = measure(TableConfig(draws=5, page=None))
    cells = [(line.transform, change, cell) for line in lines for change, cell in line.cells.items()]
    approximate = [each for each in cells if each[2].predicted is not None and not each[2].predicted.exact]
    assert len(approximate) >= 6
    for transform, change, cell in approximate:
        assert cell.predicted.value / cell.measured == pytest.approx(1, abs=0.35), (transform, change)


def test_the_page_holds_what_the_command_computes(monkeypatch, tmp_path, capsys):
    copy = tmp_path / "theory.md"
    copy.write_bytes(PAGE.read_bytes())
    assert main([f"page={copy}"]) == 0
    assert copy.read_text(encoding="utf-8") == PAGE.read_text(encoding="utf-8"), "run the command; the page drifted"
    assert capsys.readouterr().out.strip() in PAGE.read_text(encoding="utf-8")


def test_one_token_through_one_axis_by_hand():
    """A 1 x 1 x 4 grid: |X|^2 = 1/4 each, the pair of f = 1 in one token of 1/2."""
    prediction = predict("one_token", "dft3d", (1, 1, 4), (0, 0, 1))
    assert prediction.value == pytest.approx(participation(np.array([1, 2, 1])))
    assert predict("one_token", "random_orthogonal", (1, 1, 4), (0, 0, 1)).value == pytest.approx(4 / 3)


def test_unknown_transforms_have_a_measurement_alone():
    assert all(predict(change, "tomorrow's", (3, 8, 8), (0, 0, 0)) is None for change in CHANGES)
    lines = measure(TableConfig(grid=(1, 16, 16), draws=1, page=None))
    rows = markdown_table(lines).splitlines()
    assert len(rows) == 2 + len(TRANSFORMS)
    assert {row.count("|") for row in rows} == {3 + 2 * len(CHANGES)}
    daubechies = next(row for row in rows if "`daubechies`" in row)
    assert " - " in daubechies


def test_predictions_count_tokens():
    for change in CHANGES:
        for name in TRANSFORMS:
            row = predict(change, name, (3, 32, 32), (1, 2, 3))
            assert row is None or 1 <= row.value <= math.prod((3, 32, 32))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["page=nowhere.md"], "nowhere.md does not exist"),
        (["draws=0"], "draws"),
        (["size=3"], "unknown key 'size'"),
    ],
)
def test_mistakes_are_the_users(arguments, message, capsys):
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_the_docstring_and_the_page_name_the_command():
    assert "python -m studies.pages.theory_table" in theory_table.__doc__
    assert "python -m studies.pages.theory_table" in PAGE.read_text(encoding="utf-8")
