"""A trained policy's scores without a simulator, one small file for each arm of the search for a recipe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smidgen.evaluation.check.rank import SCORES, RankConfig, rank, rank_json
from smidgen.experiments.stages import Place
from smidgen.policies.checkpoint import RUN_CHECKPOINT, checkpoint_sha256
from smidgen.runtime.files import read_json, write_json_atomic
from smidgen.runtime.schemas import from_json, refuse, require_version, to_json
from studies.recipe.acting import acting_checkpoint
from studies.recipe.arms import Arm
from studies.recipe.records import ArmRecord

SCHEMA_VERSION = 1
FOLDER = Path("results/checkpoint_choice")
EPISODES, WINDOWS = 20, 600


@dataclass(frozen=True, kw_only=True)
class ScoredArm:
    """One policy, scored.

    Attributes:
        arm: Its name in the search for a recipe.
        checkpoint: SHA-256 of the checkpoint, as in the arm's record.
        label: What ``smidgen-check`` says of it.
        scores: By name: the score and the ends of its interval; None where it has none.
        episodes: Held-out episodes that it was asked about, at most.
        windows: Steps that it was asked about, at most.
        schema_version: Of this format.
    """

    arm: str
    checkpoint: str
    label: str
    scores: dict[str, tuple[float | None, float | None, float | None]]
    episodes: int = EPISODES
    windows: int = WINDOWS
    schema_version: int = field(default=SCHEMA_VERSION)


def scored_path(folder: Path, arm: str) -> Path:
    """The path of an arm's scores."""
    return folder / f"{arm}.json"


def score_missing(
    arms: Mapping[str, Arm], records: Mapping[str, ArmRecord], place: Place, folder: Path
) -> Iterator[ScoredArm]:
    """Scores every arm that has a record, that record's checkpoint in the scratch folder, and no scores yet.

    A training of the same arm on another machine may have ended in another checkpoint; it is left out.
    """
    for name, record in records.items():
        run = place.run(arms[name])
        if scored_path(folder, name).exists() or not (run / RUN_CHECKPOINT).exists():
            continue
        checkpoint = acting_checkpoint(run, arms[name].acting)
        if checkpoint_sha256(checkpoint) != record.hashes["checkpoint"]:
            continue
        scored = score(name, checkpoint, place.data(arms[name])[1])
        write_json_atomic(scored_path(folder, name), to_json(scored))
        yield scored


def score(arm: str, checkpoint: Path, held_out: Path) -> ScoredArm:
    """Scores one policy on held-out demonstrations."""
    config = RankConfig(data=str(held_out), episodes=EPISODES, windows=WINDOWS)
    order, left_out = rank(config, [str(checkpoint)])
    assert not left_out
    (row,) = rank_json(config, order)["order"]
    scores = {name: tuple(row["scores"][name]) for name in SCORES}
    return ScoredArm(arm=arm, checkpoint=checkpoint_sha256(checkpoint), label=row["label"], scores=scores)


def read_scored(folder: Path, records: Mapping[str, ArmRecord]) -> dict[str, ScoredArm]:
    """Every arm's scores, in the order of the arms' records.

    Raises:
        UserError: If a file is not valid, or of another checkpoint than the arm's record.
    """
    found = {}
    for path in sorted(folder.glob("*.json")):
        value: Any = read_json(path)
        require_version(value, (SCHEMA_VERSION,), str(path))
        scored = from_json(ScoredArm, value, str(path))
        if scored.arm != path.stem or scored.arm not in records:
            refuse(str(path), "arm", "an arm that has a record, as in the file's name", scored.arm)
        if scored.checkpoint != records[scored.arm].hashes["checkpoint"]:
            refuse(str(path), "checkpoint", f"that of {scored.arm}'s record", scored.checkpoint)
        found[scored.arm] = scored
    return {name: found[name] for name in records if name in found}
