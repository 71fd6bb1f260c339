"""A task's specification: its action, its horizon, its cameras. Imports no simulator."""

from __future__ import annotations

from dataclasses import dataclass

from smidgen.runtime.action_spec import ActionSpec

TABLE_HEIGHT_M = 0.8


@dataclass(frozen=True)
class TaskSpec:
    """One task of the benchmark.

    Attributes:
        name: What users type, e.g. ``lift``.
        env_id: The versioned Gymnasium id.
        entry_point: ``module:Class`` of the environment.
        summary: The task in one line.
        horizon: Control steps after which an episode ends.
        action: The layout of the action vector.
        eef_state_names: Names, with units, of the end-effector state's components.
        cameras: Cameras that a policy sees by default.
        control_hz: Control steps per second of simulated time.
        hold_steps: Consecutive successful steps required for success.
        has_start_noise: Whether a reset's seed also varies the robot's start; if not, only the cue distinguishes
            episodes.
        expert: ``module:Class`` of the scripted expert; empty where there is none. Nothing in this folder imports it.
    """

    name: str
    env_id: str
    entry_point: str
    summary: str
    horizon: int
    action: ActionSpec
    eef_state_names: tuple[str, ...]
    cameras: tuple[str, ...] = ("agentview",)
    control_hz: int = 20
    hold_steps: int = 10
    has_start_noise: bool = True
    expert: str = ""
