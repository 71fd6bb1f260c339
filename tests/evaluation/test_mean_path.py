"""Following the mean path: distances against a brute force, and the rule on straight paths to scattered goals."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from smidgen.evaluation.failures import MIN_PATHS, distance_to_path, follows_mean_path, time_mean_path, with_collapsed

POINTS = arrays(np.float64, st.tuples(st.integers(1, 6), st.just(3)), elements=st.floats(-1, 1, width=32))
START = np.array([0.0, 0.0, 1.0])


def straight(goal: Any, num_points: int = 20) -> np.ndarray:
    return START + np.linspace(0, 1, num_points)[:, None] * (np.asarray(goal) - START)


def goals() -> list[np.ndarray]:
    angles = np.arange(16) * np.pi / 8
    return [np.array([0.1 * np.cos(angle), 0.1 * np.sin(angle), 0.8]) for angle in angles]


def answer(path: np.ndarray, label: str = "timeout", success: bool = False) -> dict[str, Any]:
    return {"row": {"success": success, "label": "success" if success else label}, "path": path.tolist()}


EXPERTS = {seed: answer(straight(goal), success=True) for seed, goal in enumerate(goals())}
MEAN = time_mean_path([straight(goal) for goal in goals()])


@given(POINTS, POINTS)
def test_distance_is_that_to_the_nearest_of_very_many_points(path: np.ndarray, other: np.ndarray) -> None:
    shares = np.linspace(0, 1, 2001)[:, None]
    dense = np.concatenate(
        [first + shares * (last - first) for first, last in zip(other, [*other[1:], other[-1]], strict=True)]
    )
    nearest = [np.linalg.norm(dense - point, axis=1).min() for point in path]
    assert distance_to_path(path, other) == pytest.approx(np.sqrt(np.mean(np.square(nearest))), abs=2e-3)


@given(POINTS)
def test_no_path_is_away_from_itself(path: np.ndarray) -> None:
    assert distance_to_path(path, path) == pytest.approx(0, abs=1e-7)
    assert not follows_mean_path(path, path, path)


def test_the_mean_path_goes_on_with_each_paths_last_point() -> None:
    mean = time_mean_path([np.zeros((1, 3)), np.ones((3, 3))])
    assert np.array_equal(mean, np.full((3, 3), 0.5))
    assert np.allclose(MEAN[-1], [0, 0, 0.8])


@pytest.mark.parametrize("num_points", [5, 20, 200])
def test_the_mean_path_is_the_mean_path_at_any_speed(num_points: int) -> None:
    rows = with_collapsed({seed: answer(straight([0, 0, 0.8], num_points)) for seed in EXPERTS}, EXPERTS)
    assert {row["label"] for row in rows} == {"collapsed"}


@pytest.mark.parametrize(
    ("share", "label"), [(0.0, "collapsed"), (0.25, "collapsed"), (0.5, "timeout"), (1.0, "timeout")]
)
def test_a_path_that_answers_to_half_of_the_cue_is_not_the_mean_path(share: float, label: str) -> None:
    answers = {seed: answer(straight([*(share * goal[:2]), 0.8])) for seed, goal in enumerate(goals())}
    assert {row["label"] for row in with_collapsed(answers, EXPERTS)} == {label}


def test_a_path_of_its_own_a_wrong_goal_and_standing_still_are_not_the_mean_path() -> None:
    wrong = np.roll(np.array(goals()), 3, axis=0)
    for paths in ([straight(goal) + START / 10 for goal in goals()], map(straight, wrong), [START[None]] * 16):
        rows = with_collapsed({seed: answer(path) for seed, path in enumerate(paths)}, EXPERTS)
        assert {row["label"] for row in rows} == {"timeout"}


@pytest.mark.parametrize("label", ["simulator_error", "policy_error", "out_of_bounds"])
def test_some_labels_come_first(label: str) -> None:
    answers = {seed: answer(MEAN, label) for seed in EXPERTS}
    assert {row["label"] for row in with_collapsed(answers, EXPERTS)} == {label}


def test_success_is_left_alone_and_nothing_given_is_changed() -> None:
    answers = {seed: answer(MEAN, success=True) for seed in EXPERTS} | {3: answer(MEAN)}
    rows = with_collapsed(answers, EXPERTS)
    assert [seed for seed, row in zip(answers, rows, strict=True) if row["label"] != "success"] == [3]
    assert rows[3]["label"] == "collapsed"
    assert answers[3]["row"]["label"] == "timeout"


def test_without_enough_paths_of_the_expert_nothing_has_collapsed() -> None:
    few = {seed: EXPERTS[seed] for seed in range(MIN_PATHS - 1)}
    failing = {seed: answer(straight(goal)) for seed, goal in enumerate(goals())}
    for experts in ({}, few, failing):
        rows = with_collapsed({seed: answer(MEAN) for seed in EXPERTS}, experts)
        assert {row["label"] for row in rows} == {"timeout"}
