"""The three sentences that the demo ends with, from records made to measure."""

from pathlib import Path
from typing import Any

from leaderboard_records import build_record, judged, write

from smidgen.experiments.demo_pairs import closing_words
from smidgen.experiments.side_by_side_training import headline

RUNS = ("raw", "dft3d")


def demo_results(folder: Path, raw: dict[str, Any], dft3d: dict[str, Any]) -> Path:
    for name, wins, collapse in (("perceiver-raw", 9, raw), ("perceiver-dft3d", 2, dft3d)):
        write(folder, build_record(name, [index < wins for index in range(10)], collapse=collapse))
    write(folder, build_record("time_mean", [index < 4 for index in range(10)], "baseline"))
    return folder


def test_the_demo_closes_with_what_its_table_shows_whichever_way_it_comes_out(tmp_path: Path) -> None:
    path = judged(0.1, "blind", "path_slope", path_slope=0.1, cue_slope=-0.01)
    one = closing_words(demo_results(tmp_path / "one", judged(0.9, "sees"), path), "lift", RUNS)
    assert one == (
        "Of the two Perceivers, raw succeeds in 9 of 10 and dft3d succeeds in 2 of 10 episodes. By the deciding "
        "slope, raw sees (cue slope 0.90) and dft3d is blind (path slope 0.10). Success alone does not show that: "
        "time_mean plays back the demonstrations' average without looking, and succeeds in 4 of 10."
    )
    other = closing_words(demo_results(tmp_path / "other", path, judged(0.5, "partly_blind")), "lift", RUNS)
    assert "raw is blind (path slope 0.10) and dft3d is partly blind (cue slope 0.50)" in other
    small = closing_words(demo_results(tmp_path / "small", {}, {}), "lift", RUNS)
    assert "raw is undecided (too few episodes" in small


def test_progress_of_training_speaks_the_words_of_a_verdict() -> None:
    assert headline("raw", {}) == "raw starting"
    assert headline("raw", {"cue_slope": 0.05}) == "raw blind (cue slope 0.05)"
    assert headline("raw", {"cue_slope": 0.5}) == "raw partly blind (cue slope 0.50)"
    assert headline("raw", {"cue_slope": 0.9}) == "raw sees (cue slope 0.90)"
