"""Draws from robosuite's own placement samplers without disturbing an episode."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def sample_beside(sampler: Any, placed: Any, others: Mapping[str, Any], rng: np.random.Generator) -> np.ndarray:
    """Draws a pose for one object as a reset would, clear of objects that stay where they are.

    Args:
        sampler: A robosuite ``UniformRandomSampler``.
        placed: The object's robosuite model.
        others: Placements to keep clear of, as robosuite writes them: name -> (position, quaternion, model).
        rng: What to draw from.

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
    """Mixed into a robosuite environment: objects that a task leaves out rest on the floor, far from the camera.

    robosuite lets them fall from 10 m, one inside the other.
    """

    model: Any
    sim: Any

    def clear_objects(self, object_names: list[str]) -> None:
        """Puts objects side by side where nothing else is."""
        left_out = sorted((model for model in self.model.mujoco_objects if model.name in object_names), key=_name)
        for index, model in enumerate(left_out):
            height_m = -float(model.bottom_offset[2])
            self.sim.data.set_joint_qpos(model.joints[0], np.array([10.0 + index, 10.0, height_m, 1.0, 0.0, 0.0, 0.0]))


def _name(model: Any) -> str:
    return str(model.name)
