"""Failure labels of tasks without an object: a place has to be reached."""

import numpy as np
import pytest

from smidgen.evaluation.failures import FailureObserver
from smidgen.evaluation.protocol import LABELS


@pytest.mark.parametrize(
    ("distances_m", "success_once", "label"),
    [((0.3, 0.2), False, "never_reached"), ((0.3, 0.04, 0.3), False, "timeout"), ((0.3, 0.0), True, "not_held")],
)
def test_a_goal_without_an_object_is_never_grasped(
    distances_m: tuple[float, ...], success_once: bool, label: str
) -> None:
    observer = FailureObserver()
    for distance_m in distances_m:
        observer.see({"eef_position_m": np.array([distance_m, 0.0, 0.8]), "goal_position_m": np.array([0.0, 0.0, 0.8])})
    assert observer.label(success=False, success_once=success_once) == label
    assert label in LABELS
