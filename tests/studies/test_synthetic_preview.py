from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from smidgen.runtime.markdown import page_with_tables
from studies.synthetic import preview
from studies.synthetic.config import KINDS
from studies.synthetic.preview import EXAMPLES, noise_row, participation_ratio, rung_row

PAGE = Path(__file__).resolve().parents[2] / "docs" / "ladder.md"
# One row of the greatest length stands for its three, which take the longest.
NOISE_ROWS = [((3, 128, 128), 0.1), *((grid, sd) for grid in preview.NOISE_GRIDS[:3] for sd in preview.NOISE_SDS)]


def test_every_rung_has_an_example():
    assert {config.kind for config in EXAMPLES.values()} == set(KINDS)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_pages_figures_are_those_of_the_rungs(name):
    assert f"\n| {' | '.join(rung_row(name).values())} |\n" in PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize(("grid", "noise_sd"), NOISE_ROWS)
def test_the_pages_figures_are_those_in_noise(grid, noise_sd):
    assert f"\n| {' | '.join(noise_row(grid, noise_sd).values())} |\n" in PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("num_equal", [1, 7, 64])
def test_the_participation_ratio_counts_equal_coefficients(num_equal):
    coefficients = np.zeros(64, complex)
    coefficients[:num_equal] = 3j
    assert participation_ratio(coefficients) == pytest.approx(num_equal)


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(preview, "EXAMPLES", {name: EXAMPLES[name] for name in ("frames", "one_token")})
    monkeypatch.setattr(preview, "ladder_tables", lambda: {"rungs": "| new |", "noise": "| too |"})


def test_the_command_draws_and_fills_the_page(few, tmp_path, capsys):
    page, picture = tmp_path / "page.md", tmp_path / "ladder.png"
    places = "".join(f"<!-- {name} table: begin -->old<!-- {name} table: end -->\n" for name in ("rungs", "noise"))
    page.write_text(f"before\n{places}after\n", encoding="utf-8")
    assert preview.main([f"page={page}", f"picture={picture}"]) == 0
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "begin -->\n\n| new |\n\n<!--" in text
    pixels = np.asarray(Image.open(picture).convert("RGB"))
    assert pixels.shape[1] == 1300
    # Pictures of a robot, and a change in two colours beside it.
    assert (np.ptp(pixels.astype(int), axis=-1) > 60).mean() > 0.002
    assert page_with_tables(page, preview.ladder_tables()) == text


@pytest.mark.parametrize("content", [None, "no marker", "<!-- rungs table: begin -->"])
def test_a_page_without_its_markers_is_left_alone(few, tmp_path, capsys, content):
    page, picture = tmp_path / "page.md", tmp_path / "ladder.png"
    if content is not None:
        page.write_text(content, encoding="utf-8")
    assert preview.main([f"page={page}", f"picture={picture}"]) == 2
    assert "rungs table: begin" in capsys.readouterr().err
    assert not picture.exists()


def test_help_names_every_key(capsys):
    assert preview.main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert "picture=docs/ladder.png" in shown
    assert "page=docs/ladder.md" in shown
