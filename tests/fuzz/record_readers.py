"""Readers of results: record, verification mark, stored answers, and what is handed in with a record."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from smidgen.envs.tasks import get_task
from smidgen.evaluation.collapse_part import CollapsePart
from smidgen.evaluation.comparison import other_machine
from smidgen.evaluation.env_spec import EnvSpec
from smidgen.evaluation.held_out_predictions import HeldOutItem
from smidgen.evaluation.items import EpisodeItem
from smidgen.evaluation.plan_items import SHARDS
from smidgen.evaluation.policy_source import PolicySource, build_card
from smidgen.evaluation.protocol import HOLD_STEPS, PROTOCOL_VERSION, SUCCESS
from smidgen.evaluation.record_schema import SCHEMA_VERSION, PolicyCard, count_errors, success_rate
from smidgen.evaluation.records import read_host, read_record
from smidgen.evaluation.repetition import env_spec_of
from smidgen.evaluation.shards import read_answer
from smidgen.evaluation.statistics import CONFIDENCE
from smidgen.evaluation.verification_mark import VERIFICATION_VERSION, read_verification
from smidgen.evaluation.video_files import frames_mark
from smidgen.leaderboard.command import leaderboard
from smidgen.leaderboard.ranking import rank_runs, read_runs
from smidgen.leaderboard.submission import open_submission
from smidgen.leaderboard.submit import bundle_files, zip_bytes
from smidgen.leaderboard.tables import csv_table, markdown
from smidgen.policies.checkpoint import CARD_NAME, MODEL_NAME, save_checkpoint
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import canonical_json, sha256_bytes
from tests.fuzz.containers import spoil_safetensors
from tests.fuzz.mutations import spoil_bytes, spoil_json_file, spoil_place
from tests.fuzz.policy_readers import PROVENANCE, build_policy, spoil_card
from tests.fuzz.reader import Case, Files, Reader, files_below

FIRST_SEED, NUM_EPISODES, HORIZON = 3_000_000, 4, 100
NAME = "raw-seed0"
RECORD = f"results/lift-{NAME}.json"
HOST = f"results/lift-{NAME}.host.json"
MARK = f"results/lift-{NAME}.verification.json"
FRAMES_SHA256 = "ab" * 32
VIDEO = f"results/videos/lift-{NAME}-{FIRST_SEED}.mp4"
CHECKPOINT = f"checkpoints/lift-{NAME}"
NOOP = "results/lift-noop.json"
ROW: dict[str, Any] = {
    "seed": FIRST_SEED,
    "success": False,
    "success_once": False,
    "success_at_reset": False,
    "first_success_step": None,
    "num_steps": HORIZON,
    "return": 0.0,
    "label": "timeout",
}


def make_record(card: PolicyCard, config: dict[str, Any]) -> dict[str, Any]:
    """A valid record of four episodes, one of them a success."""
    won = {"success": True, "success_once": True, "first_success_step": 30, "num_steps": 40, "label": SUCCESS}
    rows: list[Any] = [
        {**ROW, "seed": FIRST_SEED + index, **(won if not index else {})} for index in range(NUM_EPISODES)
    ]
    collapse = CollapsePart(["x_m", "y_m", "z_m"], "needs demos=DIR, held-out demonstrations").finish()
    task = get_task("lift")
    return {
        "schema_version": SCHEMA_VERSION,
        "task": "lift",
        "policy": card,
        "success": success_rate([row["success"] for row in rows], CONFIDENCE),
        "success_once": success_rate([row["success_once"] for row in rows], CONFIDENCE),
        "errors": count_errors(rows),
        "episodes": rows,
        "collapse": collapse,
        "protocol": {
            "version": PROTOCOL_VERSION,
            "split": "test",
            "seed_start": FIRST_SEED,
            "episodes": NUM_EPISODES,
            "horizon": HORIZON,
            "hold_steps": HOLD_STEPS,
            "control_hz": task.control_hz,
            "confidence": CONFIDENCE,
            "inference": "batch of one on one thread",
        },
        "environment": {"env_id": task.env_id, "image_size": [8, 8], "cameras": ["agentview"], "mujoco": "3.9.0"},
        "config": {"policy": "checkpoint", "cameras": ["agentview"], "image_size": 8, "windows": 2, **config},
        "versions": {"python": "3.11.0", "torch": "2.13.0"},
        "training_curve": [{"split": "validation", "step": 0, "loss": 1.0, "r2": [0.1, 0.2, 0.3], "cue_slope": 0.6}],
        "videos": [{"seed": FIRST_SEED, "file": Path(VIDEO).name, "frames_sha256": FRAMES_SHA256}],
    }


@functools.cache
def result_files() -> Files:
    """A checkpoint's record with all that stands beside it, and a baseline's."""
    with tempfile.TemporaryDirectory() as scratch:
        save_checkpoint(Path(scratch, CHECKPOINT), build_policy(), PROVENANCE)
        source = PolicySource(str(Path(scratch, CHECKPOINT)), "lift")
        record = canonical_json(make_record(build_card(source, source.build(), NAME), {}))
        noop = PolicySource("noop", "lift")
        mark = {
            "schema_version": VERIFICATION_VERSION,
            "record_sha256": sha256_bytes(record),
            "verdict": "verified",
            "comparison": "bitwise",
            "reason": "equal",
            "salt": "0",
            "seeds": [FIRST_SEED],
            "num_equal": 1,
            "first_difference": None,
            "p_value": None,
            "links": {"record": "holds"},
            "environment": {},
            "host": {"cpu": "fake"},
            "versions": {"python": "3.11.0"},
        }
        return {
            **files_below(Path(scratch)),
            RECORD: record,
            HOST: canonical_json({"host": {"cpu": "fake"}, "hostname": "here"}),
            MARK: canonical_json(mark),
            VIDEO: frames_mark(FRAMES_SHA256).encode(),
            NOOP: canonical_json(make_record(build_card(noop, noop.build(), None), {"policy": "noop"})),
        }


def _spoil_record(rng: random.Random, valid: Files) -> Case:
    name = RECORD if rng.random() < 0.8 else NOOP
    return Case({name: spoil_place(rng) if rng.random() < 0.03 else spoil_json_file(rng, valid[name])})


def read_results(folder: Path, words: tuple[str, ...] = ()) -> None:
    """The leaderboard of a folder of records, in every form, and what verification asks of a record first."""
    record = read_record(folder / RECORD)
    # A policy that brings no size of its own, so that the record's counts.
    env_spec_of(record, folder / RECORD, PolicySource("noop", "lift"))
    rank_runs(read_runs(folder / "results"))
    with contextlib.redirect_stdout(io.StringIO()):
        leaderboard([f"results={folder / 'results'}"])


def _spoil_mark(rng: random.Random, valid: Files) -> Case:
    name = rng.choice((MARK, MARK, HOST))
    return Case({name: spoil_place(rng) if rng.random() < 0.05 else spoil_json_file(rng, valid[name])})


def _read_mark(folder: Path, words: tuple[str, ...]) -> None:
    read_verification(folder / RECORD)
    read_host(folder / RECORD)
    other_machine(read_record(folder / RECORD), folder / RECORD, {"cpu": "fake"})
    groups = rank_runs(read_runs(folder / "results"))
    csv_table(groups).encode()
    markdown(groups).encode()


_HELD_OUT = f"results/{SHARDS}/held-out.json"
_EPISODE = f"results/{SHARDS}/episode.json"
_STEPS = (0, 1, 2, 3, 4)


@functools.cache
def _shard_files() -> Files:
    environment = {"ranked": {"env_id": "smidgen/Lift-v0"}, "host": {"cpu": "fake"}}
    episode = {
        "environment": environment,
        "frames_sha256": None,
        "row": ROW,
        "path": [[0.0, 0.0, 1.0]] * 3,
        "error": None,
        "trace": "",
    }
    rng = np.random.default_rng(0)
    shapes = {"prediction": (5, 4), "shuffled": (2, 4), "blanked": (2, 4), "frames": (1, 4), "frames_moved": (1, 4)}
    held_out = {name: rng.normal(size=shape).tolist() for name, shape in shapes.items()}
    return {_EPISODE: canonical_json(episode), _HELD_OUT: canonical_json(held_out)}


def _spoil_shard(rng: random.Random, valid: Files) -> Case:
    name = rng.choice((_EPISODE, _HELD_OUT))
    return Case({name: spoil_place(rng) if rng.random() < 0.05 else spoil_json_file(rng, valid[name])})


def _read_shards(folder: Path, words: tuple[str, ...]) -> None:
    """Reads as an evaluation does, and uses the answers as it does; one that is refused would be run again."""
    source = PolicySource("noop", "lift")
    spec = EnvSpec("lift", ("agentview",), 8)
    answer = read_answer(folder / _EPISODE, EpisodeItem(source, spec, FIRST_SEED))
    held_out = read_answer(folder / _HELD_OUT, HeldOutItem(source, "demos", FIRST_SEED, _STEPS))
    if answer is None or held_out is None:
        raise UserError(f"{folder}: episode.json or held-out.json would be run again")
    measures = CollapsePart(["x_m", "y_m", "z_m"], "nothing held out")
    measures.add_paths({FIRST_SEED: answer["path"], FIRST_SEED + 1: answer["path"]}, None, "lift")
    for name in set(held_out) - {"error"}:
        np.asarray(held_out[name], dtype=np.float64)[..., :3].sum(axis=-1)
    canonical_json([measures.finish(), answer["row"]["return"] + answer["row"]["num_steps"], answer["environment"]])


def open_and_bundle(folder: Path, words: tuple[str, ...] = ()) -> None:
    """What ``smidgen-leaderboard submit`` does, but for writing the bundle to disk."""
    submission = open_submission([folder / RECORD])
    files = bundle_files(submission)
    for name in files:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise AssertionError(f"the bundle holds {name!r}")
    zip_bytes(files, submission.name)


def _spoil_submission(rng: random.Random, valid: Files) -> Case:
    """A spoiled record, host file, card or model; where the model is, the record and the card name its new hash."""
    card_name, model_name = f"{CHECKPOINT}/{CARD_NAME}", f"{CHECKPOINT}/{MODEL_NAME}"
    kind = rng.randrange(10)
    if kind < 3:
        return Case({RECORD: spoil_json_file(rng, valid[RECORD])})
    if kind < 5:
        name = rng.choice((RECORD, HOST, VIDEO, card_name, model_name))
        return Case({name: spoil_place(rng) if rng.random() < 0.5 else spoil_bytes(rng, valid[name])})
    card, files = valid[card_name], {}
    if kind < 8:
        card = spoil_card(rng, card)
    else:
        files[model_name] = spoil_safetensors(rng, valid[model_name])
        card = canonical_json({**json.loads(card), "model_sha256": sha256_bytes(files[model_name])})
    record = json.loads(valid[RECORD])
    record["policy"]["checkpoint_sha256"] = sha256_bytes(card)
    return Case({**files, card_name: card, RECORD: canonical_json(record)})


def without(names: tuple[str, ...], files: Callable[[], Files]) -> Callable[[], Files]:
    """Valid files, some of them left out."""
    return lambda: {name: content for name, content in files().items() if name not in names}


RECORD_READERS: dict[str, Reader] = {
    # With its mark, a record that changed would be refused for that alone.
    "record": Reader(without((MARK,), result_files), _spoil_record, read_results),
    "verification mark": Reader(result_files, _spoil_mark, _read_mark),
    "stored answers": Reader(_shard_files, _spoil_shard, _read_shards),
    "submission": Reader(without((MARK, NOOP), result_files), _spoil_submission, open_and_bundle),
}
