"""Wipe: clean a line of dirt off a table (robosuite's Wipe, Zhu et al. 2020, arXiv:2009.12293)."""

from __future__ import annotations

from typing import Any, ClassVar

import mujoco
import numpy as np

from smidgen.envs.frozen_model import FrozenModel
from smidgen.envs.robosuite_env import RobosuiteEnv
from smidgen.envs.robosuite_tasks import WIPE
from smidgen.envs.simulator import RobosuiteWipe
from smidgen.envs.specs import TaskSpec
from smidgen.envs.table_objects import geom_mask

# Largest height of a piece of dirt above the tool's lower face at which it is still wiped.
WIPE_DEPTH_M = 0.02
LIMIT_MARGIN_RAD = 0.1


class _WipeSimulation(FrozenModel, RobosuiteWipe):
    # At MuJoCo's 28 slices and 16 stacks, a hundred cylinders, a millimetre high, would take most of a frame's time.
    cylinder_resolution = (20, 2)


class WipeEnv(RobosuiteEnv):
    """A hundred pieces of dirt lie along a random path, the episode's cue; all must be wiped off the table."""

    task: ClassVar[TaskSpec] = WIPE
    simulation_class = _WipeSimulation

    def _find_home_rotation(self) -> np.ndarray:
        """A flat tool; robosuite's start tilts it by 7 degrees, so that only one edge wipes."""
        return np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])

    def _after_build(self) -> None:
        markers = self.simulation.model.mujoco_arena.markers
        self._dirt_bodies = np.array([self.model.body(marker.root_body).id for marker in markers])
        self._dirt_geoms = np.array([self.model.geom(marker.visual_geoms[0]).id for marker in markers])
        corners = self._robot.gripper["right"].important_geoms["corners"]
        self._arm_geoms = geom_mask(self.model, self._robot.robot_model.contact_geoms)
        joints = [self.model.joint(name).id for name in self._robot.robot_model.arm_joints]
        self._joint_range_rad = self.model.jnt_range[joints].T + np.array([[LIMIT_MARGIN_RAD], [-LIMIT_MARGIN_RAD]])
        self._corners = [self.model.geom(name).id for name in corners]

    def is_wiped(self) -> np.ndarray:
        """(num_pieces,) bool, which pieces of dirt are wiped; wiped pieces are transparent."""
        return self.model.geom_rgba[self._dirt_geoms, 3] == 0.0

    def is_success(self) -> bool:
        """Whether all dirt is wiped (robosuite's rule)."""
        return bool(self.is_wiped().all())

    def _after_physics(self) -> None:
        """Removes wiped dirt."""
        if self.data.ncon and self.is_safe():
            self.model.geom_rgba[self._dirt_geoms[self.is_covered()], 3] = 0.0

    def is_safe(self) -> bool:
        """Whether the arm touches nothing and stays 0.1 rad from its joint limits; else robosuite wipes nothing."""
        angles_rad = self.data.qpos[self._arm.qpos]
        low_rad, high_rad = self._joint_range_rad
        if (angles_rad < low_rad).any() or (angles_rad > high_rad).any():
            return False
        return not self._arm_geoms[self.data.contact.geom].any()

    def is_covered(self) -> np.ndarray:
        """(num_pieces,) bool, which pieces of dirt the tool's lower face covers and presses on."""
        first, second, _, fourth = self.data.geom_xpos[self._corners]
        length, width = first - second, fourth - second
        up = np.cross(length, width)
        offset = self.data.xpos[self._dirt_bodies] - second
        along, across = offset @ length / (length @ length), offset @ width / (width @ width)
        height_m = offset @ up / np.linalg.norm(up)
        inside = (along > 0.0) & (along < 1.0) & (across > 0.0) & (across < 1.0)
        return np.asarray(inside & (height_m > 0.0) & (height_m < WIPE_DEPTH_M))

    def privileged(self) -> dict[str, np.ndarray]:
        """State for experts.

        Returns:
            ``eef_position_m`` (3,), ``dirt_positions_m`` (num_pieces, 3), ``is_wiped`` (num_pieces,) bool,
            ``is_success`` () bool.
        """
        return {
            "eef_position_m": self.data.site_xpos[self._arm.site].copy(),
            "dirt_positions_m": self.data.xpos[self._dirt_bodies].copy(),
            "is_wiped": self.is_wiped(),
            "is_success": np.bool_(self.is_success()),
        }

    def cue_pose(self) -> np.ndarray:
        """(2 num_pieces,) x and y of each piece of dirt relative to the table's centre, in metres."""
        return self.model.body_pos[self._dirt_bodies, :2].ravel()

    def set_cue_pose(self, pose: np.ndarray) -> None:
        """Moves the dirt; wiped pieces stay wiped."""
        self.model.body_pos[self._dirt_bodies, :2] = pose.reshape(-1, 2)
        mujoco.mj_forward(self.model, self.data)

    def sample_cue_pose(self, rng: np.random.Generator) -> np.ndarray:
        """Draws a path as resets do."""
        arena: Any = self.simulation.model.mujoco_arena
        generator, arena.rng = arena.rng, rng
        try:
            path = [arena.sample_start_pos()]
            while len(path) < len(self._dirt_bodies):
                path.append(arena.sample_path_pos(path[-1]))
        finally:
            arena.rng = generator
        return np.concatenate(path)

    def _cue_geoms(self) -> list[int]:
        return list(self._dirt_geoms)

    def _task_state(self) -> np.ndarray:
        return np.concatenate([self.cue_pose(), self.is_wiped()])

    def _set_task_state(self, state: np.ndarray) -> None:
        path, is_wiped = np.split(state, [2 * len(self._dirt_bodies)])
        self.model.body_pos[self._dirt_bodies, :2] = path.reshape(-1, 2)
        self.model.geom_rgba[self._dirt_geoms, 3] = 1.0 - is_wiped
