"""The calibration of smidgen-check: its policies are what they are said to be, and it goes on where it was stopped."""

from pathlib import Path

import numpy as np
import pytest
from check_sets import write_set

from smidgen.evaluation.check import thresholds
from smidgen.evaluation.collapse.labels import BLIND, SEES, UNDECIDED
from smidgen.evaluation.statistics import wilson_interval
from studies.check_calibration import record as record_module
from studies.check_calibration.__main__ import page_with_tables
from studies.check_calibration.families import FAMILIES, Draw
from studies.check_calibration.known_sets import known_set
from studies.check_calibration.record import (
    CheckCalibrationConfig,
    calibrate,
    check_calibration_json,
    frozen_rules,
    read_check_calibration,
)
from studies.check_calibration.tables import TABLES, error_table

ROOT = Path(__file__).parent.parent.parent
RECORD, PAGE = ROOT / "results" / "calibration" / "check.json", ROOT / "docs" / "check.md"
# Another number here needs another CHECK_VERSION.
RULES = {
    1: {
        "open_from": 0.5,
        "num_time_parts": 6,
        "same_below": 0.02,
        "camera_from": 0.1,
        "sees_from": 0.8,
        "blind_to": 0.2,
    }
}


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    return known_set("reach", write_set(tmp_path_factory.mktemp("known") / "theirs.hdf5", num_demos=65))


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return CheckCalibrationConfig(folder=str(tmp_path_factory.mktemp("campaign")), share=0.01, episodes=20, windows=60)


@pytest.fixture(scope="module")
def calibration(known, config):
    return calibrate(config, {"reach": known})


def test_the_rules_belong_to_the_version():
    assert frozen_rules() == RULES[thresholds.CHECK_VERSION]


def test_what_is_drawn_for_one_purpose_says_nothing_of_another(known):
    """Mixtures near a limit must not be those with the least noise."""
    draws = [Draw(known, "sees", number) for number in range(200)]
    shares, noises = ([draw.rng(purpose).uniform() for draw in draws] for purpose in ("share", "noise"))
    assert abs(np.corrcoef(shares, noises)[0, 1]) < 0.2
    assert Draw(known, "sees", 3).rng("share").uniform() == shares[3]


def shown(known, place, step):
    episode = known.episodes[place]
    return {"frames": episode.frames[step][None, None], "eef_state": episode.eef_state[step][None]}


@pytest.mark.parametrize("family", ["sees", "first_camera", "second_camera", "both_cameras"])
def test_a_mixture_goes_as_far_as_its_share(known, family):
    draw = Draw(known, family, 1)
    policy = FAMILIES[family].make(draw)
    policy._noise_A = np.zeros(2)
    policy.reset()
    answer_KA = policy.chunk(shown(known, 5, 2))[0]
    done_KA, mean_KA = known.actions_from(5, 2, draw.horizon), known.time_mean_from(2, draw.horizon)
    share = ((answer_KA - mean_KA) * (done_KA - mean_KA)).sum() / np.square(done_KA - mean_KA).sum()
    assert 0.8 <= share <= 1


@pytest.mark.parametrize(("family", "by_frames"), [("arm", True), ("state", False)])
def test_blind_ones_go_by_the_arm_that_they_see_or_are_told(known, family, by_frames):
    policy = FAMILIES[family].make(Draw(known, family, 0))
    policy._noise_A = np.zeros(2)
    policy.reset()
    here, there = shown(known, 5, 2), shown(known, 9, 2)
    frames_of_other = {**here, "frames": there["frames"]}
    answers = [policy.chunk(each)[0] for each in (here, there, frames_of_other)]
    assert (answers[2] == answers[1 if by_frames else 0]).all()
    assert (answers[0] != answers[1]).any()


def test_a_camera_that_is_not_looked_at_changes_nothing(known):
    policy = FAMILIES["first_camera"].make(Draw(known, "first_camera", 0))
    policy._noise_A = np.zeros(2)
    policy.reset()
    here, there = shown(known, 5, 2), shown(known, 9, 2)
    here["frames"] = here["frames"].copy()
    before = policy.chunk(here)
    here["frames"][:, :, 1] = there["frames"][:, :, 1]
    assert (policy.chunk(here) == before).all()


def test_seeing_is_called_so_and_blindness_never_seeing(calibration):
    labels = {each.family: each.label for each in calibration.policies}
    assert set(labels) == set(FAMILIES)
    assert {labels[name] for name in ("sees", "first_camera", "second_camera", "both_cameras")} == {SEES}
    assert labels["state"] == BLIND
    assert {labels[name] for name in ("mean", "arm", "random")} <= {BLIND, UNDECIDED}
    cameras = {each.family: each.cameras for each in calibration.policies}
    assert cameras["first_camera"] == (("used", "used"), ("ignored", "ignored"))


def test_killed_it_goes_on_where_it_was(calibration, known, config, monkeypatch):
    def never(*arguments):
        raise AssertionError("checked again")

    kept = sorted(Path(config.folder).rglob("*.json"))
    assert len(kept) == len(FAMILIES)
    kept[0].unlink()
    monkeypatch.setattr(record_module, "check_draw", never)
    with pytest.raises(AssertionError, match="checked again"):
        calibrate(config, {"reach": known})
    monkeypatch.undo()
    assert calibrate(config, {"reach": known}) == calibration


def test_the_record_is_read_as_it_was_written(calibration, tmp_path):
    from smidgen.runtime.files import write_json_atomic

    write_json_atomic(tmp_path / "record.json", check_calibration_json(calibration))
    assert read_check_calibration(str(tmp_path / "record.json")) == calibration
    assert "| reach | 0/4" in error_table(calibration)


def test_the_page_has_what_the_record_holds():
    assert page_with_tables(str(PAGE), read_check_calibration(str(RECORD))) == PAGE.read_text(encoding="utf-8")
    assert len(TABLES) == 3


def test_the_record_keeps_what_was_promised():
    """Misses and false alarms at 30 episodes, with the upper ends of their intervals."""
    record = read_check_calibration(str(RECORD))
    assert (record.episodes, record.share, record.check_version) == (30, 1.0, thresholds.CHECK_VERSION)
    assert record.rules == frozen_rules()
    for truth, wrong in ((SEES, BLIND), (BLIND, SEES)):
        told = [each for each in record.policies if each.truth == truth and each.label != UNDECIDED]
        assert len(told) >= 60
        assert wilson_interval(sum(each.label == wrong for each in told), len(told))[1] <= 0.1
        assert wilson_interval(sum(each.label != truth for each in told), len(told))[1] <= 0.1
