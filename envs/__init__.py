"""Gymnasium environments over robosuite and MuJoCo; importing this package registers their ids.

``gymnasium.make("smidgen.envs:smidgen/Lift-v0")`` imports it automatically.
"""

from smidgen.envs.backend import choose_backend
from smidgen.envs.tasks import register_environments

choose_backend()
register_environments()
