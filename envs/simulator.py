"""The only module that imports robosuite: after the backend is chosen, and with its log messages suppressed."""

from __future__ import annotations

from smidgen.envs.backend import choose_backend, quiet_robosuite

choose_backend()
with quiet_robosuite():
    from robosuite.environments.manipulation.door import Door as RobosuiteDoor
    from robosuite.environments.manipulation.lift import Lift as RobosuiteLift
    from robosuite.environments.manipulation.manipulation_env import ManipulationEnv
    from robosuite.environments.manipulation.nut_assembly import NutAssemblyRound as RobosuiteNutAssemblyRound
    from robosuite.environments.manipulation.nut_assembly import NutAssemblySquare as RobosuiteNutAssemblySquare
    from robosuite.environments.manipulation.pick_place import PickPlaceBread as RobosuitePickPlaceBread
    from robosuite.environments.manipulation.pick_place import PickPlaceCan as RobosuitePickPlaceCan
    from robosuite.environments.manipulation.pick_place import PickPlaceCereal as RobosuitePickPlaceCereal
    from robosuite.environments.manipulation.pick_place import PickPlaceMilk as RobosuitePickPlaceMilk
    from robosuite.environments.manipulation.stack import Stack as RobosuiteStack
    from robosuite.environments.manipulation.wipe import Wipe as RobosuiteWipe
    from robosuite.models.arenas import TableArena
    from robosuite.models.tasks import ManipulationTask

__all__ = [
    "ManipulationEnv",
    "ManipulationTask",
    "RobosuiteDoor",
    "RobosuiteLift",
    "RobosuiteNutAssemblyRound",
    "RobosuiteNutAssemblySquare",
    "RobosuitePickPlaceBread",
    "RobosuitePickPlaceCan",
    "RobosuitePickPlaceCereal",
    "RobosuitePickPlaceMilk",
    "RobosuiteStack",
    "RobosuiteWipe",
    "TableArena",
    "quiet_robosuite",
]
