"""The tasks taken from robosuite: its rules, reset ranges and pictures, and yaw."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smidgen.data_collection.experts import EXPERTS
from smidgen.envs import rendering
from smidgen.envs.robosuite_tasks import LIFT, ROBOSUITE_TASKS
from smidgen.envs.simulator import quiet_robosuite
from smidgen.envs.tasks import TASKS, make_env
from smidgen.envs.yaw import HYSTERESIS_RAD, LEAD_RAD, MIDDLE_RAD, nearest_equal_yaw, next_yaw, principal_yaw
from tests.long_form import long_form

NAMES = [task.name for task in ROBOSUITE_TASKS if task is not LIFT]
FREE_OBJECT_TASKS = [name for name in NAMES if name not in ("door", "wipe")]
# Only the robot is decimated, so tasks that differ in one object look alike; the long form looks at all of them.
DECIMATED = long_form(NAMES, ["nut_assembly_square", "door", "wipe"])

angle = st.floats(-np.pi, np.pi)


def run_expert(env: Any, seed: int, see: Callable[[], None]) -> None:
    expert = EXPERTS[env.task.name](env.task.action)
    env.reset(seed=seed)
    expert.reset(seed)
    terminated = truncated = False
    while not (terminated or truncated):
        see()
        _, _, terminated, truncated, _ = env.step(expert.act(env.privileged()))
    see()
    assert terminated


@pytest.mark.simulator
@pytest.mark.parametrize("task", FREE_OBJECT_TASKS, scope="module")
def test_success_and_grasp_are_robosuites(
    task: str, environment_of: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    env = environment_of(task)
    monkeypatch.setattr(env, "observe_pixels", False)
    seen = set()

    def see() -> None:
        grasped = env.simulation._check_grasp(env.simulation.robots[0].gripper, env.manipulated_object)
        assert env.is_grasped() == grasped
        assert env.is_success() == bool(env.simulation._check_success())
        seen.add((env.is_grasped(), env.is_success()))

    run_expert(env, 1, see)
    # By robosuite's rule a tall object that is held by its top inside its bin is placed already.
    assert {(False, False), (True, False), (False, True)} <= seen


@pytest.mark.simulator
def test_the_door_is_open_when_robosuite_says_so(
    environment_of: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    env = environment_of("door")
    monkeypatch.setattr(env, "observe_pixels", False)
    seen = set()

    def see() -> None:
        assert env.is_success() == bool(env.simulation._check_success())
        seen.add(env.is_success())

    run_expert(env, 1, see)
    assert seen == {False, True}


@pytest.mark.simulator
def test_dirt_is_wiped_where_robosuite_wipes_it(
    environment_of: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    env = environment_of("wipe")
    monkeypatch.setattr(env, "observe_pixels", False)
    markers, gripper = env.simulation.model.mujoco_arena.markers, env.simulation.robots[0].gripper["right"]
    most_covered = 0

    def see() -> None:
        nonlocal most_covered
        active = env.simulation._get_active_markers(gripper.important_geoms["corners"])
        covered = env.is_covered()
        assert [markers.index(marker) for marker in active] == np.flatnonzero(covered).tolist()
        assert env.is_wiped()[covered].all()
        most_covered = max(most_covered, covered.sum())

    run_expert(env, 1, see)
    assert most_covered > 1


@pytest.mark.simulator
def test_nothing_is_wiped_near_a_joint_limit_or_in_a_collision(environment_of: Callable[[str], Any]) -> None:
    env = environment_of("wipe")
    robot, rng = env.simulation.robots[0], np.random.default_rng(0)
    low, high = env.model.jnt_range[:7].T
    seen = []
    for _ in range(40):
        env.reset(seed=0)
        env.data.qpos[:7] = np.clip(env.data.qpos[:7] + rng.normal(0.0, 0.4, 7), low, high)
        env.simulation.sim.forward()
        with quiet_robosuite():
            limits, collides = robot.check_q_limits(), env.simulation.check_contact(robot.robot_model)
        assert env.is_safe() == (not limits and not collides)
        seen.append((limits, collides))
    assert {(False, False), (True, False)} <= set(seen)


@pytest.mark.simulator
def test_dirt_that_is_wiped_is_gone_from_the_picture(environment_of: Callable[[str], Any]) -> None:
    env = environment_of("wipe")
    env.reset(seed=3)
    with env.cue_hidden():
        clean = env.render_frames()
    assert not np.array_equal(env.render_frames(), clean)
    state = env.get_state()
    state[-2 - env.is_wiped().size : -2] = 1.0
    env.set_state(state)
    assert env.is_success()
    assert np.array_equal(env.render_frames(), clean)


@pytest.mark.simulator
@pytest.mark.parametrize("task", DECIMATED, scope="module")
def test_the_decimated_picture_is_a_fair_one(
    task: str, environment_of: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = replace(rendering.RENDER_PROFILES["v0"], name="whole", mesh_fraction=1.0, min_faces=0)
    monkeypatch.setitem(rendering.RENDER_PROFILES, "whole", whole)
    undecimated = make_env(task, render_profile="whole")
    pictures, cues = [], []
    for env in (environment_of(task), undecimated):
        env.reset(seed=0)
        pictures.append(env.render_frames().astype(float))
        with env.cue_hidden():
            cues.append((env.render_frames() != pictures[-1]).any(axis=-1))
    assert np.abs(pictures[0] - pictures[1]).mean() < 2.0
    # Only the robot is decimated: where nothing of it is in the way, the cue's outline is the same to the pixel.
    assert cues[0].sum() > 0
    assert (cues[0] != cues[1]).sum() <= 0.02 * cues[1].sum()
    undecimated.close()


@given(angle)
def test_yaws_are_equal_modulo_half_a_turn(yaw_rad: float) -> None:
    principal = principal_yaw(yaw_rad)
    assert -np.pi / 2 <= principal <= np.pi / 2
    assert np.isclose(np.cos(2 * principal), np.cos(2 * yaw_rad))
    assert np.isclose(np.sin(2 * principal), np.sin(2 * yaw_rad), atol=1e-9)


@given(angle, angle)
def test_the_nearest_equal_yaw_is_reached_without_leaving_the_arms_range(asked_rad: float, present_rad: float) -> None:
    yaw_rad = nearest_equal_yaw(asked_rad, present_rad)
    assert np.isclose(principal_yaw(yaw_rad - asked_rad + 0.1), 0.1)
    assert abs(yaw_rad - MIDDLE_RAD) <= np.pi / 2 + HYSTERESIS_RAD
    step_rad = next_yaw(asked_rad, present_rad) - present_rad
    assert abs(step_rad) <= LEAD_RAD + 1e-12
    assert abs(yaw_rad - present_rad - step_rad) <= abs(yaw_rad - present_rad) + 1e-12


@pytest.mark.parametrize(
    ("asked_deg", "present_deg", "expected_deg"),
    [(-88.0, 89.0, 92.0), (138.0, 130.0, 138.0), (-42.0, 130.0, 138.0), (138.0, -45.0, -42.0), (10.0, 95.0, 10.0)],
)
def test_a_target_that_leaves_the_half_turn_by_little_does_not_spin_the_hand(
    asked_deg: float, present_deg: float, expected_deg: float
) -> None:
    asked_rad, present_rad = np.deg2rad([asked_deg, present_deg])
    assert np.rad2deg(nearest_equal_yaw(asked_rad, present_rad)) == pytest.approx(expected_deg)


@pytest.mark.simulator
@pytest.mark.parametrize("yaw_rad", [-1.4, 0.7, 1.5])
def test_the_gripper_turns_to_the_yaw_it_is_asked_for(
    yaw_rad: float, environment_of: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    env = environment_of("stack")
    monkeypatch.setattr(env, "observe_pixels", False)
    env.reset(seed=0)
    for _ in range(80):
        env.step(np.array([-0.05, 0.0, 1.0, yaw_rad, -1.0]))
    assert principal_yaw(env.eef_yaw_rad() - yaw_rad) == pytest.approx(0.0, abs=0.02)
    assert env.eef_state()[4:] == pytest.approx([np.cos(2 * yaw_rad), np.sin(2 * yaw_rad)], abs=0.05)


def test_every_task_says_what_its_action_means() -> None:
    for name in (LIFT.name, *NAMES):
        spec = TASKS[name].action
        assert spec.position_indices == [0, 1, 2]
        assert len(TASKS[name].eef_state_names) == 3 + (spec.gripper_index is not None) + 2 * ("yaw" in spec.kinds)
