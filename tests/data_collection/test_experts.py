"""Experts: contract over the registry, success in the real simulator, and the motion primitives."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smidgen.data_collection.experts import EXPERTS
from smidgen.data_collection.experts.expert import LEAD_M, towards
from smidgen.envs.seeds import seeds
from smidgen.envs.tasks import TASKS, make_env

coordinate = st.floats(-1.0, 1.0)


def test_every_task_has_an_expert() -> None:
    assert set(EXPERTS) == set(TASKS)


@pytest.mark.simulator
@pytest.mark.parametrize("task", sorted(EXPERTS))
def test_the_expert_succeeds_inside_the_action_space(task: str) -> None:
    env, expert = make_env(task, observe_pixels=False), EXPERTS[task](TASKS[task].action)
    successes = 0
    for seed in seeds("checkpoint", 0, 20):
        env.reset(seed=seed)
        expert.reset(seed)
        terminated = truncated = False
        while not (terminated or truncated):
            action = expert.act(env.privileged())
            assert env.action_space.contains(action)
            assert expert.phase in expert.phases
            _, _, terminated, truncated, _ = env.step(action)
        successes += terminated
    assert successes == 20


@pytest.mark.simulator
@pytest.mark.parametrize("task", sorted(EXPERTS))
def test_the_counterfactual_target_follows_the_cue_and_disturbs_nothing(task: str) -> None:
    env, expert = make_env(task, observe_pixels=False), EXPERTS[task](TASKS[task].action)
    env.reset(seed=0)
    expert.reset(0)
    state, here = env.get_state(), expert.act(env.privileged())
    assert expert.phase in expert.cue_phases
    env.move_cue(np.random.default_rng(1))
    elsewhere = expert.target(env.privileged())
    env.set_state(state)
    assert not np.allclose(here, elsewhere)
    assert np.array_equal(expert.target(env.privileged()), here)


@pytest.mark.simulator
def test_the_lift_expert_grasps_again_after_a_slip() -> None:
    env, expert = make_env("lift", observe_pixels=False), EXPERTS["lift"](TASKS["lift"].action)
    env.reset(seed=0)
    expert.reset(0)
    while expert.phase != "raise":
        env.step(expert.act(env.privileged()))
    # The cube is back on the table, well beside the gripper.
    beside = env.cue_pose()
    beside[:3] = [beside[0] - 0.08 * np.sign(beside[0]), beside[1], 0.821]
    env.set_cue_pose(beside)
    phases, terminated, truncated = set(), False, False
    while not (terminated or truncated):
        _, _, terminated, truncated, _ = env.step(expert.act(env.privileged()))
        phases.add(expert.phase)
    assert terminated
    assert "reach" in phases


@given(st.tuples(coordinate, coordinate, coordinate), st.tuples(coordinate, coordinate, coordinate))
def test_a_target_lies_on_the_way_and_never_far_ahead(start: tuple[float, ...], goal: tuple[float, ...]) -> None:
    position, end = np.array(start), np.array(goal)
    target = towards(position, end)
    assert np.linalg.norm(target - position) <= LEAD_M + 1e-9
    assert np.linalg.norm(end - target) <= np.linalg.norm(end - position) + 1e-9
    if np.linalg.norm(end - position) <= LEAD_M:
        np.testing.assert_allclose(target, end, atol=1e-12)
