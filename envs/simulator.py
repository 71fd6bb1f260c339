"""The one door to robosuite: its classes, imported once the backend is chosen and without its notes on the terminal."""

from __future__ import annotations

from smidgen.envs.backend import choose_backend, quiet_robosuite

choose_backend()
with quiet_robosuite():
    from robosuite.environments.manipulation.lift import Lift as RobosuiteLift
    from robosuite.environments.manipulation.manipulation_env import ManipulationEnv
    from robosuite.environments.manipulation.stack import Stack as RobosuiteStack
    from robosuite.models.arenas import TableArena
    from robosuite.models.tasks import ManipulationTask

__all__ = [
    "ManipulationEnv",
    "ManipulationTask",
    "RobosuiteLift",
    "RobosuiteStack",
    "TableArena",
    "quiet_robosuite",
]
