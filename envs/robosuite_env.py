"""The base of every task: a Gymnasium environment around a robosuite model, with our own control loop and renderer.

robosuite builds the model and places the objects and the robot. Stepping and rendering are ours.
"""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Iterator
from typing import Any, ClassVar

import gymnasium
import mujoco
import numpy as np
from gymnasium.spaces import Box
from gymnasium.spaces import Dict as DictSpace

from smidgen.envs.control import OperationalSpaceController, arm_indices
from smidgen.envs.fingerprint import environment_fingerprint
from smidgen.envs.frozen_model import FrozenModel, build_simulation, free_simulation
from smidgen.envs.rendering import HIDDEN_GROUP, FrameRenderer, get_render_profile, parse_image_size
from smidgen.envs.simulator import quiet_robosuite
from smidgen.envs.specs import TaskSpec
from smidgen.envs.yaw import next_yaw, turned_about_vertical, yaw_between
from smidgen.runtime.user_code import hash_modules
from smidgen.runtime.worker_process import end_with_parent_process

_STATE = mujoco.mjtState.mjSTATE_FULLPHYSICS | mujoco.mjtState.mjSTATE_WARMSTART


class RobosuiteEnv(gymnasium.Env[dict[str, np.ndarray], np.ndarray], abc.ABC):
    """A task with absolute end-effector targets in and frames out.

    Args:
        cameras: Names of the cameras to render; the task's by default. May be empty.
        image_size: Height and width of a frame in pixels, or one number for both.
        render_profile: ``v0``, frozen with this version, or ``stock``, robosuite's pixels.
        observe_pixels: Whether observations contain frames. If not, frames are rendered on request only.
        render_mode: ``rgb_array`` or None; both render the first camera.

    Raises:
        UserError: For an unknown profile or an impossible size, and at the first frame for an unknown camera.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012  (as in Gymnasium)
    task: ClassVar[TaskSpec]
    # For users' tasks: the Expert that collects demonstrations, if any. Ours are registered in EXPERTS.
    expert: ClassVar[type[Any] | None] = None
    simulation_class: ClassVar[type[FrozenModel]]

    def __init__(
        self,
        cameras: tuple[str, ...] | None = None,
        image_size: int | tuple[int, int] = 64,
        render_profile: str = "v0",
        observe_pixels: bool = True,
        render_mode: str | None = "rgb_array",
    ) -> None:
        end_with_parent_process()
        self.cameras = tuple(self.task.cameras if cameras is None else cameras)
        self.image_size = parse_image_size(image_size)
        self.render_profile = get_render_profile(render_profile)
        self.observe_pixels = observe_pixels
        self.render_mode = render_mode
        self.simulation = build_simulation(self.simulation_class, self.render_profile, self.task.control_hz)
        self.model: mujoco.MjModel = self.simulation.sim.model._model
        self.data: mujoco.MjData = self.simulation.sim.data._data
        self._num_substeps = round(1.0 / (self.task.control_hz * self.model.opt.timestep))
        self._robot = self.simulation.robots[0]
        self._arm = arm_indices(self.model, self._robot)
        self._home_rotation = self._find_home_rotation()
        self._controller = OperationalSpaceController(self.model, self.data, self._arm)
        self._renderer: FrameRenderer | None = None
        self._num_steps = self._held_steps = 0
        self.action_space: Box = Box(np.array(self.task.action.low), np.array(self.task.action.high), dtype=np.float64)
        self.observation_space = self._observation_space()  # type: ignore[assignment]
        self._after_build()

    def _observation_space(self) -> DictSpace:
        spaces: dict[str, gymnasium.Space[Any]] = {
            "eef_state": Box(-np.inf, np.inf, (len(self.task.eef_state_names),), dtype=np.float64)
        }
        if self.observe_pixels:
            spaces |= {f"{name}_image": Box(0, 255, (*self.image_size, 3), dtype=np.uint8) for name in self.cameras}
        return DictSpace(spaces)

    def _after_build(self) -> None:
        """Hook for tasks to look up their indices in the compiled model."""

    @abc.abstractmethod
    def is_success(self) -> bool:
        """Whether the task is solved in the current state."""

    @abc.abstractmethod
    def privileged(self) -> dict[str, np.ndarray]:
        """The current state as experts see it; each task documents its entries."""

    @abc.abstractmethod
    def cue_pose(self) -> np.ndarray:
        """Pose of the cue, which distinguishes episodes, as one vector."""

    @abc.abstractmethod
    def set_cue_pose(self, pose: np.ndarray) -> None:
        """Moves the cue in the current state."""

    @abc.abstractmethod
    def sample_cue_pose(self, rng: np.random.Generator) -> np.ndarray:
        """Draws a pose from the range that resets draw from."""

    @abc.abstractmethod
    def _cue_geoms(self) -> list[int]:
        """Geoms that show the cue."""

    def _find_home_rotation(self) -> np.ndarray:
        """The gripper's rotation at the robot's nominal start, before start noise: the rotation to keep."""
        self.data.qpos[self._arm.qpos] = self._robot.init_qpos
        mujoco.mj_forward(self.model, self.data)
        return np.array(self.data.site_xmat[self._arm.site]).reshape(3, 3)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Starts an episode; the seed drives object placement and robot start noise.

        Args:
            seed: The episode's seed; drawn from the previous episode's generator if None.
            options: Ignored.

        Returns:
            The observation, and ``info`` with ``is_success``, ``success_held_steps`` and ``seed``.
        """
        super().reset(seed=seed)
        episode_seed = int(self.np_random.integers(2**31)) if seed is None else seed
        # Samplers keep references to this generator, so it is reseeded in place.
        self.simulation.rng.bit_generator.state = np.random.default_rng(episode_seed).bit_generator.state
        with quiet_robosuite():
            self.simulation.reset()
        self._controller.reset()
        self._num_steps = self._held_steps = 0
        self._after_reset()
        mujoco.mj_forward(self.model, self.data)
        return self._observation(), self._info() | {"seed": episode_seed}

    def _after_reset(self) -> None:
        """Hook for tasks to finish a reset once robosuite has placed everything."""

    def step(self, action: np.ndarray) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Moves towards the target for one control step.

        Args:
            action: (A,) in the task's action specification; values outside its bounds are clipped.

        Returns:
            Observation, reward (1 in a successful state, else 0), whether success has held long enough, whether the
            horizon is reached, and ``info``.

        Raises:
            ValueError: If the action has the wrong shape or contains NaN or infinity.
            SimulatorError: If the simulation diverges.
        """
        action = np.asarray(action, dtype=np.float64)
        if action.shape != self.action_space.shape or not np.isfinite(action).all():
            raise ValueError(f"expected {self.task.action.size} finite numbers {self.task.action.names}, got {action}")
        action = np.clip(action, self.action_space.low, self.action_space.high)
        index = self.task.action.gripper_index
        gripper = None if index is None else float(action[index])
        self._controller.step(self._target_position(action), self._target_rotation(action), gripper, self._num_substeps)
        # Kinematics and contacts of the step's final state; velocities are updated in the next step.
        mujoco.mj_fwdPosition(self.model, self.data)
        self._after_physics()
        self._num_steps += 1
        self._held_steps = self._held_steps + 1 if self.is_success() else 0
        terminated = self._held_steps >= self.task.hold_steps
        truncated = self._num_steps >= self.task.horizon and not terminated
        return self._observation(), float(self._held_steps > 0), terminated, truncated, self._info()

    def _target_position(self, action: np.ndarray) -> np.ndarray:
        return action[self.task.action.position_indices]

    def _after_physics(self) -> None:
        """Hook for tasks to update their own state, not MuJoCo's, after each control step."""

    def _target_rotation(self, action: np.ndarray) -> np.ndarray:
        """The commanded rotation: home, turned about the vertical if the task declares yaw."""
        if "yaw" not in self.task.action.kinds:
            return self._home_rotation
        yaw_rad = next_yaw(float(action[self.task.action.kinds.index("yaw")]), self.eef_yaw_rad())
        return turned_about_vertical(self._home_rotation, yaw_rad)

    def _info(self) -> dict[str, Any]:
        return {"is_success": self.is_success(), "success_held_steps": self._held_steps}

    def _observation(self) -> dict[str, np.ndarray]:
        observation = {"eef_state": self.eef_state()}
        if self.observe_pixels:
            frames = self.render_frames()
            observation |= {f"{name}_image": frame for name, frame in zip(self.cameras, frames, strict=True)}
        return observation

    def eef_state(self) -> np.ndarray:
        """(E,) position (m, world frame); opening (m), cos and sin of twice the yaw if the action has them."""
        state = [self.data.site_xpos[self._arm.site]]
        if self.task.action.gripper_index is not None:
            state.append([self.gripper_opening_m()])
        if "yaw" in self.task.action.kinds:
            state.append([np.cos(2.0 * self.eef_yaw_rad()), np.sin(2.0 * self.eef_yaw_rad())])
        return np.concatenate(state)

    def eef_yaw_rad(self) -> float:
        """The gripper's rotation about the vertical from home, in (-pi, pi]."""
        return yaw_between(self.data.site_xmat[self._arm.site].reshape(3, 3), self._home_rotation)

    def gripper_opening_m(self) -> float:
        """Distance between the fingertips in metres."""
        joints = self._robot.gripper["right"].joints
        first, second = (self.data.qpos[self.model.joint(name).qposadr[0]] for name in joints)
        return float(first - second)

    def render_frames(self) -> np.ndarray:
        """Frames of the current state: (num_cameras, H, W, 3) uint8, upright."""
        return self._frame_renderer().render()

    def _frame_renderer(self) -> FrameRenderer:
        if self._renderer is None:
            self._renderer = FrameRenderer(self.model, self.data, self.cameras, self.image_size, self.render_profile)
        return self._renderer

    def render(self) -> np.ndarray:
        """The first camera's frame of the current state: (H, W, 3) uint8."""
        return self.render_frames()[0]

    @contextlib.contextmanager
    def cue_hidden(self) -> Iterator[None]:
        """Hides the cue in frames rendered inside the block; physics is unaffected."""
        geoms = self._cue_geoms()
        before = self.model.geom_group[geoms].copy()
        self.model.geom_group[geoms] = HIDDEN_GROUP
        try:
            yield
        finally:
            self.model.geom_group[geoms] = before

    def move_cue(self, rng: np.random.Generator) -> np.ndarray:
        """Moves the cue elsewhere in the reset range and returns its pose."""
        self.set_cue_pose(self.sample_cue_pose(rng))
        return self.cue_pose()

    def get_state(self) -> np.ndarray:
        """Everything needed to render this state again and to continue from it, as one float64 vector."""
        physics = np.empty(mujoco.mj_stateSize(self.model, _STATE))
        mujoco.mj_getState(self.model, self.data, physics, _STATE)
        ours = [self._controller.posture_rad, self._controller.finger_command, self._task_state()]
        return np.concatenate([physics, *ours, [self._num_steps, self._held_steps]])

    def set_state(self, state: np.ndarray) -> None:
        """Restores a state returned by :meth:`get_state`.

        Raises:
            ValueError: If the vector has the wrong length, as from another task or version.
        """
        ours = [self._controller.posture_rad, self._controller.finger_command, self._task_state()]
        sizes = [mujoco.mj_stateSize(self.model, _STATE), *map(len, ours), 2]
        state = np.asarray(state, dtype=np.float64)
        if state.shape != (sum(sizes),):
            raise ValueError(f"{self.task.env_id}: expected a state of {sum(sizes)} numbers, got shape {state.shape}")
        physics, posture, fingers, task_state, counters = np.split(state, np.cumsum(sizes)[:-1])
        self._set_task_state(task_state)
        mujoco.mj_setState(self.model, self.data, physics, _STATE)
        self._controller.posture_rad, self._controller.finger_command = posture.copy(), fingers.copy()
        self._num_steps, self._held_steps = int(counters[0]), int(counters[1])
        mujoco.mj_forward(self.model, self.data)
        # mj_forward changes the solver's warm start; the stored one belongs to this state.
        mujoco.mj_setState(self.model, self.data, physics, _STATE)

    def _task_state(self) -> np.ndarray:
        """Model fields and latches that this task changes and that are not in MuJoCo's state."""
        return np.zeros(0)

    def _set_task_state(self, state: np.ndarray) -> None:
        """The inverse of :meth:`_task_state`."""

    def fingerprint(self) -> dict[str, dict[str, Any]]:
        """Identifies this environment: ``ranked`` decides what may be compared, ``host`` only how exactly."""
        module = type(self).__module__
        return environment_fingerprint(
            code={} if module.partition(".")[0] == "smidgen" else hash_modules(module),
            env_id=self.task.env_id,
            render_profile=self.render_profile,
            model_sha256=self.simulation.model_sha256,
            cameras=self.cameras,
            image_size=self.image_size,
            renderer=self._renderer.renderer_name() if self._renderer else "",
        )

    def renderer_name(self) -> str:
        """OpenGL's name of the renderer."""
        return self._frame_renderer().renderer_name()

    def close(self) -> None:
        """Releases the OpenGL context and the simulation's memory; the environment is unusable afterwards."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None
        if hasattr(self, "model"):
            del self.model, self.data, self._controller
            free_simulation(self.simulation)
