"""Door: turn a handle and pull the door open (robosuite's Door with a latch, Zhu et al. 2020, arXiv:2009.12293)."""

from __future__ import annotations

from typing import Any, ClassVar

import mujoco
import numpy as np

from smidgen.envs.frozen_model import FrozenModel
from smidgen.envs.robosuite_env import RobosuiteEnv
from smidgen.envs.robosuite_tasks import DOOR
from smidgen.envs.simulator import RobosuiteDoor
from smidgen.envs.specs import TaskSpec
from smidgen.envs.table_objects import are_touching, fingerpad_masks, geom_mask, sample_beside

OPEN_RAD = 0.3


class _DoorSimulation(FrozenModel, RobosuiteDoor):
    # This camera shows the robot's base, whose thin parts do not survive decimation.
    whole_meshes = frozenset({"fixed_mount0_pedestal"})


class DoorEnv(RobosuiteEnv):
    """The door's position varies within 1 cm and its yaw by up to 0.25 rad; its pose is the episode's cue."""

    task: ClassVar[TaskSpec] = DOOR
    simulation_class = _DoorSimulation

    def _after_build(self) -> None:
        door = self.simulation.door
        self._door_root = self.model.body(door.root_body).id
        self._latch_body = self.model.body(door.latch_body).id
        self._handle_site = self.model.site(door.important_sites["handle"]).id
        self._hinge, self._latch = (self.model.joint(name) for name in door.joints)
        prefix = door.naming_prefix
        self._handle_geoms = geom_mask(self.model, [f"{prefix}handle", f"{prefix}handle_base"])
        self._pads = fingerpad_masks(self.model, self._robot.gripper["right"])

    def is_success(self) -> bool:
        """Whether the door is open by more than 0.3 rad (robosuite's rule)."""
        return bool(self._angle_rad(self._hinge) > OPEN_RAD)

    def _angle_rad(self, joint: Any) -> float:
        return float(self.data.qpos[joint.qposadr[0]])

    def is_grasped(self) -> bool:
        """Whether both fingertips touch the handle."""
        return all(are_touching(self.data, pad, self._handle_geoms) for pad in self._pads)

    def privileged(self) -> dict[str, np.ndarray]:
        """State for experts and failure labels.

        Returns:
            ``eef_position_m`` (3,), ``gripper_opening_m`` (), ``object_position_m`` (3,) a point near the handle's free
            end, ``handle_axis_m`` (3,) a point on the handle's axis of rotation, ``handle_turned_rad`` ()
            downwards, ``hinge_position_m`` (3,), ``door_open_rad`` (), ``is_grasped`` () bool, ``is_success`` () bool.
        """
        return {
            "eef_position_m": self.data.site_xpos[self._arm.site].copy(),
            "gripper_opening_m": np.float64(self.gripper_opening_m()),
            "object_position_m": self.data.site_xpos[self._handle_site].copy(),
            "handle_axis_m": self.data.xpos[self._latch_body].copy(),
            "handle_turned_rad": np.float64(self._angle_rad(self._latch)),
            "hinge_position_m": self.data.xanchor[self._hinge.id].copy(),
            "door_open_rad": np.float64(self._angle_rad(self._hinge)),
            "is_grasped": np.bool_(self.is_grasped()),
            "is_success": np.bool_(self.is_success()),
        }

    def cue_pose(self) -> np.ndarray:
        """(7,) position (m) and unit quaternion (w, x, y, z) of the door and its frame."""
        return np.concatenate([self.model.body_pos[self._door_root], self.model.body_quat[self._door_root]])

    def set_cue_pose(self, pose: np.ndarray) -> None:
        """Moves the door and its frame to a (7,) pose, keeping the joint angles."""
        self._set_task_state(pose)
        mujoco.mj_forward(self.model, self.data)

    def sample_cue_pose(self, rng: np.random.Generator) -> np.ndarray:
        """Draws a position and a yaw as resets do."""
        return sample_beside(self.simulation.placement_initializer, self.simulation.door, {}, rng)

    def _cue_geoms(self) -> list[int]:
        return [self.model.geom(name).id for name in self.simulation.door.visual_geoms]

    def _task_state(self) -> np.ndarray:
        return self.cue_pose()

    def _set_task_state(self, state: np.ndarray) -> None:
        self.model.body_pos[self._door_root], self.model.body_quat[self._door_root] = np.split(state, [3])
