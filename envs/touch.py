"""The base of the touch tasks: a bare table, a closed gripper as the pointing finger, and a place to touch."""

from __future__ import annotations

import abc
import xml.etree.ElementTree as ET
from typing import Any

import mujoco
import numpy as np

from smidgen.envs.frozen_model import FrozenModel
from smidgen.envs.robosuite_env import RobosuiteEnv
from smidgen.envs.simulator import ManipulationEnv, ManipulationTask, TableArena
from smidgen.envs.smidgen_tasks import GOAL_RANGES, GoalRange
from smidgen.envs.specs import TABLE_HEIGHT_M
from smidgen.runtime.errors import UserError

TABLE_SIZE_M = (0.8, 0.8, 0.05)
# The closed fingertips reach 1 cm below the controlled point. Pressed onto the table, they would stick to it beside the
# goal; so the target is 2 mm above it, and up to 1 cm counts as touching.
TOUCH_HEIGHT_M = TABLE_HEIGHT_M + 0.012
MAX_TOUCH_HEIGHT_M = TABLE_HEIGHT_M + 0.02
# A target farther away pulls no harder than one at this distance (up to 0.6 m/s); otherwise the arm would crash into
# the table. So an expert can command the goal itself from the first step on.
MAX_LEAD_M = 0.1
# Unlike robosuite's ceramic: no texture and no highlight, so that the background is constant, and far from white, so
# that added noise is not clipped.
TABLE_RGBA = "0.5 0.5 0.5 1"


class TouchSimulation(FrozenModel, ManipulationEnv):
    """A Panda at a matt grey table; the robot starts from the same pose in every episode."""

    def __init__(self, *, use_object_obs: bool, **kwargs: Any) -> None:
        assert not use_object_obs, "there is no object"
        super().__init__(initialization_noise=None, **kwargs)

    def _load_model(self) -> None:
        super()._load_model()
        robot = self.robots[0].robot_model
        robot.set_base_xpos(robot.base_xpos_offset["table"](TABLE_SIZE_M[0]))
        arena = TableArena(table_full_size=TABLE_SIZE_M, table_offset=np.array([0.0, 0.0, TABLE_HEIGHT_M]))
        arena.set_origin([0, 0, 0])
        arena.table_visual.set("material", add_matt_material(arena, "table_matt", TABLE_RGBA))
        self._furnish(arena)
        self.model = ManipulationTask(mujoco_arena=arena, mujoco_robots=[robot])

    def _furnish(self, arena: Any) -> None:
        """Adds the goal's marker to the arena."""


def add_matt_material(arena: Any, name: str, rgba: str) -> str:
    """Adds a material without highlights, whose colour does not depend on the viewpoint; returns its name."""
    ET.SubElement(arena.asset, "material", {"name": name, "rgba": rgba, "specular": "0", "shininess": "0"})
    return name


def add_picture(parent: ET.Element, name: str, **look: str) -> None:
    """Adds a visual-only geom; ``look`` holds MuJoCo's attributes."""
    ET.SubElement(parent, "geom", {"name": name, "group": "1", "contype": "0", "conaffinity": "0", "mass": "0", **look})


def as_attribute(*numbers: float) -> str:
    """Formats numbers for MuJoCo's XML."""
    return " ".join(repr(float(number)) for number in numbers)


class TouchEnv(RobosuiteEnv):
    """The fingertips must touch the goal: within the tolerance horizontally and 1 cm above the table.

    The robot's start is the same in every episode; seeds vary only the goal.
    """

    def _after_build(self) -> None:
        if self.cameras and self.image_size[0] < self.min_image_height:
            raise UserError(
                f"{self.task.name}: expected image_size of at least {self.min_image_height} rows to show the cue, "
                f"got {self.image_size[0]}"
            )
        fingers = [self.model.joint(name) for name in self._robot.gripper["right"].joints]
        self._finger_qpos = [int(finger.qposadr[0]) for finger in fingers]

    def _after_reset(self) -> None:
        # The gripper is not commanded, and its actuators at rest close it; so it starts closed.
        self.data.qpos[self._finger_qpos] = 0.0
        self._place_cue(self.sample_cue_pose(self.simulation.rng))

    def _target_position(self, action: np.ndarray) -> np.ndarray:
        position_m = self.data.site_xpos[self._arm.site]
        offset_m = super()._target_position(action) - position_m
        return position_m + offset_m * (MAX_LEAD_M / max(float(np.linalg.norm(offset_m)), MAX_LEAD_M))

    @property
    @abc.abstractmethod
    def min_image_height(self) -> int:
        """Rows of a frame below which the cue may fall between the pixels."""

    @property
    def goals(self) -> GoalRange:
        """The range of goals and their tolerance."""
        return GOAL_RANGES[self.task.name]

    @abc.abstractmethod
    def goal_m(self) -> np.ndarray:
        """(2,) x and y of the place to touch, in metres."""

    @abc.abstractmethod
    def _place_cue(self, pose: np.ndarray) -> None:
        """Writes the cue's pose into the model."""

    def set_cue_pose(self, pose: np.ndarray) -> None:
        """Moves the cue, and with it the goal; everything else is unchanged."""
        self._place_cue(np.asarray(pose, dtype=np.float64))
        mujoco.mj_forward(self.model, self.data)

    def _task_state(self) -> np.ndarray:
        return self.cue_pose()

    def _set_task_state(self, state: np.ndarray) -> None:
        self._place_cue(state)

    def is_success(self) -> bool:
        """Whether the fingertips touch the goal."""
        position_m = self.data.site_xpos[self._arm.site]
        beside_m = float(np.linalg.norm(position_m[:2] - self.goal_m()))
        return beside_m <= self.goals.tolerance_m and bool(position_m[2] <= MAX_TOUCH_HEIGHT_M)

    def privileged(self) -> dict[str, np.ndarray]:
        """State for experts and failure labels.

        Returns:
            ``eef_position_m`` (3,), ``goal_position_m`` (3,) where the fingertips touch the goal, ``is_success`` ()
            bool.
        """
        return {
            "eef_position_m": self.eef_state(),
            "goal_position_m": np.append(self.goal_m(), TOUCH_HEIGHT_M),
            "is_success": np.asarray(self.is_success()),
        }
