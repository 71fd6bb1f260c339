"""Readers of smidgen-check: tables of predictions, and outcomes of evaluations, ours and other people's."""

from __future__ import annotations

import csv
import functools
import io
import random
from pathlib import Path

import numpy as np

from smidgen.data_collection.formats.reader import open_reader
from smidgen.evaluation.check.compare import compare, comparison_json, in_words
from smidgen.evaluation.check.outcomes import read_outcomes
from smidgen.evaluation.check.predictions import read_predictions
from smidgen.runtime.files import canonical_json
from tests.fuzz.containers import spoil_npz
from tests.fuzz.data_readers import HEADER, data_set_files
from tests.fuzz.hostile import NUMBERS, TEXTS
from tests.fuzz.mutations import spoil_bytes, spoil_json_file, spoil_place
from tests.fuzz.reader import Case, Files, Reader

PREDICTIONS, TABLE, PER_EPISODE, PER_TASK = "mine.npz", "a.csv", "old/eval_info.json", "new/eval_info.json"
_NUM_EPISODES = 6


@functools.cache
def _prediction_files() -> Files:
    size = len(HEADER["action_spec"]["names"])
    content = io.BytesIO()
    np.savez(content, episode=np.array([0, 1]), step=np.zeros(2, int), prediction=np.zeros((2, size)))
    return {**{f"data/{name}": each for name, each in data_set_files().items()}, PREDICTIONS: content.getvalue()}


def _spoil_predictions(rng: random.Random, valid: Files) -> Case:
    spoiled = spoil_place(rng) if rng.random() < 0.05 else spoil_npz(rng, valid[PREDICTIONS])
    return Case({PREDICTIONS: spoiled})


def _read_predictions(folder: Path, words: tuple[str, ...]) -> None:
    for each in read_predictions(folder / PREDICTIONS, open_reader(folder / "data")):
        each.chunks_KHA.sum()


@functools.cache
def _outcome_files() -> Files:
    successes = [index % 2 == 0 for index in range(_NUM_EPISODES)]
    rows = [{"episode_ix": index, "success": won, "seed": 100 + index} for index, won in enumerate(successes)]
    tasks = [{"task_group": "libero", "task_id": 0, "metrics": {"successes": successes}}]
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerows([("seed", "success"), *((100 + index, won) for index, won in enumerate(successes))])
    return {
        TABLE: text.getvalue().encode(),
        PER_EPISODE: canonical_json({"per_episode": rows, "aggregated": {}}),
        PER_TASK: canonical_json({"per_task": tasks, "overall": {}}),
    }


def _spoil_outcomes(rng: random.Random, valid: Files) -> Case:
    name = rng.choice((TABLE, PER_EPISODE, PER_TASK))
    if rng.random() < 0.05:
        return Case({name: spoil_place(rng)})
    return Case({name: _spoil_csv(rng, valid[name]) if name == TABLE else spoil_json_file(rng, valid[name])})


def _spoil_csv(rng: random.Random, content: bytes) -> bytes:
    if rng.random() < 0.3:
        return spoil_bytes(rng, content)
    lines = [line.split(",") for line in content.decode().splitlines()]
    for _ in range(rng.choice((1, 1, 2))):
        line = rng.choice(lines)
        line[rng.randrange(len(line))] = str(rng.choice((*TEXTS, *NUMBERS)))
    return "\n".join(",".join(line) for line in lines).encode("utf-8", "replace")


def _read_outcomes(folder: Path, words: tuple[str, ...]) -> None:
    table, old, new = (read_outcomes(folder / name) for name in (TABLE, PER_EPISODE, PER_TASK))
    for first, second in ((table, old), (new, new)):
        found = compare(first, second)
        in_words(found)
        canonical_json(comparison_json(found))


CHECK_READERS: dict[str, Reader] = {
    "predictions": Reader(_prediction_files, _spoil_predictions, _read_predictions),
    "outcomes": Reader(_outcome_files, _spoil_outcomes, _read_outcomes),
}
