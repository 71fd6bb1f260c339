"""A tiny data set in the store's layout, without a simulator: a bright dot in the frame says where the arm must go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from training_runs import IMAGE_SIZE, TINY

from smidgen.data_collection.episode import Episode, manifest_row, write_episode
from smidgen.data_collection.manifest import build_manifest
from smidgen.runtime.files import write_json_atomic
from smidgen.training.config import TrainConfig
from smidgen.training.loop import train

HISTORY = 4
START = np.array([0.0, 0.0, 1.0])
HEADER: dict[str, Any] = {
    "schema_version": 1,
    "task": "dot",
    "environment": {"id": "synthetic/Dot-v0"},
    "expert": {"name": "straight line"},
    "versions": {},
    "phases": ["go"],
    "action_spec": {
        "names": ["x_m", "y_m", "z_m", "gripper"],
        "low": [-0.5, -0.5, 0.5, -1.0],
        "high": [0.5, 0.5, 1.5, 1.0],
        "kinds": ["position", "position", "position", "gripper"],
    },
    "eef_state_names": ["x_m", "y_m", "z_m", "gripper_opening_m"],
    "cameras": ["front"],
    "image_size": IMAGE_SIZE,
    "control_hz": 20,
    "history": HISTORY,
    "config": {},
}


def _frame(goal: np.ndarray, step: int, num_cameras: int) -> np.ndarray:
    frame = np.full((num_cameras, IMAGE_SIZE, IMAGE_SIZE, 3), 40, np.uint8)
    row, column = np.floor((goal[:2] + 0.5) * IMAGE_SIZE).astype(int)
    frame[:, row, column] = 255
    frame[:, 0, step % IMAGE_SIZE, 1] += 60
    # The second camera sees the same in less light.
    frame[1:] //= 2
    return frame


def _targets(goal: np.ndarray, num_steps: int) -> np.ndarray:
    fractions = np.linspace(0.1, 1.0, num_steps)[:, None]
    positions = START + fractions * (goal - START)
    return np.concatenate([positions, np.where(fractions > 0.7, 1.0, -1.0)], axis=1)


def _pairs(goal: np.ndarray, moved: np.ndarray, num_steps: int, num_cameras: int) -> dict[str, np.ndarray]:
    steps = np.array([1, num_steps // 2])

    def seen(place: np.ndarray) -> np.ndarray:
        past = [[max(step + back, 0) for back in range(1 - HISTORY, 1)] for step in steps]
        return np.array([[_frame(place, step, num_cameras) for step in row] for row in past])

    targets, targets_moved = (_targets(place, num_steps)[steps] for place in (goal, moved))
    hidden = np.full_like(seen(goal), 40)
    return {
        "step": steps,
        "frames": seen(goal),
        "frames_moved": seen(moved),
        "frames_hidden": hidden,
        "target": targets,
        "target_moved": targets_moved,
        "eef_state": np.tile([*START, 0.08], (2, 1)),
        "cue_pose": np.tile(goal, (2, 1)),
        "cue_pose_moved": np.tile(moved, (2, 1)),
    }


def _write_data_set(
    directory: Path,
    num_episodes: int = 8,
    first_seed: int = 0,
    failed_seeds: tuple[int, ...] = (),
    num_cameras: int = 1,
    **others: Any,
) -> Path:
    """Writes a finished data set; episode lengths differ, and ``others`` are fields of its header."""
    header = {**HEADER, "cameras": ["front", "side"][:num_cameras], **others}
    rows = []
    for seed in range(first_seed, first_seed + num_episodes):
        rng = np.random.default_rng(seed)
        goal, moved = (np.array([*rng.uniform(-0.45, 0.45, 2), 1.2]) for _ in range(2))
        num_steps = int(rng.integers(6, 12))
        targets = _targets(goal, num_steps)
        eef_state = np.concatenate([np.vstack([START, targets[:-1, :3]]), np.full((num_steps, 1), 0.08)], axis=1)
        is_success = np.zeros(num_steps, bool)
        is_success[-1] = seed not in failed_seeds
        episode = Episode(
            seed=seed,
            success=bool(is_success[-1]),
            success_at_reset=False,
            error=None,
            frames=np.stack([_frame(goal, step, num_cameras) for step in range(num_steps)]),
            actions=targets,
            eef_state=eef_state,
            states=np.zeros((num_steps, 2)),
            phase=np.zeros(num_steps, np.int16),
            is_success=is_success,
        )
        pairs = _pairs(goal, moved, num_steps, num_cameras)
        row = write_episode(directory / "episodes", header, episode, pairs)
        rows.append(manifest_row(directory / "episodes", row))
    write_json_atomic(directory / "manifest.json", build_manifest(header, rows))
    return directory


@pytest.fixture(scope="session")
def write_data_set():
    return _write_data_set


@pytest.fixture(scope="session")
def data_set(tmp_path_factory) -> Path:
    """Eight episodes; the one of seed 3 failed."""
    return _write_data_set(tmp_path_factory.mktemp("data") / "dot", num_episodes=8, failed_seeds=(3,))


@pytest.fixture(scope="session")
def tiny_config(data_set):
    """Builds the settings of a run that takes a fraction of a second."""

    def build(out: Path, **changes: Any) -> TrainConfig:
        return TrainConfig.from_flat(**{"demos": str(data_set), "out": str(out), **TINY, **changes})

    return build


@pytest.fixture(autouse=True)
def plots_are_blank(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than a tiny run; ``finished_run`` is drawn, and test_tensorboard_log.py draws."""
    monkeypatch.setattr("smidgen.training.tensorboard_log.draw_predictions", lambda *_: np.zeros((8, 8, 3), np.uint8))


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory, tiny_config) -> Path:
    """An uninterrupted run, not to be changed."""
    out = tmp_path_factory.mktemp("runs") / "uninterrupted"
    train(tiny_config(out))
    return out
