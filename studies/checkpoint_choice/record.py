"""A trained policy's scores without a simulator, one small file for each policy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smidgen.evaluation.check.rank import SCORES, RankConfig, rank, rank_json
from smidgen.policies.checkpoint import checkpoint_sha256
from smidgen.runtime.files import read_json, write_json_atomic
from smidgen.runtime.schemas import from_json, refuse, require_version, to_json
from studies.checkpoint_choice.candidates import Candidate

SCHEMA_VERSION = 2
FOLDER = Path("results/checkpoint_choice")
EPISODES, WINDOWS = 20, 600


@dataclass(frozen=True, kw_only=True)
class ScoredPolicy:
    """One policy, scored.

    Attributes:
        policy: The candidate's name.
        checkpoint: SHA-256 of the checkpoint, as in the policy's record.
        label: What ``smidgen-check`` says of it.
        scores: By name: the score and the ends of its interval; None where it has none.
        episodes: Held-out episodes that it was asked about, at most.
        windows: Steps that it was asked about, at most.
        schema_version: Of this format.
    """

    policy: str
    checkpoint: str
    label: str
    scores: dict[str, tuple[float | None, float | None, float | None]]
    episodes: int = EPISODES
    windows: int = WINDOWS
    schema_version: int = field(default=SCHEMA_VERSION)


def scored_path(folder: Path, policy: str) -> Path:
    """The path of a policy's scores."""
    return folder / f"{policy}.json"


def score_missing(candidates: Mapping[str, Candidate], folder: Path) -> Iterator[ScoredPolicy]:
    """Scores every candidate whose checkpoint is on this machine and that has no scores yet."""
    for name, candidate in candidates.items():
        if scored_path(folder, name).exists() or (found := candidate.find()) is None:
            continue
        scored = score(name, *found)
        write_json_atomic(scored_path(folder, name), to_json(scored))
        yield scored


def score(name: str, checkpoint: Path, held_out: Path) -> ScoredPolicy:
    """Scores one policy on held-out demonstrations."""
    config = RankConfig(data=str(held_out), episodes=EPISODES, windows=WINDOWS)
    order, left_out = rank(config, [str(checkpoint)])
    assert not left_out
    (row,) = rank_json(config, order)["order"]
    scores = {score: tuple(row["scores"][score]) for score in SCORES}
    return ScoredPolicy(policy=name, checkpoint=checkpoint_sha256(checkpoint), label=row["label"], scores=scores)


def read_scored(folder: Path, candidates: Mapping[str, Candidate]) -> dict[str, ScoredPolicy]:
    """Every policy's scores, in the order of the candidates.

    Raises:
        UserError: If a file is not valid, or of another checkpoint than the policy's record.
    """
    found = {}
    for path in sorted(folder.glob("*.json")):
        value: Any = read_json(path)
        require_version(value, (SCHEMA_VERSION,), str(path))
        scored = from_json(ScoredPolicy, value, str(path))
        if scored.policy != path.stem or scored.policy not in candidates:
            refuse(str(path), "policy", "a policy that has a record, as in the file's name", scored.policy)
        if scored.checkpoint != candidates[scored.policy].checkpoint_sha256:
            refuse(str(path), "checkpoint", f"that of {scored.policy}'s record", scored.checkpoint)
        found[scored.policy] = scored
    return {name: found[name] for name in candidates if name in found}
