"""Answers on disk, one file per item: a killed evaluation loses only the items in progress.

Files may have been edited, so their content is checked before use."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NotRequired

import numpy as np
import torch
from typing_extensions import TypedDict

from smidgen.envs.tasks import named_task
from smidgen.evaluation.held_out_predictions import PROBE_STRIDE, HeldOutItem
from smidgen.evaluation.items import EpisodeItem, Item, run_item, start_worker
from smidgen.evaluation.protocol import POLICY_ERROR
from smidgen.evaluation.record_schema import EpisodeRow
from smidgen.evaluation.video_files import frames_mark, read_mark
from smidgen.runtime.engine import ON_THIS_MACHINE, EngineSettings, map_on_engine
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import read_json, remove_leftovers, write_json_atomic
from smidgen.runtime.progress import progress
from smidgen.runtime.schemas import Rule, Sha256, check_type, refuse
from smidgen.runtime.workers import EPISODE_LIMIT_S

# What `smidgen.evaluation.items.run_item` answers: of an episode, of a held-out demonstration (every row is an action),
# of its twin that never sees the cue, and of a policy that failed on it.
_Rows = list[list[float]]
_Place = Annotated[list[float], Rule(lambda place: len(place) == 3, "three numbers")]  # metres


def run_items(
    items: Mapping[Path, Item],
    num_workers: int,
    label: str,
    time_limit_s: float | None = EPISODE_LIMIT_S,
    engine: EngineSettings = ON_THIS_MACHINE,
) -> dict[Path, dict[str, Any]]:
    """Answers every item, from disk if its shard exists; shows the first traceback of a policy's error.

    Args:
        items: What to do, by the file of its shard; equal files mean equal answers.
        num_workers: Worker processes; 0 runs all in this one.
        label: For the progress bar.
        time_limit_s: A worker that takes longer for an item is replaced; None for no limit.
        engine: Where the workers run.

    Returns:
        Answers by shard file.
    """
    _tidy(items)
    answers = {path: answer for path, item in items.items() if (answer := _read(path, item)) is not None}
    # One item can have two shards: for the expert as the policy, and for the expert to compare with.
    shards_of: dict[Item, list[Path]] = {}
    for path, item in items.items():
        if path not in answers:
            shards_of.setdefault(item, []).append(path)
    threads, is_shown = torch.get_num_threads(), False
    try:
        with progress(len(items), label, done=len(answers)) as advance:
            for item, answer in map_on_engine(
                engine, run_item, list(shards_of), num_workers, initializer=start_worker, time_limit_s=time_limit_s
            ):
                if (trace := answer.get("trace")) and not is_shown:
                    print(trace, end="", file=sys.stderr, flush=True)
                    is_shown = True
                for path in shards_of[item]:
                    write_json_atomic(path, answer)
                    answers[path] = answer
                advance(len(shards_of[item]), "")
    finally:
        # With no worker processes, start_worker has set this process's own threads.
        torch.set_num_threads(threads)
    _tidy(items)
    return answers


def _tidy(items: Mapping[Path, Item]) -> None:
    """Removes partial files that killed processes left beside shards and videos."""
    for folder in {path.parent for path in items}:
        remove_leftovers(folder)
    for item in items.values():
        if isinstance(item, EpisodeItem) and item.video is not None:
            remove_leftovers(item.video.parent, item.video.name)


def _read(path: Path, item: Item) -> dict[str, Any] | None:
    """A shard's answer, or None if the item has to be run (again)."""
    answer = read_answer(path, item) if path.exists() else None
    if answer is None or not isinstance(item, EpisodeItem) or item.video is None:
        return answer
    frames = answer["frames_sha256"]
    # By now, the video may be missing or from another evaluation.
    return answer if frames is not None and read_mark(item.video) == frames_mark(frames) else None


class _Fingerprint(TypedDict):
    ranked: dict[str, Any]
    host: dict[str, Any]


class _Episode(TypedDict):
    environment: _Fingerprint
    frames_sha256: Sha256 | None  # of the video, where one was made
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
    """An item's stored answer, or None if the item has to be run (again)."""
    try:
        answer = read_json(path)
        if isinstance(item, EpisodeItem):
            _check_episode(answer, item, str(path))
        else:
            _check_held_out(answer, item, str(path))
    except UserError:
        # Answers are written atomically; an altered one was damaged later, and its item is run again.
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
