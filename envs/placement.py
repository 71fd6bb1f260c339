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
