"""Our control loop against stock robosuite's."""

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from smidgen.envs.control import _rotation_error, _solve
from smidgen.envs.errors import SimulatorError
from smidgen.envs.simulator import RobosuiteLift, quiet_robosuite
from smidgen.envs.tasks import make_env


@pytest.mark.simulator
def test_joint_positions_follow_stock_robosuites() -> None:
    env = make_env("lift", observe_pixels=False)
    env.reset(seed=5)
    stock = stock_lift_in_the_state_of(env)
    rotation_vector = Rotation.from_matrix(env._home_rotation).as_rotvec()
    rng, start = np.random.default_rng(0), env.eef_state()[:3]
    for _ in range(50):
        target = start + rng.uniform(-0.08, 0.08, 3) + [0.0, 0.0, 0.05]
        gripper = rng.choice([-1.0, 1.0])
        env.step(np.append(target, gripper))
        stock.step(np.concatenate([target, rotation_vector, [gripper]]))
        np.testing.assert_allclose(env.data.qpos[:9], stock.sim.data.qpos[:9], atol=1e-8, rtol=0)


def stock_lift_in_the_state_of(env):
    with quiet_robosuite():
        from robosuite.controllers import load_composite_controller_config

        config = load_composite_controller_config(robot="Panda")
        config["body_parts"]["right"].update(input_type="absolute", input_ref_frame="world")
        stock = RobosuiteLift(
            robots="Panda",
            controller_configs=config,
            renderer="mujoco",
            has_offscreen_renderer=False,
            use_camera_obs=False,
            ignore_done=True,
        )
        stock.reset()
    stock.sim.data.qpos[:] = env.data.qpos
    stock.sim.data.qvel[:] = env.data.qvel
    stock.sim.forward()
    stock.robots[0].part_controllers["right"].update_initial_joints(env.data.qpos[:7].copy())
    return stock


def test_rotation_error_is_the_sum_of_the_axes_cross_products() -> None:
    desired, current = Rotation.random(2, random_state=0).as_matrix()
    plain = 0.5 * sum(np.cross(current[:, axis], desired[:, axis]) for axis in range(3))
    np.testing.assert_allclose(_rotation_error(desired, current), plain, atol=1e-15)


def test_solve_takes_the_pseudo_inverse_of_a_singular_matrix() -> None:
    singular = np.diag([2.0, 1.0, 0.0])
    np.testing.assert_allclose(_solve(singular, np.array([2.0, 1.0, 5.0])), [1.0, 1.0, 0.0])


@pytest.mark.simulator
def test_a_diverging_simulation_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # MuJoCo writes its warnings to a file in the working directory
    env = make_env("lift", observe_pixels=False)
    env.reset(seed=0)
    env.data.qvel[:7] = 1e12
    with pytest.raises(SimulatorError, match="unstable"):
        env.step(np.array([0.0, 0.0, 0.9, -1.0]))
    env.reset(seed=0)
    env.step(np.array([0.0, 0.0, 0.9, -1.0]))
