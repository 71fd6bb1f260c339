from __future__ import annotations

import numpy as np
import pytest

from smidgen.policies.baselines import DemoStatistics
from smidgen.policies.policy import OBSERVABLES, Policy
from smidgen.policies.registry import BASELINES, POLICIES, build_baseline
from smidgen.runtime.errors import UserError

SPEC = {
    "names": ["x_m", "y_m", "z_m", "gripper", "yaw_rad"],
    "low": [-0.3, -0.3, 0.8, -1.0, -1.5],
    "high": [0.3, 0.3, 1.3, 1.0, 1.5],
    "kinds": ["position", "position", "position", "gripper", "yaw"],
}
LOW, HIGH = np.array(SPEC["low"]), np.array(SPEC["high"])
STATISTICS = DemoStatistics(
    mean_action=np.array([0.1, 0.0, 1.0, 0.2, 0.3]), time_mean_SA=np.linspace(LOW, HIGH, 4, axis=0)
)


def build(name):
    return build_baseline(name, SPEC, STATISTICS)


def observe(num_episodes, step=0):
    eef_state = (
        np.tile([0.05, -0.1, 1.1 + 0.01 * step, 0.04], (num_episodes, 1)) + np.arange(num_episodes)[:, None] * 0.01
    )
    return {"eef_state": eef_state, "frames": np.zeros((num_episodes, 1, 4, 4, 3), np.uint8)}


def roll(policy, num_episodes, seed, num_steps=6):
    policy.reset(num_episodes, seed)
    return np.stack([policy.act(observe(num_episodes, step)) for step in range(num_steps)])


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("num_episodes", [1, 3])
def test_every_baseline_keeps_the_contract(name, num_episodes):
    policy = build(name)
    assert isinstance(policy, Policy)
    assert policy.name == name
    assert set(policy.observes) <= set(OBSERVABLES) - {"privileged", "frames"}
    actions = roll(policy, num_episodes, seed=5)
    assert actions.shape == (6, num_episodes, 5)
    assert actions.dtype == np.float64
    assert ((actions >= LOW) & (actions <= HIGH)).all()
    np.testing.assert_array_equal(roll(policy, num_episodes, seed=5), actions)
    np.testing.assert_array_equal(roll(build(name), num_episodes, seed=5), actions)


@pytest.mark.parametrize("name", BASELINES)
def test_a_row_does_not_depend_on_its_neighbours(name):
    policy = build(name)
    together = roll(policy, 3, seed=20)
    for row in range(3):
        policy.reset(1, seed=20 + row)
        alone = []
        for step in range(6):
            observations = {key: value[row : row + 1] for key, value in observe(3, step).items()}
            alone.append(policy.act(observations)[0])
        np.testing.assert_array_equal(together[:, row], alone)


@pytest.mark.parametrize("name", [name for name in BASELINES if "eef_state" in POLICIES[name].observes])
def test_a_wrong_number_of_rows_is_refused(name):
    policy = build(name)
    policy.reset(2)
    with pytest.raises(ValueError, match=r"expected eef_state of shape \(2, E\)"):
        policy.act(observe(3))


def test_random_draws_differ_by_seed_and_step():
    actions = roll(build("random"), 1, seed=1)
    assert len(np.unique(actions[:, 0, 0])) == 6
    assert not np.array_equal(actions, roll(build("random"), 1, seed=2))


def test_noop_holds_the_first_position_and_persistence_the_present_one():
    np.testing.assert_allclose(roll(build("noop"), 1, seed=0)[:, 0, 2], 1.1)
    np.testing.assert_allclose(roll(build("persistence"), 1, seed=0)[:, 0, 2], 1.1 + 0.01 * np.arange(6))
    np.testing.assert_array_equal(roll(build("noop"), 1, seed=0)[:, 0, 3:], np.tile([-1.0, 0.0], (6, 1)))


def test_mean_action_and_time_mean_play_the_statistics_back():
    np.testing.assert_array_equal(roll(build("mean_action"), 1, seed=0)[:, 0], np.tile(STATISTICS.mean_action, (6, 1)))
    expected = STATISTICS.time_mean_SA[[0, 1, 2, 3, 3, 3]]
    np.testing.assert_array_equal(roll(build("time_mean"), 1, seed=0)[:, 0], expected)


def test_time_mean_at_any_steps():
    steps = np.array([[0, 1], [3, 90]])
    np.testing.assert_array_equal(STATISTICS.time_mean_at(steps), STATISTICS.time_mean_SA[[[0, 1], [3, 3]]])


def test_unknown_name_lists_the_valid_ones():
    with pytest.raises(UserError, match=f"valid: {', '.join(sorted(BASELINES))}"):
        build("experts")


@pytest.mark.parametrize("name", ["mean_action", "time_mean"])
def test_statistics_are_asked_for_and_must_fit(name):
    with pytest.raises(UserError, match="add demos=DIR"):
        build_baseline(name, SPEC)
    short = DemoStatistics(mean_action=np.zeros(4), time_mean_SA=np.zeros((3, 4)))
    with pytest.raises(UserError, match="same task"):
        build_baseline(name, SPEC, short)


@pytest.mark.parametrize(
    "change",
    [
        {"kinds": ["position"] * 4 + ["colour"]},
        {"low": [0.0] * 4},
        {"low": [9.0] * 5},
        {"high": [float("nan")] * 5},
        {"high": ["1"] * 5},
        {"names": "xyzgw"},
        {"more": 1},
    ],
)
def test_a_malformed_action_spec_is_the_users_error(change):
    with pytest.raises(UserError, match="action spec"):
        build_baseline("noop", {**SPEC, **change})
