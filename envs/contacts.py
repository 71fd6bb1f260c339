"""Which geoms touch, looked up in the present state's contacts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import mujoco
import numpy as np


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
