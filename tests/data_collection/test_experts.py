"""Experts: contract over the registry, success in the real simulator, and the motion primitives."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smidgen.data_collection.experts import EXPERTS
from smidgen.data_collection.experts.carry import CarryExpert
from smidgen.data_collection.experts.expert import FUNNEL_M, LEAD_M, Expert, funnel_m, towards
from smidgen.envs.seeds import seeds
from smidgen.envs.tasks import TASKS, make_env
from tests.long_form import long_form

CARRYING = sorted(task for task, expert in EXPERTS.items() if issubclass(expert, CarryExpert))

coordinate = st.floats(-1.0, 1.0)


def test_every_task_has_an_expert() -> None:
    assert set(EXPERTS) == set(TASKS)


@pytest.fixture(scope="module")
def blind_environment_of() -> Callable[[str], Any]:
    """Makes each task's environment once, without pixels."""
    return functools.cache(lambda task: make_env(task, observe_pixels=False))


def run(env: Any, expert: Expert, see: Callable[[np.ndarray], None] = lambda action: None) -> bool:
    """Goes on from where environment and expert are; whether the episode ends in success."""
    terminated = truncated = False
    while not (terminated or truncated):
        action = expert.act(env.privileged())
        see(action)
        _, _, terminated, truncated, _ = env.step(action)
    return bool(terminated)


@pytest.mark.simulator
@pytest.mark.parametrize("task", sorted(EXPERTS))
def test_the_expert_succeeds_inside_the_action_space(task: str, blind_environment_of: Callable[[str], Any]) -> None:
    env, expert = blind_environment_of(task), EXPERTS[task](TASKS[task].action)
    phases = set()

    def see(action: np.ndarray) -> None:
        assert env.action_space.contains(action)
        phases.add(expert.phase)

    # All tasks but Lift, which demos and benchmarks run, take longer: what they reach over 200 seeds is in results/.
    for seed in seeds("checkpoint", 0, long_form(10, 3) if task == "lift" else long_form(2, 1)):
        env.reset(seed=seed)
        expert.reset(seed)
        assert run(env, expert, see)
    # Out of the way of a tall object it need not get: that one is placed, by robosuite's rule, as it is let go.
    assert set(expert.phases) - phases <= {"retreat"}


@pytest.mark.simulator
@pytest.mark.parametrize("task", sorted(EXPERTS))
def test_the_counterfactual_target_follows_the_cue_and_disturbs_nothing(
    task: str, blind_environment_of: Callable[[str], Any]
) -> None:
    env, expert = blind_environment_of(task), EXPERTS[task](TASKS[task].action)
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
def test_the_lift_expert_grasps_again_after_a_slip(blind_environment_of: Callable[[str], Any]) -> None:
    env, expert = blind_environment_of("lift"), EXPERTS["lift"](TASKS["lift"].action)
    env.reset(seed=0)
    expert.reset(0)
    while expert.phase != "raise":
        env.step(expert.act(env.privileged()))
    # The cube is back on the table, well beside the gripper.
    beside = env.cue_pose()
    beside[:3] = [beside[0] - 0.08 * np.sign(beside[0]), beside[1], 0.821]
    env.set_cue_pose(beside)
    phases = set()
    assert run(env, expert, lambda action: phases.add(expert.phase))
    assert "reach" in phases


@pytest.mark.simulator
# One with and one without a bin or peg to miss; the long form has the other objects.
@pytest.mark.parametrize("task", long_form(CARRYING, ["nut_assembly_square", "stack"]))
def test_an_object_lost_on_the_way_is_fetched_again(task: str, blind_environment_of: Callable[[str], Any]) -> None:
    env, expert = blind_environment_of(task), EXPERTS[task](TASKS[task].action)
    env.reset(seed=2)
    expert.reset(2)
    where_it_lay = env.cue_pose()
    while expert.phase != "lower":
        env.step(expert.act(env.privileged()))
    env.set_cue_pose(where_it_lay)
    state = env.get_state()
    state[-2] = 0  # all of the time again
    env.set_state(state)
    phases = []
    assert run(env, expert, lambda action: phases.append(expert.phase))
    assert phases.index("reach") < phases.index("grasp")


@pytest.mark.simulator
def test_a_handle_that_springs_back_is_pressed_again(blind_environment_of: Callable[[str], Any]) -> None:
    env, expert = blind_environment_of("door"), EXPERTS["door"](TASKS["door"].action)
    env.reset(seed=2)
    expert.reset(2)
    while expert.phase != "draw":
        env.step(expert.act(env.privileged()))
    # Someone lifts the arm off the handle.
    for _ in range(8):
        env.step(np.append(env.eef_state()[:3] + np.array([-0.05, 0.1, 0.1]), -1.0))
    phases = set()
    assert run(env, expert, lambda action: phases.add(expert.phase))
    assert "reach" in phases


@pytest.mark.simulator
@pytest.mark.parametrize("task", ["lift", "stack", "door"])
def test_an_expert_that_varies_succeeds_by_another_way(task: str, blind_environment_of: Callable[[str], Any]) -> None:
    env = blind_environment_of(task)
    plain, varied = (EXPERTS[task](TASKS[task].action, variation) for variation in (0.0, 1.0))
    env.reset(seed=0)
    actions = []
    for expert in (plain, varied, varied):
        expert.reset(4)
        actions.append(expert.act(env.privileged()))
    assert (plain.pace, plain.approach_m) == (1.0, 0.0)
    assert varied.pace < 1.0
    assert varied.approach_m > 0.0
    assert not np.allclose(actions[0], actions[1])
    assert np.array_equal(actions[1], actions[2]), "the seed decides"
    varied.reset(4)
    assert run(env, varied)


@given(st.tuples(coordinate, coordinate, coordinate), st.tuples(coordinate, coordinate, coordinate))
def test_a_target_lies_on_the_way_and_never_far_ahead(start: tuple[float, ...], goal: tuple[float, ...]) -> None:
    position, end = np.array(start), np.array(goal)
    target = towards(position, end)
    assert np.linalg.norm(target - position) <= LEAD_M + 1e-9
    assert np.linalg.norm(end - target) <= np.linalg.norm(end - position) + 1e-9
    if np.linalg.norm(end - position) <= LEAD_M:
        np.testing.assert_allclose(target, end, atol=1e-12)


@given(st.floats(0.0, 0.1), st.floats(0.0, 0.1))
def test_a_descent_is_held_back_only_beside_its_goal(error_m: float, height_m: float) -> None:
    held_m = funnel_m(error_m, height_m, exact_m=0.01)
    assert 0.0 <= held_m <= height_m
    assert (held_m == 0.0) == (error_m <= 0.01 or height_m == 0.0) or held_m < 1e-9
    if error_m >= 0.01 + FUNNEL_M:
        assert held_m == pytest.approx(height_m)
