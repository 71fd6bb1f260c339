"""An item's answer as it stands on disk: what a killed evaluation left, or somebody has put there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, NotRequired

import numpy as np
from typing_extensions import TypedDict

from smidgen.envs.tasks import named_task
from smidgen.evaluation.held_out_predictions import PROBE_STRIDE, HeldOutItem
from smidgen.evaluation.items import EpisodeItem, Item
from smidgen.evaluation.protocol import POLICY_ERROR
from smidgen.evaluation.record_schema import EpisodeRow
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import read_json
from smidgen.runtime.schemas import Rule, Sha256, check_type, refuse

# What `smidgen.evaluation.items.run_item` answers: of an episode, of a held-out demonstration (every row is an action),
# of its twin that never sees the cue, and of a policy that failed on it.
_Rows = list[list[float]]
_Place = Annotated[list[float], Rule(lambda place: len(place) == 3, "three numbers")]  # metres


class _Fingerprint(TypedDict):
    ranked: dict[str, Any]
    host: dict[str, Any]


class _Episode(TypedDict):
    environment: _Fingerprint
    frames_sha256: Sha256 | None  # of the film, where one was made
    row: EpisodeRow
    path: list[_Place]
    error: str | None
    trace: str


class _Predictions(TypedDict):
    prediction: _Rows
    shuffled: _Rows
    blanked: _Rows
    frames: _Rows
    frames_moved: _Rows
    chunks: NotRequired[list[_Rows]]


class _TwinPredictions(TypedDict):
    frames_hidden: _Rows


class _Failure(TypedDict):
    error: str
    trace: str


def read_answer(path: Path, item: Item) -> dict[str, Any] | None:
    """An item's stored answer, or None where the item has to be run (again)."""
    try:
        answer = read_json(path)
        if isinstance(item, EpisodeItem):
            _check_episode(answer, item, str(path))
        else:
            _check_held_out(answer, item, str(path))
    except UserError:
        # Answers are written whole; one that is not as it was written was damaged since, and the item is run again.
        return None
    checked: dict[str, Any] = answer
    return checked


def _check_episode(answer: Any, item: EpisodeItem, source: str) -> None:
    check_type(answer, _Episode, source)
    if answer["row"]["seed"] != item.seed:
        refuse(source, "row.seed", str(item.seed), answer["row"]["seed"])
    if answer["row"]["label"] == POLICY_ERROR and not item.keep_going:
        refuse(source, "row.label", "an episode in which the policy did not fail", answer["row"]["label"])


def _check_held_out(answer: Any, item: HeldOutItem, source: str) -> None:
    if isinstance(answer, dict) and "error" in answer:
        check_type(answer, _Failure, source)
        if not item.keep_going:
            refuse(source, "error", "an episode in which the policy did not fail", answer["error"])
        return
    check_type(answer, _TwinPredictions if item.is_twin else _Predictions, source)
    num_steps, num_probed = len(item.steps), len(item.steps[::PROBE_STRIDE])
    lengths = {"prediction": num_steps, "shuffled": num_probed, "blanked": num_probed, "chunks": num_steps}
    width = named_task(item.source.task).action.size
    for name, value in answer.items():
        _check_shape(value, 3 if name == "chunks" else 2, lengths.get(name), width, source, name)


def _check_shape(value: Any, num_axes: int, length: int | None, width: int, source: str, field: str) -> None:
    try:
        shape = np.asarray(value, dtype=np.float64).shape
    except ValueError:
        shape = ()  # rows of different lengths
    is_empty = shape == (0,) and not length
    if not is_empty and (len(shape) != num_axes or shape[-1] != width or (length is not None and shape[0] != length)):
        refuse(source, field, f"{length} rows of {width} numbers", shape)
