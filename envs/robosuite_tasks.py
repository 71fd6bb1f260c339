"""What the tasks taken from robosuite (Zhu et al. 2020, arXiv:2009.12293) declare of themselves, Lift apart."""

from __future__ import annotations

import math

from smidgen.envs.specs import TABLE_HEIGHT_M, ActionSpec, TaskSpec

_GRIPPER_STATE = ("x_m", "y_m", "z_m", "gripper_opening_m")
_YAW_STATE = (*_GRIPPER_STATE, "cos_2_yaw", "sin_2_yaw")


def _arm_and_gripper(low_m: tuple[float, float, float], high_m: tuple[float, float, float], yaw: bool) -> ActionSpec:
    """A box of positions in metres, a gripper, and a yaw from home where a grasp depends on it."""
    quarter_turn = (math.pi / 2,) * yaw
    return ActionSpec(
        names=("x_m", "y_m", "z_m", *("yaw_rad",) * yaw, "gripper"),
        kinds=("position", "position", "position", *("yaw",) * yaw, "gripper"),
        low=(*low_m, *(-angle for angle in quarter_turn), -1.0),
        high=(*high_m, *quarter_turn, 1.0),
    )


STACK = TaskSpec(
    name="stack",
    env_id="smidgen/Stack-v0",
    entry_point="smidgen.envs.stack:StackEnv",
    summary="put the red cube on the green one and let go",
    horizon=150,
    action=_arm_and_gripper((-0.3, -0.3, TABLE_HEIGHT_M), (0.3, 0.3, 1.2), yaw=True),
    eef_state_names=_YAW_STATE,
)

ROBOSUITE_TASKS: tuple[TaskSpec, ...] = (STACK,)
