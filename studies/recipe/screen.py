"""The search as a suite: ``smidgen-suite [status] suite=studies.recipe:SCREEN [arms=[...]] [form=smoke]``.

Demonstrations, training and evaluation of one arm after the other, in the order of the plan; a small variant is
``form=smoke arms=[speck_4.cnn]``, a minute on one core.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from smidgen.experiments.costs import COSTS_FILE, core_hours, nearest_cost, read_costs
from smidgen.experiments.jobs import work
from smidgen.experiments.snapshot import Snapshot, take_snapshot, unfinished_jobs
from smidgen.experiments.stages import Place, Size
from smidgen.experiments.suite import SuiteConfig
from smidgen.runtime.engine import map_on_engine
from smidgen.runtime.errors import UserError, unknown_name
from smidgen.runtime.places import require_outside
from studies.recipe.arms import Arm, build_arms
from studies.recipe.jobs import SUITE, ArmJob, arm_jobs
from studies.recipe.plan import NOTES, settle_plan
from studies.recipe.records import ArmRecord, read_records
from studies.recipe.step_costs import FOLDER, at_most_core_hours

SCRATCH = "recipe"
FORMS = {"full": Size(), "smoke": Size(demonstrations=3, held_out=2, most_steps=4, episodes=1, videos=1)}


@dataclass(frozen=True)
class Screen:
    """What ``smidgen-suite`` calls: arms of a plan.

    Attributes:
        name: The suite's, in the table of costs.
        folder: Of its plan and records.
        forms: How much of everything each form has.
        build: Builds its arms.
        notes: What its plan says beside the arms.
        seed_start: First episode, as an offset inside the split.
        table: The command that makes a table of its records.
    """

    name: str = SUITE
    folder: Path = FOLDER
    forms: Mapping[str, Size] = field(default_factory=lambda: FORMS)
    build: Callable[[], Mapping[str, Arm]] = build_arms
    notes: Sequence[str] = NOTES
    seed_start: int = 0
    table: str = "python -m studies.recipe"

    def place(self, config: SuiteConfig) -> Place:
        """Where everything goes; only records in the repository's folder enter its costs."""
        scratch = Path(config.scratch) / SCRATCH / config.form
        folder = Path(config.out) if config.out else self.folder if config.form == "full" else scratch / "records"
        return Place(folder, scratch, COSTS_FILE if folder == self.folder else folder / COSTS_FILE.name)

    def run(self, config: SuiteConfig) -> str:
        """Runs what is not there yet, in ``workers`` processes (0: in this one); any number of commands may share it.

        Returns:
            What to say at the end.

        Raises:
            UserError: If an arm failed, such as a training that diverged, once all others are done.
        """
        place, size, arms = self.place(config), self.size(config), self.build()
        require_outside(place.folder)
        require_outside(place.scratch, "scratch")
        self.chosen(config)
        settle_plan(arms, size, at_most_core_hours(arms, size), place.folder, self.notes)
        workers = [(self, config, index) for index in range(max(1, config.workers))]
        failed = {name for _, names in map_on_engine(config, _work, workers, config.workers) for name in names}
        if failed:
            raise UserError(f"{', '.join(sorted(failed))} failed, for the reasons above; all others are done")
        return f"records: {place.folder}; table: {self.table}"

    def status(self, config: SuiteConfig) -> str:
        """What is done and what is not, arm by arm."""
        place, arms = self.place(config), self.chosen(config)
        records = read_records(place.folder, self.build())
        lines = [f"  {outcome_line(records[name]) if name in records else f'waiting  {name}'}" for name in arms]
        spent = core_hours(place.costs, self.name)
        num_done = sum(name in records for name in arms)
        return "\n".join(
            [f"{num_done} of {len(arms)} arms done in {place.folder}, {spent:.1f} core-hours so far", *lines]
        )

    def snapshot(self, config: SuiteConfig) -> Snapshot:
        """How far the search is."""
        place = self.place(config)
        known = read_costs(place.costs, self.name)
        jobs = self.jobs(config)
        unfinished = unfinished_jobs(jobs, functools.partial(nearest_cost, known=known))
        return take_snapshot(self.name, len(jobs) - len(unfinished), unfinished, config.workers)

    def size(self, config: SuiteConfig) -> Size:
        """How much of everything a form has.

        Raises:
            UserError: If there is no such form.
        """
        if config.form not in self.forms:
            raise unknown_name("form", config.form, self.forms)
        return self.forms[config.form]

    def chosen(self, config: SuiteConfig) -> Mapping[str, Arm]:
        """The arms to run, in the plan's order.

        Raises:
            UserError: If there is no such arm.
        """
        arms = self.build()
        for name in config.arms:
            if name not in arms:
                raise unknown_name("arm", name, arms)
        return {name: arm for name, arm in arms.items() if not config.arms or name in config.arms}

    def jobs(self, config: SuiteConfig) -> list[ArmJob]:
        """A job for each arm to run."""
        return arm_jobs(self.chosen(config), self.place(config), self.size(config), self.name, self.seed_start)


def _work(worker: tuple[Screen, SuiteConfig, int]) -> list[str]:
    """Works until nothing is left; returns the arms that failed."""
    screen, config, _ = worker
    failed = []
    jobs = screen.jobs(config)
    for job, outcome in work(lambda: jobs, lambda: all(job.is_done() for job in jobs)):
        if isinstance(outcome, UserError):
            failed.append(job.label)
        told = f"{job.label} failed: {outcome}" if isinstance(outcome, UserError) else outcome_line(outcome)
        print(told, file=sys.stderr, flush=True)
    return failed


def outcome_line(record: ArmRecord) -> str:
    """What came of an arm, in a line."""
    sight = "" if record.sight is None else f", sight {record.sight:.2f}"
    return f"{record.success['k']:.0f}/{record.success['n']:.0f}{sight}  {record.arm}"


SCREEN = Screen()
