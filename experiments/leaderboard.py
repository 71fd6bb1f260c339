"""The official leaderboard as a suite, ``smidgen-suite suite=smidgen.experiments.leaderboard:CPU_STANDARD``.

Every row is made from nothing: demonstrations, the search for its rate, training seeds, evaluations on the track's
episodes. ``smidgen-suite plan`` tells what is left, and what it will cost by the costs of what is done. A small
variant: ``form=smoke rows=[speck_4/cnn]``, three minutes on one core.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from smidgen.evaluation.tracks import CPU_STANDARD_1
from smidgen.experiments.boards import BOARDS, TRACK, Board
from smidgen.experiments.costs import COSTS_FILE, Cost, median_cost, read_costs
from smidgen.experiments.entry_jobs import EntryJob, Track, TrackJob, board_jobs, is_open, needs
from smidgen.experiments.jobs import work
from smidgen.experiments.snapshot import Snapshot, UnfinishedJob, take_snapshot, wall_s
from smidgen.experiments.stages import Place, Size
from smidgen.experiments.suite import SuiteConfig
from smidgen.runtime.engine import map_on_engine
from smidgen.runtime.errors import UserError, unknown_name
from smidgen.runtime.places import require_outside

FOLDER = Path("results") / CPU_STANDARD_1
FORMS = {
    "full": Size(episodes=TRACK.num_episodes, videos=2),
    "smoke": Size(demonstrations=3, held_out=2, most_steps=4, episodes=1, videos=0),
}
# From here on nothing of the track may change (docs/protocol.md).
IS_FROZEN = True


@dataclass(frozen=True)
class LeaderboardSuite:
    """What ``smidgen-suite`` calls."""

    boards: Sequence[Board] = BOARDS
    is_frozen: bool = IS_FROZEN

    def track(self, config: SuiteConfig) -> Track:
        """Where everything goes and which episodes count; only the full form runs those of the track.

        Raises:
            UserError: If there is no such form.
        """
        if config.form not in FORMS:
            raise unknown_name("form", config.form, FORMS)
        is_full = config.form == "full"
        scratch = Path(config.scratch) / CPU_STANDARD_1 / config.form
        folder = Path(config.out) if config.out else FOLDER if is_full else scratch / "records"
        costs = COSTS_FILE if folder == FOLDER else folder / COSTS_FILE.name
        evaluation = {"track": CPU_STANDARD_1} if is_full else {"split": "checkpoint"}
        return Track(CPU_STANDARD_1, Place(folder, scratch, costs), FORMS[config.form], evaluation)

    def jobs(self, config: SuiteConfig) -> dict[str, list[TrackJob]]:
        """The jobs of each board, in order; a job that several boards need is that of the first.

        Raises:
            UserError: If a row to run, TASK/RECIPE, is on no board.
        """
        track, seen = self.track(config), set[str]()
        known = {f"{task}/{recipe}" for board in self.boards for task in board.tasks for recipe in board.recipes}
        for row in config.arms:
            if row not in known:
                raise unknown_name("row", row, sorted(known))
        found: dict[str, list[TrackJob]] = {}
        for board in self.boards:
            wanted = _wanted(board, config.arms)
            # Rows of one task share its demonstrations and references.
            jobs = {job.label: job for part in wanted for job in board_jobs(part, track) if job.label not in seen}
            found[board.name] = list(jobs.values())
            seen.update(jobs)
        return found

    def run(self, config: SuiteConfig) -> str:
        """Runs what is not there yet, in ``workers`` processes (0: in this one); any number of commands may share it.

        Returns:
            What to say at the end.

        Raises:
            UserError: If the track is not frozen, or a job failed, once all others are done.
        """
        track = self.track(config)
        require_outside(track.place.folder)
        require_outside(track.place.scratch, "scratch")
        self.jobs(config)
        if config.form == "full" and not self.is_frozen:
            raise UserError(
                f"track {CPU_STANDARD_1} is not frozen yet (docs/protocol.md): run form=smoke, no test episode"
            )
        workers = [(self, config, index) for index in range(max(1, config.workers))]
        failed = {name for _, names in map_on_engine(config, _work, workers, config.workers) for name in names}
        if failed:
            raise UserError(f"{', '.join(sorted(failed))} failed, for the reasons above; all others are done")
        return f"records: {track.place.folder}; tables: smidgen-leaderboard results={track.place.folder}"

    def status(self, config: SuiteConfig) -> str:
        """What is done and what is not, job by job."""
        lines = []
        for board, jobs in self.jobs(config).items():
            done = sum(job.is_done() for job in jobs)
            lines.append(f"board {board}: {done} of {len(jobs)} jobs done")
            lines += [f"  {'done' if job.is_done() else 'waiting':8}{job.label}" for job in jobs]
        return "\n".join(lines)

    def snapshot(self, config: SuiteConfig) -> Snapshot:
        """How far the boards are."""
        known = read_costs(self.track(config).place.costs, CPU_STANDARD_1)
        jobs = [job for board in self.jobs(config).values() for job in board]
        unfinished = [
            UnfinishedJob(job.label, job.locks()[0], wall_s(expected_cost(job, known)), needs(job))
            for job in jobs
            if not job.is_done()
        ]
        return take_snapshot(CPU_STANDARD_1, len(jobs) - len(unfinished), unfinished, config.workers)

    def plan(self, config: SuiteConfig) -> str:
        """What is left of each board, in the order in which it is run, and what it will cost."""
        known = read_costs(self.track(config).place.costs, CPU_STANDARD_1)
        lines = ["board  rows done  jobs left  core-hours left", "-" * 44]
        for board, jobs in self.jobs(config).items():
            entries = [job for job in jobs if isinstance(job, EntryJob)]
            left = [job for job in jobs if not job.is_done()]
            expected = [expected_cost(job, known) for job in left]
            hours = sum(cost.core_s for cost in expected if cost) / 3600
            unknown = sum(cost is None for cost in expected)
            told = f"{hours:.1f}" + (f" + {unknown} jobs of unknown cost" if unknown else "")
            num_rows = sum(job.is_done() for job in entries)
            lines.append(f"{board:5}  {num_rows:4} of {len(entries):<4}{len(left):8}  {told}")
        return "\n".join(lines)


def expected_cost(job: TrackJob, known: Sequence[tuple[str, Cost]]) -> Cost | None:
    """The median cost of finished jobs of the same group; else of the same recipe, else of the same kind; else None."""
    ways = (
        lambda label: label.startswith(f"{job.group}/") or label == job.group,
        lambda label: label.split("/")[0] == job.kind and job.name in label.split("/"),
        lambda label: label.split("/")[0] == job.kind,
    )
    for is_alike in ways:
        if cost := median_cost([cost for label, cost in known if is_alike(label)]):
            return cost
    return None


def _wanted(board: Board, rows: Sequence[str]) -> Iterator[Board]:
    """The board, or the parts of it that hold only some rows."""
    if not rows:
        yield board
    for row in rows:
        task, _, recipe = row.partition("/")
        if task in board.tasks and recipe in board.recipes:
            yield Board(board.name, (task,), (recipe,), board.num_training_seeds)


def _work(worker: tuple[LeaderboardSuite, SuiteConfig, int]) -> list[str]:
    """Works until nothing is left; returns the jobs that failed."""
    suite, config, _ = worker
    failed = []

    def jobs() -> list[TrackJob]:
        return [job for board in suite.jobs(config).values() for job in board]

    def open_jobs() -> list[TrackJob]:
        return [job for job in jobs() if is_open(job)]

    for job, outcome in work(open_jobs, lambda: all(job.is_done() for job in jobs())):
        if isinstance(outcome, UserError):
            failed.append(job.label)
        print(f"{job.label}: {outcome}", file=sys.stderr, flush=True)
    return failed


CPU_STANDARD = LeaderboardSuite()
