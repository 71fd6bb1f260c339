"""Trained policies whose success in closed loop is on record: of the search for a recipe and of the leaderboard."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from smidgen.experiments.boards import RECIPES, TRACK, build_trial
from smidgen.experiments.leaderboard import CPU_STANDARD
from smidgen.experiments.stages import Place
from smidgen.experiments.suite import SuiteConfig
from smidgen.experiments.trial import Trial
from smidgen.policies.checkpoint import RUN_CHECKPOINT, checkpoint_sha256
from studies.findings.entries import read_entries
from studies.recipe.acting import acting_checkpoint
from studies.recipe.arms import build_arms
from studies.recipe.records import read_records
from studies.recipe.screen import SCREEN

Found = tuple[Path, Path]


@dataclass(frozen=True)
class Candidate:
    """A policy that was trained and evaluated.

    Attributes:
        name: Of its file of scores.
        group: Policies of one group are ordered among themselves: one task, evaluated in one way.
        checkpoint_sha256: Of the checkpoint that was evaluated.
        success: Share of its episodes that succeeded.
        validation: The last held-out measures of its training.
        find: Gives the checkpoint and the held-out demonstrations if they are on this machine.
    """

    name: str
    group: str
    checkpoint_sha256: str
    success: float
    validation: Mapping[str, float | None]
    find: Callable[[], Found | None] = field(default=lambda: None, compare=False)


def candidates(recipe: Path, leaderboard: Path, scratch: str) -> dict[str, Candidate]:
    """Every candidate by its name.

    Args:
        recipe: Records of the search for a recipe.
        leaderboard: Records of the official leaderboard.
        scratch: Folder of unfinished and finished runs.
    """
    found = [*_of_the_search(recipe, scratch), *_of_the_leaderboard(leaderboard, scratch)]
    return {each.name: each for each in found}


def _of_the_search(folder: Path, scratch: str) -> list[Candidate]:
    arms, found = build_arms(), []
    place = SCREEN.place(SuiteConfig("studies.recipe:SCREEN", scratch=scratch))
    for name, record in read_records(folder, arms).items():
        arm = arms[name]
        acting = ", ".join(f"{key}={value}" for key, value in arm.acting.items())
        group = f"{arm.task}{f' ({acting})' if acting else ''}"
        rate = record.success["rate"]
        find = _finder(place, arm, record.hashes["checkpoint"])
        found.append(Candidate(name, group, record.hashes["checkpoint"], rate, record.validation[-1], find))
    return found


def _of_the_leaderboard(folder: Path, scratch: str) -> list[Candidate]:
    place = CPU_STANDARD.track(SuiteConfig("smidgen.experiments.leaderboard:CPU_STANDARD", scratch=scratch)).place
    found = []
    for (task, recipe), entry in read_entries(folder).items():
        for record in entry.records:
            training, digest = record["policy"]["training"], record["policy"]["checkpoint_sha256"]
            if recipe not in RECIPES or training is None or digest is None:
                continue
            policy, config = record["policy"]["name"], training["training_config"]
            trial = build_trial(recipe, task, config["seed"], config["lr"])
            name, group = f"{TRACK.name}.{task}-{policy}", f"{task}, leaderboard"
            rate, last = record["success"]["rate"], record["training_curve"][-1]
            found.append(Candidate(name, group, digest, rate, last, _finder(place, trial, digest)))
    return found


def _finder(place: Place, trial: Trial, digest: str) -> Callable[[], Found | None]:
    def find() -> Found | None:
        """A training on another machine may have ended in another checkpoint, which is not taken."""
        run = place.run(trial)
        if not (run / RUN_CHECKPOINT).exists():
            return None
        checkpoint = acting_checkpoint(run, trial.acting)
        return (checkpoint, place.data(trial)[1]) if checkpoint_sha256(checkpoint) == digest else None

    return find
