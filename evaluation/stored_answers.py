"""An item's answer as it stands on disk: what a killed evaluation left, or somebody has put there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import TypedDict

from smidgen.envs.tasks import named_task
from smidgen.evaluation.held_out import PROBE_STRIDE, HeldOutItem
from smidgen.evaluation.items import EpisodeItem, Item
from smidgen.evaluation.protocol import LABELS, POLICY_ERROR
from smidgen.evaluation.record_schema import EpisodeRow
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import read_json
from smidgen.runtime.schemas import check_type, refuse


class EpisodeAnswer(TypedDict):
    """What `smidgen.evaluation.items.run_item` answers of an episode."""

    environment: dict[str, dict[str, Any]]  # the fingerprint: ranked and host
    frames_sha256: str | None  # of the film, where one was made
    row: EpisodeRow
    path: list[list[float]]  # (S, 3), metres
    error: str | None
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
    check_type(answer, EpisodeAnswer, source)
    if set(answer["environment"]) != {"ranked", "host"}:
        refuse(source, "environment", "ranked and host", sorted(answer["environment"]))
    if answer["row"]["seed"] != item.seed or answer["row"]["label"] not in LABELS:
        refuse(source, "row", f"the row of seed {item.seed}", answer["row"])
    if answer["row"]["label"] == POLICY_ERROR and not item.keep_going:
        refuse(source, "row.label", "an episode in which the policy did not fail", answer["row"]["label"])
    if any(len(place) != 3 for place in answer["path"]):
        refuse(source, "path", "places of three numbers", answer["path"])


def _check_held_out(answer: Any, item: HeldOutItem, source: str) -> None:
    if not isinstance(answer, dict):
        refuse(source, "", "an object", answer)
    if "error" in answer:
        if set(answer) != {"error", "trace"} or not all(isinstance(value, str) for value in answer.values()):
            refuse(source, "error", "a message and a traceback, and nothing else", answer)
        if not item.keep_going:
            refuse(source, "error", "an episode in which the policy did not fail", answer["error"])
        return
    num_steps, num_probed = len(item.steps), len(item.steps[::PROBE_STRIDE])
    needed = {
        "prediction": num_steps,
        "shuffled": num_probed,
        "blanked": num_probed,
        "frames": None,
        "frames_moved": None,
    }
    valid = {"frames_hidden": None} if item.is_twin else {**needed, "chunks": num_steps}
    required = valid if item.is_twin else needed
    if not set(required) <= set(answer) <= set(valid):
        refuse(source, "", f"the fields {', '.join(valid)}", sorted(answer))
    width = named_task(item.source.task).action.size
    for name, value in answer.items():
        _check_array(value, 3 if name == "chunks" else 2, valid[name], width, source, name)


def _check_array(value: Any, num_axes: int, length: int | None, width: int, source: str, field: str) -> None:
    hint: Any = float
    for _ in range(num_axes):
        hint = list[hint]
    check_type(value, hint, source, field)
    try:
        shape = np.asarray(value, dtype=np.float64).shape
    except ValueError as error:
        raise UserError(f"{source}: field {field}: expected rows of one length") from error
    is_empty = shape == (0,) and not length
    if not is_empty and (len(shape) != num_axes or shape[-1] != width or (length is not None and shape[0] != length)):
        refuse(source, field, f"{length} rows of {width} numbers", shape)
