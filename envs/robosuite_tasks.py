"""What the tasks taken from robosuite (Zhu et al. 2020, arXiv:2009.12293) declare of themselves."""

from __future__ import annotations

import math

from smidgen.envs.specs import TABLE_HEIGHT_M, TaskSpec
from smidgen.runtime.action_spec import ActionSpec

_GRIPPER_STATE = ("x_m", "y_m", "z_m", "gripper_opening_m")
_YAW_STATE = (*_GRIPPER_STATE, "cos_2_yaw", "sin_2_yaw")


def _arm_and_gripper(low_m: tuple[float, float, float], high_m: tuple[float, float, float], yaw: bool) -> ActionSpec:
    """Positions in metres within bounds, a gripper, and a yaw from home if a grasp depends on it."""
    quarter_turn = (math.pi / 2,) * yaw
    return ActionSpec(
        names=("x_m", "y_m", "z_m", *("yaw_rad",) * yaw, "gripper"),
        kinds=("position", "position", "position", *("yaw",) * yaw, "gripper"),
        low=(*low_m, *(-angle for angle in quarter_turn), -1.0),
        high=(*high_m, *quarter_turn, 1.0),
    )


LIFT = TaskSpec(
    name="lift",
    env_id="smidgen/Lift-v0",
    entry_point="smidgen.envs.lift:LiftEnv",
    summary="grasp the cube and raise it 4 cm above the table",
    horizon=100,
    action=_arm_and_gripper((-0.3, -0.3, TABLE_HEIGHT_M), (0.3, 0.3, 1.2), yaw=False),
    eef_state_names=_GRIPPER_STATE,
    expert="smidgen.data_collection.experts.lift:LiftExpert",
)

STACK = TaskSpec(
    name="stack",
    env_id="smidgen/Stack-v0",
    entry_point="smidgen.envs.stack:StackEnv",
    summary="put the red cube on the green one and let go",
    horizon=150,
    action=_arm_and_gripper((-0.3, -0.3, TABLE_HEIGHT_M), (0.3, 0.3, 1.2), yaw=True),
    eef_state_names=_YAW_STATE,
    expert="smidgen.data_collection.experts.stack:StackExpert",
)

_BINS_LOW_M, _BINS_HIGH_M = (-0.2, -0.55, TABLE_HEIGHT_M), (0.4, 0.55, 1.3)


def _pick_place(thing: str, yaw: bool, what: str) -> TaskSpec:
    return TaskSpec(
        name=f"pick_place_{thing.lower()}",
        env_id=f"smidgen/PickPlace{thing}-v0",
        entry_point=f"smidgen.envs.pick_place:PickPlace{thing}Env",
        summary=f"carry the {what} to its quarter of the other bin and let go",
        horizon=200,
        action=_arm_and_gripper(_BINS_LOW_M, _BINS_HIGH_M, yaw),
        eef_state_names=_YAW_STATE if yaw else _GRIPPER_STATE,
        expert=f"smidgen.data_collection.experts.pick_place:{thing}Expert",
    )


PICK_PLACE_CAN = _pick_place("Can", yaw=False, what="can")
PICK_PLACE_MILK = _pick_place("Milk", yaw=True, what="carton of milk")
PICK_PLACE_BREAD = _pick_place("Bread", yaw=True, what="loaf of bread")
PICK_PLACE_CEREAL = _pick_place("Cereal", yaw=True, what="box of cereal")


def _nut_assembly(shape: str) -> TaskSpec:
    return TaskSpec(
        name=f"nut_assembly_{shape.lower()}",
        env_id=f"smidgen/NutAssembly{shape}-v0",
        entry_point=f"smidgen.envs.nut_assembly:NutAssembly{shape}Env",
        summary=f"put the {shape.lower()} nut over its peg and let go",
        horizon=300,
        action=_arm_and_gripper((-0.3, -0.35, TABLE_HEIGHT_M), (0.4, 0.35, 1.2), yaw=True),
        eef_state_names=_YAW_STATE,
        expert=f"smidgen.data_collection.experts.nut_assembly:{shape}NutExpert",
    )


NUT_ASSEMBLY_SQUARE = _nut_assembly("Square")
NUT_ASSEMBLY_ROUND = _nut_assembly("Round")

DOOR = TaskSpec(
    name="door",
    env_id="smidgen/Door-v0",
    entry_point="smidgen.envs.door:DoorEnv",
    summary="turn the handle and pull the door open by 0.3 rad",
    horizon=120,
    action=_arm_and_gripper((-0.4, -0.45, TABLE_HEIGHT_M), (0.3, 0.3, 1.3), yaw=False),
    eef_state_names=_GRIPPER_STATE,
    expert="smidgen.data_collection.experts.door:DoorExpert",
)

WIPE = TaskSpec(
    name="wipe",
    env_id="smidgen/Wipe-v0",
    entry_point="smidgen.envs.wipe:WipeEnv",
    summary="wipe all of the dirt off the table",
    horizon=250,
    action=ActionSpec(
        names=("x_m", "y_m", "z_m"),
        kinds=("position", "position", "position"),
        low=(-0.15, -0.35, 0.85),
        high=(0.45, 0.35, 1.2),
    ),
    eef_state_names=("x_m", "y_m", "z_m"),
    expert="smidgen.data_collection.experts.wipe:WipeExpert",
)

ROBOSUITE_TASKS: tuple[TaskSpec, ...] = (
    LIFT,
    STACK,
    PICK_PLACE_CAN,
    PICK_PLACE_MILK,
    PICK_PLACE_BREAD,
    PICK_PLACE_CEREAL,
    NUT_ASSEMBLY_SQUARE,
    NUT_ASSEMBLY_ROUND,
    DOOR,
    WIPE,
)
