"""Answers on disk, one file per item: a killed evaluation loses what was in flight, and no more."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from smidgen.evaluation.items import EpisodeItem, Item, run_item, start_worker
from smidgen.evaluation.stored_answers import read_answer
from smidgen.evaluation.video_files import frames_mark, read_mark
from smidgen.runtime.files import remove_leftovers, write_json_atomic
from smidgen.runtime.progress import progress
from smidgen.runtime.workers import EPISODE_LIMIT_S, map_unordered


def run_items(
    items: Mapping[Path, Item], num_workers: int, label: str, time_limit_s: float | None = EPISODE_LIMIT_S
) -> dict[Path, dict[str, Any]]:
    """Answers every item, from disk where its shard is there already; shows the first traceback of a policy's.

    Args:
        items: What to do, by the file of its shard; equal files mean equal answers.
        num_workers: Worker processes; 0 runs all in this one.
        label: For the progress bar.
        time_limit_s: A worker that takes longer for an item is replaced; None for no limit.

    Returns:
        Answers by shard file.
    """
    _tidy(items)
    answers = {path: answer for path, item in items.items() if (answer := _read(path, item)) is not None}
    # One item can have two shards: the expert's under a name of its own, and those of the expert to compare with.
    shards_of: dict[Item, list[Path]] = {}
    for path, item in items.items():
        if path not in answers:
            shards_of.setdefault(item, []).append(path)
    threads, is_shown = torch.get_num_threads(), False
    try:
        with progress(len(items), label, done=len(answers)) as advance:
            for item, answer in map_unordered(
                run_item, list(shards_of), num_workers, initializer=start_worker, time_limit_s=time_limit_s
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
    """Removes what killed processes left half-written beside shards and videos."""
    for folder in {path.parent for path in items}:
        remove_leftovers(folder)
    for item in items.values():
        if isinstance(item, EpisodeItem) and item.video is not None:
            remove_leftovers(item.video.parent, item.video.name)


def _read(path: Path, item: Item) -> dict[str, Any] | None:
    """A shard's answer, or None where the item has to be run (again)."""
    answer = read_answer(path, item) if path.exists() else None
    if answer is None or not isinstance(item, EpisodeItem) or item.video is None:
        return answer
    frames = answer["frames_sha256"]
    # The film may be gone, or another evaluation's by now.
    return answer if frames is not None and read_mark(item.video) == frames_mark(frames) else None
