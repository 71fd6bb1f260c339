"""The calibration: its policies are what they are said to be, and its page and record agree."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from smidgen.evaluation.collapse import DETECTOR_VERSION, cue_slope
from smidgen.evaluation.collapse.labels import BLIND, SEES, VERDICTS
from smidgen.evaluation.statistics import wilson_interval
from smidgen.policies.baselines import DemoStatistics
from smidgen.runtime.action_spec import ActionSpec
from smidgen.runtime.errors import UserError
from studies.calibration.__main__ import page_with_tables
from studies.calibration.episodes import CalibrationEpisodes, Pairs
from studies.calibration.ground_truth import Draw, families
from studies.calibration.record import (
    CalibrationConfig,
    calibrate,
    calibration_json,
    frozen_rules,
    read_calibration,
)
from studies.calibration.tables import DETECTORS, mean_counts, wrong

ROOT = Path(__file__).parent.parent.parent
RECORD, PAGE = ROOT / "results" / "calibration" / "detector.json", ROOT / "docs" / "collapse.md"
# Another number here needs another DETECTOR_VERSION, and every record measured again.
RULES = {
    1: {
        "sees_from": 0.8,
        "blind_to": 0.2,
        "min_episodes": 10,
        "precise_within": 0.2,
        "at_the_mean_up_to": 0.25,
        "num_resamples": 2000,
    }
}
UPPER_END = 0.10


def pairs(rng: np.random.Generator, num_episodes: int) -> Pairs:
    """Two pairs per episode; the cue is one bright pixel, whose place is the target."""
    num_pairs, size = 2 * num_episodes, 8

    def drawn() -> tuple[torch.Tensor, torch.Tensor]:
        cells = rng.integers(0, size, (num_pairs, 2))
        pictures = torch.zeros(num_pairs, 3, size, size)
        pictures[torch.arange(num_pairs), :, cells[:, 0], cells[:, 1]] = 1
        goal = (cells / (size - 1) - 0.5) * 0.3
        return pictures, torch.tensor(np.column_stack([goal, np.full(num_pairs, 0.8)]))

    (pictures, target), (moved, target_moved) = drawn(), drawn()
    return Pairs(
        pictures_KCHW=pictures,
        moved_KCHW=moved,
        hidden_KCHW=torch.zeros_like(pictures),
        target_KP=target,
        target_moved_KP=target_moved,
        eef_KP=torch.tensor([0.2, 0.2, 1.0]).double().expand(num_pairs, 3),
        step_K=torch.tensor(rng.integers(0, 5, num_pairs)),
        episode_K=torch.arange(num_episodes).repeat_interleave(2),
    )


@pytest.fixture(scope="module")
def data() -> CalibrationEpisodes:
    rng = np.random.default_rng(0)
    train, held_out = pairs(rng, 30), pairs(rng, 30)
    goals = held_out.target_KP[::2]
    share = torch.linspace(0, 1, 12, dtype=torch.float64)[:, None]
    names = ("x_m", "y_m", "z_m")
    return CalibrationEpisodes(
        task="speck_16",
        sha256="a" * 64,
        action=ActionSpec(names, ("position",) * 3, (-0.3, -0.3, 0.8), (0.3, 0.3, 1.2)),
        statistics=DemoStatistics(np.array([0, 0, 0.8]), np.tile([0, 0, 0.8], (12, 1))),
        train=train,
        held_out=held_out,
        expert_paths=[torch.tensor([0.2, 0.2, 1.0]) * (1 - share) + goal * share for goal in goals],
        seeds=((0,), (1,)),
    )


def test_a_mixture_has_the_slope_that_it_says(data: CalibrationEpisodes) -> None:
    draw = Draw(data, "mixture", 0, 20)
    answers = draw.mixture(0.6, 0.0)
    change = data.held_out.target_moved_KP[answers.pair_K] - data.held_out.target_KP[answers.pair_K]
    assert cue_slope(answers.moved_KP - answers.prediction_KP, change) == pytest.approx(0.6)
    assert answers.slope == 0.6
    assert len(answers.paths) == len(answers.expert_paths) == 20
    assert answers.episode_K.unique().tolist() == list(range(20))


def test_noise_is_fresh_for_every_answer_and_as_large_as_said(data: CalibrationEpisodes) -> None:
    answers = Draw(data, "noise", 0, 30).mixture(0.0, 0.5)
    noise = answers.prediction_KP - data.time_mean_at(data.held_out.step_K[answers.pair_K])
    again = answers.moved_KP - data.time_mean_at(data.held_out.step_K[answers.pair_K])
    length_m = float(noise.square().sum(dim=1).mean().sqrt())
    assert length_m == pytest.approx(0.5 * data.spread_m, rel=0.2)
    assert abs(np.corrcoef(noise.flatten(), again.flatten())[0, 1]) < 0.3


@pytest.mark.parametrize("name", families(1))
def test_every_family_is_drawn_from_its_number_alone(name: str, data: CalibrationEpisodes) -> None:
    family = families(5)[name]
    first, again, other = (family.make(Draw(data, name, number, 20)) for number in (0, 0, 1))
    assert torch.equal(first.prediction_KP, again.prediction_KP)
    assert torch.equal(first.moved_KP, again.moved_KP)
    assert not torch.equal(first.pair_K, other.pair_K) or not torch.equal(first.prediction_KP, other.prediction_KP)
    assert family.truth in VERDICTS
    assert (family.at_the_mean is not None) == (family.truth == BLIND)


def test_a_small_calibration_calls_the_plain_cases_right(data: CalibrationEpisodes, tmp_path: Path) -> None:
    calibration = calibrate(CalibrationConfig(episodes=30, network_steps=5, share=0.03), [data])
    plain = [each for each in calibration.policies if each.family in ("constant elsewhere", "persistence")]
    assert [(each.verdict, each.mean_collapsed) for each in plain] == [("blind", False)] * 2
    (untrained,) = [each for each in calibration.policies if each.family == "network"]
    assert (untrained.truth, untrained.hit_rate < 0.8) == (None, True)
    path = tmp_path / "detector.json"
    path.write_text(json.dumps(calibration_json(calibration)))
    assert read_calibration(str(path)) == calibration
    path.write_text(path.read_text().replace('"version": 1', '"version": 7', 1))
    with pytest.raises(UserError, match=r"detector\.json: field version"):
        read_calibration(str(path))


def test_too_few_episodes_are_named(tmp_path: Path) -> None:
    class Store:
        training_seeds = (1, 2)
        directory = "here"

    with pytest.raises(UserError, match="expected 5 successful episodes, got 2"):
        CalibrationEpisodes.load(Store(), 3, 2)  # type: ignore[arg-type]


def test_the_rules_belong_to_the_version() -> None:
    assert frozen_rules() == RULES[DETECTOR_VERSION]


def test_the_record_is_of_this_detector_and_the_page_of_the_record() -> None:
    calibration = read_calibration(str(RECORD))
    assert calibration.detector_version == DETECTOR_VERSION
    assert calibration.rules == frozen_rules()
    assert page_with_tables(str(PAGE), calibration) == PAGE.read_text(encoding="utf-8")


def test_errors_at_fifty_episodes_lie_below_a_tenth() -> None:
    calibration = read_calibration(str(RECORD))
    assert calibration.episodes == 50
    for truth in VERDICTS:
        assert sum(each.truth == truth for each in calibration.policies) >= 60
    for detector in DETECTORS:
        for truth in (SEES, BLIND):
            others = [label for label in VERDICTS if label != truth]
            assert wilson_interval(*wrong(calibration.policies, truth, detector, others))[1] <= UPPER_END, detector
    for name, count in mean_counts(calibration).items():
        assert wilson_interval(*count)[1] <= UPPER_END, name
