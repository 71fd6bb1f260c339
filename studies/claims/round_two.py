"""The second round as a suite: ``smidgen-suite [status] suite=studies.claims:ROUND_TWO [key=value ...]``."""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from smidgen.experiments.costs import COSTS_FILE, core_hours, nearest_cost, read_costs
from smidgen.experiments.snapshot import Snapshot, UnfinishedJob, take_snapshot, unfinished_jobs, wall_s
from smidgen.experiments.suite import SuiteConfig
from smidgen.runtime.engine import map_on_engine
from smidgen.runtime.errors import unknown_name
from studies.claims import cells, jobs, step_costs
from studies.claims.arms import Arm, ArmBook
from studies.claims.contrasts import Contrast
from studies.claims.jobs import Place
from studies.claims.plan import PLAN_FILE, StudyPlan, ordered_steps, settle_plan
from studies.claims.records import TUNING, BlockRecord, read_records

FOLDER = Path("results/claims/round-2")
# Claims whose primary contrast takes ten seeds: what C7's rule would choose needs every pair of arms.
AT_TEN_SEEDS = ("C7",)
# In the order in which the claims' primary contrasts are run: what is cheap to decide first.
BUILDERS = (cells.c6, cells.c3, cells.c1, cells.c2, cells.c4_c5, cells.c7, cells.forecasts, cells.new_hypotheses)
# What was known when the round was planned, and what was decided for which reason; they stand in the plan.
NOTES: tuple[str, ...] = (
    "Seeds are new: nothing was planned in sight of 200 to 229 or 310 to 313. The first round ran 0 to 9, 100 and 101; "
    "pilots of this one, not kept, ran one or two runs on 300 and 301 to find settings in which something escapes.",
    "C1: its primary contrast takes the claim's cause, few changed tokens, at equal energy. In the pilot 64 small "
    "changes were escaped no sooner than one large one, so that a failure was expected. Length and latents are shown "
    "beside it.",
    "C2: in the pilot beta1 = 0.9 escaped on one token on the leaderboard's network too, after its warm-up of 2,000 "
    "steps, so that cell does not test the claim. On robot pictures with aliased positions it stayed at the mean, with "
    "uniform attention, at every rate tried: the primary contrast stands there, on the small network, where both "
    "values of beta1 can be searched and run on 30 seeds. The leaderboard's network is shown beside it, with fewer "
    "values and with the rates of one token for the pictures, because a run costs ten times as much. Runs with a "
    "warm-up of 20 take the rate of those with 2,000. Areas lie between the warm-up's 2,000 and 6,000 steps, so that "
    "their log ratio varies little: the ratio of 1.5 "
    "applies although the tokens are not centred.",
    "C3: the primary cell is centred, where 30 seeds can tell 1.25 from 1; without centring the seeds differ too much.",
    "C4: without standardisation the pilot saw no gain of the DFT at 256 tokens that could be lost with length. The "
    "primary contrast therefore asks at 12,288 tokens whether standardisation makes the gain; the change of the plain "
    "gain with length is shown beside it.",
    "C5: read literally, a gain that does not depend on the length: an effect that must be absent. A gain that grows "
    "fails it as well, and the verdict says which.",
    "C6: the first round saw the effect with dft3d and not with dft1d; this is its repetition on new seeds.",
    "C7: compared with always taking the DFT, because in the first round the rule took nothing else; where it never "
    "chooses, the ratio is 1 by construction. Its choices need no training and were computed with the plan "
    "(choices.json). Ten seeds, one look.",
    "At 49,152 tokens raw arms have positions per axis alone, and 2,000 steps: 1-D positions cost ten times as much.",
    "Noisy examples come from pools of 256 with 64 held out, where the first round had 1,024: the searches and areas "
    "of this round need more of them.",
    "The forecast of the escape was made on the first round's runs. Its choices on this round's pairs were added, with "
    "their regrets, when the first searches for a rate had run and no run that counts.",
)


@functools.cache
def build_plan() -> StudyPlan:
    """The plan of this version."""
    book = ArmBook()
    contrasts: dict[str, Contrast] = {}
    for build in BUILDERS:
        contrasts |= build(book)
    urgent = [each for each in contrasts.values() if each.claim]
    primary = list(dict.fromkeys(arm for each in urgent if each.claim not in AT_TEN_SEEDS for arm in each.arms))
    regret = list(dict.fromkeys(arm for each in urgent if each.claim in AT_TEN_SEEDS for arm in each.arms))
    for name in primary:
        book.arms[name] = run_to_the_horizon(book.arms[name])
    measured = FOLDER / step_costs.FILE
    costs = step_costs.at_most_core_hours(book.arms, ordered_steps(list(book.arms), [], book.arms), measured)
    # The dearest last, so that as much as can be is known when the budget ends.
    others = sorted(book.arms, key=lambda name: costs.get(name, 0.0))
    secondary = [arm for arm in dict.fromkeys([*regret, *others]) if arm not in primary]
    order = ordered_steps(primary, secondary, book.arms)
    costs = step_costs.at_most_core_hours(book.arms, order, measured)
    return StudyPlan(
        claims=cells.CLAIMS, contrasts=contrasts, arms=book.arms, order=order, notes=NOTES, at_most_core_hours=costs
    )


def run_to_the_horizon(arm: Arm) -> Arm:
    """An arm none of whose runs ends early."""
    return dataclasses.replace(arm, training=dataclasses.replace(arm.training, settle_steps=0))


@dataclass(frozen=True)
class Round:
    """A plan as a suite, which is what ``smidgen-suite`` calls.

    Attributes:
        build: Makes the plan; a module's function, so that worker processes find it.
        folder: Of the records.
        plan_path: Of the plan.
        suite: Name of its costs, and of its folder of unfinished runs.
        report: Command that shows what came of it.
        wait_s: How long a worker waits before it looks again, while others hold all open jobs.
    """

    build: Callable[[], StudyPlan]
    folder: Path
    plan_path: Path
    suite: str
    report: str = "python -m studies.claims"
    wait_s: float = 15.0

    def place(self, config: SuiteConfig) -> Place:
        """Where records, unfinished runs and costs go; only records in the repository's folder enter its costs."""
        folder = Path(config.out) if config.out else self.folder
        costs = COSTS_FILE if folder == self.folder else folder / COSTS_FILE.name
        return Place(folder, Path(config.scratch) / self.suite, costs, self.suite)

    def run(self, config: SuiteConfig) -> str:
        """Runs unfinished jobs in ``workers`` processes (0: in this one); any number of commands may share the work.

        Returns:
            The closing message.
        """
        plan, place = self.build(), self.place(config)
        self._wanted(config)
        settle_plan(plan, place.folder, None if config.out else self.plan_path)
        for _ in map_on_engine(config, self._work, [config] * max(1, config.workers), config.workers):
            pass
        return f"records: {place.folder}; decisions: {self.report}"

    def status(self, config: SuiteConfig) -> str:
        """What is done and what is not, arm by arm."""
        plan, place = self.build(), self.place(config)
        records = read_records(place.folder, plan.arms)
        lines, num_done = [], 0
        for name in config.arms or dict.fromkeys(step.arm for step in plan.order):
            wanted = [step.block for step in plan.order if step.arm == name and step.block != TUNING]
            done = [block for block in wanted if block in {each.block for each in records.blocks.get(name, ())}]
            searched = ", ".join(f"{lr:g}" for lr in sorted(records.tuning(name)))
            rate = jobs.chosen_rate(name, plan, records)
            state = f"rate {rate:g}" if rate is not None else f"searching, {searched or 'not'} begun"
            num_done += len(done) == len(wanted)
            lines.append(f"  {len(done)}/{len(wanted)} blocks  {name}: {state}")
        spent = core_hours(place.costs, place.suite)
        head = f"{num_done} of {len(lines)} arms done in {place.folder}, {spent:.1f} core-hours so far"
        return "\n".join([head, *lines])

    def snapshot(self, config: SuiteConfig) -> Snapshot:
        """How far the round is; of a search, which may yet grow, the rates that are known to be needed."""
        plan, place = self._wanted(config), self.place(config)
        records = read_records(place.folder, plan.arms)
        expect = functools.partial(nearest_cost, known=read_costs(place.costs, place.suite))
        unfinished = unfinished_jobs(jobs.open_jobs(plan, place), expect)
        open_steps = {job.label.rpartition("-")[0] for job in unfinished}
        for step in plan.order:
            label = f"{step.arm}/{step.block}"
            done = {record.block for record in records.blocks.get(step.arm, ())}
            if step.block not in done and label not in open_steps:
                unfinished.append(UnfinishedJob(label, None, wall_s(expect(label))))
        num_done = sum(len(records.blocks.get(name, ())) for name in {step.arm for step in plan.order})
        return take_snapshot(place.suite, num_done, unfinished, config.workers)

    def _wanted(self, config: SuiteConfig) -> StudyPlan:
        """The plan, or what is needed for some of its arms.

        Raises:
            UserError: If there is no such arm.
        """
        plan = self.build()
        if not config.arms:
            return plan
        for name in config.arms:
            if name not in plan.arms:
                raise unknown_name("arm", name, plan.arms)
        kept = {*config.arms, *(plan.arms[name].rate_of for name in config.arms)}
        return dataclasses.replace(plan, order=tuple(step for step in plan.order if step.arm in kept))

    def _work(self, config: SuiteConfig) -> None:
        plan, place = self._wanted(config), self.place(config)
        for label, record in jobs.run_plan(plan, place, self.wait_s):
            print(outcome_line(label, record), file=sys.stderr, flush=True)


def outcome_line(label: str, record: BlockRecord) -> str:
    """What came of a job, in a line."""
    escapes = sorted(run.escape_step for run in record.runs if run.escape_step is not None)
    where = f", at {', '.join(map(str, escapes))}" if escapes else ""
    return f"{label}: {len(escapes)} of {len(record.runs)} escaped{where}"


ROUND_TWO = Round(build_plan, FOLDER, FOLDER / PLAN_FILE, jobs.SUITE)
