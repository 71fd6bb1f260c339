"""Objects on the table: which of them touch, where one may be put, and the base of tasks in which one is grasped."""

from __future__ import annotations

import abc
from collections.abc import Iterable, Mapping
from typing import Any

import mujoco
import numpy as np

from smidgen.envs.robosuite_env import RobosuiteEnv


def geom_mask(model: mujoco.MjModel, names: Iterable[str]) -> np.ndarray:
    """(num_geoms,) bool, true for the geoms of these names."""
    mask = np.zeros(model.ngeom, dtype=bool)
    mask[[model.geom(name).id for name in names]] = True
    return mask


def fingerpad_masks(model: mujoco.MjModel, gripper: Any) -> tuple[np.ndarray, np.ndarray]:
    """One mask for each of a robosuite gripper's two fingertips."""
    left, right = (geom_mask(model, gripper.important_geoms[f"{side}_fingerpad"]) for side in ("left", "right"))
    return left, right


def are_touching(data: mujoco.MjData, some: np.ndarray, others: np.ndarray) -> bool:
    """Whether a geom of one mask touches a geom of another."""
    first, second = data.contact.geom.T
    return bool(((some[first] & others[second]) | (others[first] & some[second])).any())


def sample_beside(sampler: Any, placed: Any, others: Mapping[str, Any], rng: np.random.Generator) -> np.ndarray:
    """Draws a pose for one object as a reset would, clear of objects that stay in place.

    Args:
        sampler: A robosuite ``UniformRandomSampler``.
        placed: The object's robosuite model.
        others: Placements to keep clear of, as robosuite writes them: name -> (position, quaternion, model).
        rng: The generator to draw from.

    Returns:
        (7,) position in metres and unit quaternion (w, x, y, z).
    """
    objects, generator = sampler.mujoco_objects, sampler.rng
    sampler.mujoco_objects, sampler.rng = [placed], rng
    try:
        position, quaternion, _ = sampler.sample(fixtures=dict(others))[placed.name]
    finally:
        sampler.mujoco_objects, sampler.rng = objects, generator
    return np.concatenate([position, quaternion])


class ParkedObjects:
    """Mix-in for a robosuite environment: unused objects rest on the floor, far from the camera.

    robosuite drops them from 10 m, one inside the other.
    """

    model: Any
    sim: Any

    def clear_objects(self, object_names: list[str]) -> None:
        """Places objects side by side, away from everything else."""
        left_out = sorted((model for model in self.model.mujoco_objects if model.name in object_names), key=_name)
        for index, model in enumerate(left_out):
            height_m = -float(model.bottom_offset[2])
            self.sim.data.set_joint_qpos(model.joints[0], np.array([10.0 + index, 10.0, height_m, 1.0, 0.0, 0.0, 0.0]))


def _name(model: Any) -> str:
    return str(model.name)


class FreeObjectEnv(RobosuiteEnv):
    """Adds the object's pose, whether it is grasped, and the range of its pose at reset."""

    @property
    @abc.abstractmethod
    def manipulated_object(self) -> Any:
        """robosuite's model of the object to grasp."""

    @property
    @abc.abstractmethod
    def object_rest_height_m(self) -> float:
        """Height of the object's centre before it is grasped."""

    @abc.abstractmethod
    def goal_position_m(self) -> np.ndarray:
        """(3,) the goal of the object's centre, in metres."""

    def _after_build(self) -> None:
        grasped = self.manipulated_object
        self._object_body = self.model.body(grasped.root_body).id
        joint = self.model.joint(grasped.joints[0])
        self._object_qpos = slice(int(joint.qposadr[0]), int(joint.qposadr[0]) + 7)
        self._object_geoms = geom_mask(self.model, grasped.contact_geoms)
        self._pads = fingerpad_masks(self.model, self._robot.gripper["right"])

    def is_grasped(self) -> bool:
        """Whether both fingertips touch the object."""
        return all(are_touching(self.data, pad, self._object_geoms) for pad in self._pads)

    def object_position_m(self) -> np.ndarray:
        """(3,) the object's centre in metres."""
        return self.data.xpos[self._object_body].copy()

    def object_yaw_rad(self) -> float:
        """The object's rotation about the vertical, in (-pi, pi]."""
        rotation = self.data.xmat[self._object_body]
        return float(np.arctan2(rotation[3], rotation[0]))

    def privileged(self) -> dict[str, np.ndarray]:
        """State for experts and failure labels.

        Returns:
            ``eef_position_m`` (3,), ``eef_yaw_rad`` () from home, ``gripper_opening_m`` (), ``object_position_m`` (3,),
            ``object_yaw_rad`` (), ``object_rest_height_m`` () the object's height before it is grasped,
            ``goal_position_m`` (3,) the goal of its centre, ``is_grasped`` () bool, ``is_success`` () bool.
        """
        return {
            "eef_position_m": self.data.site_xpos[self._arm.site].copy(),
            "eef_yaw_rad": np.float64(self.eef_yaw_rad()),
            "gripper_opening_m": np.float64(self.gripper_opening_m()),
            "object_position_m": self.object_position_m(),
            "object_yaw_rad": np.float64(self.object_yaw_rad()),
            "object_rest_height_m": np.float64(self.object_rest_height_m),
            "goal_position_m": self.goal_position_m(),
            "is_grasped": np.bool_(self.is_grasped()),
            "is_success": np.bool_(self.is_success()),
        }

    def is_success(self) -> bool:
        """robosuite's success rule for this task."""
        return bool(self.simulation._check_success())

    def cue_pose(self) -> np.ndarray:
        """(7,) the object's position (m) and unit quaternion (w, x, y, z)."""
        return self.data.qpos[self._object_qpos].copy()

    def set_cue_pose(self, pose: np.ndarray) -> None:
        """Moves the object to a (7,) pose and leaves everything else unchanged."""
        self.data.qpos[self._object_qpos] = pose
        mujoco.mj_forward(self.model, self.data)

    def _cue_geoms(self) -> list[int]:
        return [self.model.geom(name).id for name in self.manipulated_object.visual_geoms]
