"""The expert of the tasks made to be missed."""

from typing import Any

import numpy as np
import pytest

from smidgen.data_collection.experts import EXPERTS
from smidgen.envs.tasks import TASKS, make_env

pytestmark = pytest.mark.simulator


def run(env: Any, expert: Any, seed: int, num_pushed: int = 0) -> tuple[bool, list[np.ndarray], list[str]]:
    """One episode, the first steps of which are pushed away from what the expert asks for."""
    env.reset(seed=seed)
    expert.reset(seed)
    labels, phases, terminated, truncated = [], [], False, False
    while not (terminated or truncated):
        labels.append(expert.act(env.privileged()))
        phases.append(expert.phase)
        pushed = len(labels) <= num_pushed
        _, _, terminated, truncated, _ = env.step(np.array([0.2, -0.25, 1.0]) if pushed else labels[-1])
    return terminated, labels, phases


def test_the_label_is_the_goal_at_every_step() -> None:
    env, expert = make_env("speck_1", observe_pixels=False), EXPERTS["speck_1"](TASKS["speck_1"].action)
    success, labels, phases = run(env, expert, seed=1)
    assert success
    assert phases[0] == "reach"
    assert phases[-1] == "touch"
    assert all(np.array_equal(label, env.privileged()["goal_position_m"]) for label in labels)


def test_the_expert_recovers_from_a_push() -> None:
    env, expert = make_env("stripes", observe_pixels=False), EXPERTS["stripes"](TASKS["stripes"].action)
    success, _, phases = run(env, expert, seed=1, num_pushed=15)
    assert success
    assert phases[15] == "reach"


def test_an_expert_that_varies_succeeds_more_slowly_and_from_higher_up() -> None:
    env = make_env("speck_1", observe_pixels=False)
    plain, varied = (EXPERTS["speck_1"](TASKS["speck_1"].action, variation) for variation in (0.0, 1.0))
    for seed in range(3):
        (straight, labels, _), (detour, waypoints, phases) = (run(env, expert, seed) for expert in (plain, varied))
        assert straight
        assert detour
        assert len(waypoints) >= len(labels)
        assert np.mean(waypoints, axis=0)[2] > np.mean(labels, axis=0)[2]
        assert phases[-1] == "touch"
