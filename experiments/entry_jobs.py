"""The jobs of a leaderboard track: demonstrations, references, searches for rates, entries, and verifying some.

A recipe's rate is chosen by the records of its search, so its entries open when the search is complete. Data sets and
trainings stay in the scratch folder; records are what is committed.
"""

from __future__ import annotations

import math
import random
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smidgen.evaluation.records import read_record, record_path
from smidgen.evaluation.training_curve import read_curve
from smidgen.evaluation.verification_mark import VERIFIED, mark_of
from smidgen.evaluation.verify import VerifyOptions, verify_record
from smidgen.experiments.boards import BOARDS, RATE_OF, RATES, REFERENCES, TUNING_SEED, Board, build_trial, tuning_task
from smidgen.experiments.costs import append_cost, cost_of, counted
from smidgen.experiments.stages import (
    EVALUATING,
    Place,
    Size,
    collect_sets,
    enter_stage,
    evaluate_trial,
    is_collected,
    train_trial,
)
from smidgen.experiments.trial import Trial
from smidgen.policies.checkpoint import checkpoint_sha256
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import read_json, write_json_atomic
from smidgen.training.stepping import TrainingDiverged

TUNING_FOLDER = "tuning"
# A recipe with the usual demonstrations.
USUAL = "raw"
COLLECTING, REFERENCE, TUNING, ENTRY = "collecting", "reference", "tuning", "entry"
VERIFICATION = "verification"
# Of the rows that are run again; the protocol names the seed.
DRAW_SEED, DRAW_ONE_IN = 20_261_129, 10


@dataclass(frozen=True)
class Track:
    """What all jobs share.

    Attributes:
        suite: Name in the table of costs.
        place: Where everything goes.
        size: How much of everything.
        evaluation: Keys of ``smidgen-eval`` that say which seeds: the track's, or others for a trial run.
    """

    suite: str
    place: Place
    size: Size
    evaluation: dict[str, Any]

    @property
    def records(self) -> str:
        """The folder of the result records."""
        return str(self.place.folder)


@dataclass(frozen=True)
class TrackJob(ABC):
    """One job; what it costs, over all interruptions, becomes a line of the table of costs.

    Attributes:
        track: What all jobs share.
        task: The job's task.
        name: A recipe, or a reference.
    """

    track: Track
    task: str
    name: str = ""

    @property
    @abstractmethod
    def kind(self) -> str:
        """What it does."""

    @property
    def group(self) -> str:
        """Jobs of one group cost about the same."""
        return "/".join(filter(None, [self.kind, self.task, self.name]))

    @property
    def label(self) -> str:
        """Its name in messages and costs."""
        return self.group

    @abstractmethod
    def is_done(self) -> bool:
        """Whether its output is there."""

    @abstractmethod
    def do(self) -> str:
        """Does the work; returns what came of it, in a few words."""

    def locks(self) -> list[Path]:
        """The folder that a process holds while it works on the job."""
        return [self.track.place.scratch / "locks" / self.label]

    def run(self) -> str:
        """Does the work and adds its cost to the table."""
        tally = self.track.place.scratch / "costs" / self.label.replace("/", ".")
        with counted(self.kind, tally):
            outcome = self.do()
        cost = cost_of(self.kind, tally)
        append_cost(self.track.place.costs, self.track.suite, self.label, 1, cost.wall_s, cost.core_s)
        return outcome


@dataclass(frozen=True)
class CollectingJob(TrackJob):
    """The demonstrations of a recipe, and the held-out ones; most recipes share those of the task."""

    kind = COLLECTING

    @property
    def trial(self) -> Trial:
        """A trial with these demonstrations."""
        return build_trial(self.name, self.task, TUNING_SEED, RATES[0])

    @property
    def group(self) -> str:
        """Named by its data set."""
        return f"{self.kind}/{self.trial.data_name}"

    def is_done(self) -> bool:
        """Whether both data sets are complete."""
        return is_collected(self.trial, self.track.place)

    def do(self) -> str:
        """Collects them."""
        collect_sets(self.trial, self.track.place, self.track.size)
        return "demonstrations are there"


@dataclass(frozen=True)
class ReferenceJob(TrackJob):
    """An expert or a baseline on the track's episodes."""

    kind = REFERENCE

    def is_done(self) -> bool:
        """Whether its record is there."""
        return record_path(self.track.records, self.task, self.name).exists()

    def do(self) -> str:
        """Evaluates it."""
        place, size = self.track.place, self.track.size
        trial, settings = any_trial(self.task), {"out": self.track.records, **self.track.evaluation}
        return outcome_of(evaluate_trial(self.name, trial, place, size, **settings))


@dataclass(frozen=True)
class TuningJob(TrackJob):
    """A training at one learning rate with the tuning seed, measured on held-out demonstrations alone."""

    lr: float = math.nan
    kind = TUNING

    @property
    def label(self) -> str:
        """Its name, with the rate."""
        return f"{self.group}/{self.lr:g}"

    @property
    def path(self) -> Path:
        """The path of its record."""
        return tuning_path(self.track.place.folder, self.task, self.name, self.lr)

    def is_done(self) -> bool:
        """Whether its record is there."""
        return self.path.exists()

    def do(self) -> str:
        """Trains, and records the last held-out measures; none where the training diverged."""
        trial = build_trial(self.name, self.task, TUNING_SEED, self.lr)
        try:
            curve = read_curve(str(train_trial(trial, self.track.place, self.track.size)))
        except TrainingDiverged:
            curve = [{}]
        found = {key: curve[-1].get(key) for key in ("step", "loss", "skill_time_mean", "cue_slope")}
        about = {"task": self.task, "recipe": self.name, "lr": self.lr, "trial_sha256": trial.sha256}
        write_json_atomic(self.path, {"schema_version": 1, **about, **found})
        return f"held-out loss {found['loss']}"


@dataclass(frozen=True)
class EntryJob(TrackJob):
    """One training seed of a recipe, at its chosen rate, on the track's episodes."""

    seed: int = -1
    lr: float = math.nan
    kind = ENTRY

    @property
    def label(self) -> str:
        """Its name, with the seed."""
        return f"{self.group}/seed{self.seed}"

    @property
    def row(self) -> str:
        """The name of its record's policy."""
        return f"{self.name}-seed{self.seed}"

    def is_done(self) -> bool:
        """Whether its record is there."""
        return record_path(self.track.records, self.task, self.row).exists()

    def do(self) -> str:
        """Trains and evaluates the final checkpoint."""
        place, size = self.track.place, self.track.size
        trial = build_trial(self.name, self.task, self.seed, self.lr)
        run = train_trial(trial, place, size)
        settings = {"name": self.row, "out": self.track.records, **self.track.evaluation}
        return outcome_of(evaluate_trial(run, trial, place, size, **settings))


@dataclass(frozen=True)
class VerificationJob(TrackJob):
    """An entry that was drawn (docs/protocol.md) and is run again from its checkpoint, all of its episodes."""

    seed: int = -1
    kind = VERIFICATION

    @property
    def label(self) -> str:
        """Its name, with the seed."""
        return f"{self.group}/seed{self.seed}"

    @property
    def record(self) -> Path:
        """The record to verify."""
        return record_path(self.track.records, self.task, f"{self.name}-seed{self.seed}")

    def is_done(self) -> bool:
        """Whether a mark of the record's bytes is there, whatever it says."""
        return mark_of(self.record) is not None

    def do(self) -> str:
        """Trains it again if its run is gone, and verifies it.

        Raises:
            UserError: If this machine's training ends in another checkpoint, of which the record says nothing, or the
                record differs; its mark then says so.
        """
        place, size = self.track.place, self.track.size
        policy = read_record(self.record)["policy"]
        trained: Any = policy["training"]
        trial = build_trial(self.name, self.task, self.seed, trained["training_config"]["lr"])
        run = train_trial(trial, place, size)
        if checkpoint_sha256(run) != policy["checkpoint_sha256"]:
            raise UserError(f"{self.record}: trained again here, it is another checkpoint; verify it where it was made")
        enter_stage(EVALUATING)
        options = VerifyOptions(
            self.record, size.episodes, checkpoint=run, demos=place.data(trial)[0], workers=place.num_workers
        )
        mark, _, _ = verify_record(options, place.make)
        if mark["verdict"] != VERIFIED:
            raise UserError(f"{self.record}: {mark['verdict']}: {mark['reason']}")
        return mark["verdict"]


def drawn_rows(board: Board) -> list[tuple[str, str, int]]:
    """Task, recipe and training seed of the rows of a board that are run again: one in ten, rounded up, sorted."""
    rows = {
        f"{task}-{recipe}-seed{seed}": (task, recipe, seed)
        for task in board.tasks
        for recipe in board.recipes
        for seed in range(board.num_training_seeds)
    }
    drawn = random.Random(DRAW_SEED).sample(sorted(rows), -(-len(rows) // DRAW_ONE_IN))
    return [rows[name] for name in sorted(drawn)]


def any_trial(task: str) -> Trial:
    """A trial with the demonstrations that most recipes share."""
    return build_trial(USUAL, task, TUNING_SEED, RATES[0])


def outcome_of(path: Path) -> str:
    """A record's success and sight, in a few words."""
    record: Any = read_json(path)
    sight = record["collapse"].get("verdict_slope")
    told = "" if sight is None else f", sight {sight:.2f}"
    return f"{record['success']['k']}/{record['success']['n']}{told}"


def tuning_path(folder: Path, task: str, recipe: str, lr: float) -> Path:
    """The path of a tuning record."""
    return folder / TUNING_FOLDER / f"{task}-{recipe}-{lr:g}.json"


def chosen_rate(folder: Path, task: str, recipe: str) -> float | None:
    """The rate with the lowest held-out loss on the tuning task, of the recipe or of the one whose rate it takes.

    None until the search is complete.

    A training that diverged comes last; of equal losses the lower rate wins.
    """
    searched = RATE_OF.get(recipe, recipe)
    paths = {lr: tuning_path(folder, tuning_task(task), searched, lr) for lr in RATES}
    if not all(path.exists() for path in paths.values()):
        return None
    losses = {lr: read_json(path)["loss"] for lr, path in paths.items()}
    return min(losses, key=lambda lr: (math.inf if losses[lr] is None else losses[lr], lr))


def board_jobs(board: Board, track: Track) -> Iterator[TrackJob]:
    """Every job of a board in the order in which it is run; the rate of entries that are not open yet is NaN.

    Entries go seed by seed, so that a board that is not complete has as many seeds of each recipe.
    """
    searched = dict.fromkeys(map(tuning_task, board.tasks))
    rates_of = dict.fromkeys(RATE_OF.get(recipe, recipe) for recipe in board.recipes)
    usual = [CollectingJob(track, task, USUAL) for task in dict.fromkeys([*board.tasks, *searched])]
    others = [CollectingJob(track, task, recipe) for task in board.tasks for recipe in board.recipes]
    yield from {job.label: job for job in (*usual, *others)}.values()
    for task in board.tasks:
        yield from (ReferenceJob(track, task, policy) for policy in REFERENCES)
    for task in searched:
        yield from (TuningJob(track, task, recipe, lr) for recipe in rates_of for lr in RATES)
    rates = {
        (task, recipe): chosen_rate(track.place.folder, task, recipe)
        for task in board.tasks
        for recipe in board.recipes
    }
    drawn = {row for whole in BOARDS for row in drawn_rows(whole)}
    for seed in range(board.num_training_seeds):
        for (task, recipe), lr in rates.items():
            yield EntryJob(track, task, recipe, seed, math.nan if lr is None else lr)
            if (task, recipe, seed) in drawn:
                # At once, while its run is still there.
                yield VerificationJob(track, task, recipe, seed)


def is_open(job: TrackJob) -> bool:
    """Whether a job's inputs are there."""
    if isinstance(job, CollectingJob):
        return True
    if isinstance(job, EntryJob) and math.isnan(job.lr):
        return False
    if isinstance(job, VerificationJob) and not job.record.exists():
        return False
    return demonstrations_of(job).is_done()


def demonstrations_of(job: TrackJob) -> CollectingJob:
    """The job that collects what another job needs."""
    return CollectingJob(job.track, job.task, USUAL if isinstance(job, ReferenceJob) else job.name)


def needs(job: TrackJob) -> frozenset[str]:
    """Labels of the jobs whose output a job takes."""
    if isinstance(job, CollectingJob):
        return frozenset()
    found = {demonstrations_of(job).label}
    if isinstance(job, VerificationJob):
        found.add(EntryJob(job.track, job.task, job.name, job.seed).label)
    if isinstance(job, EntryJob):
        searched = RATE_OF.get(job.name, job.name)
        found |= {TuningJob(job.track, tuning_task(job.task), searched, lr).label for lr in RATES}
    return frozenset(found)
