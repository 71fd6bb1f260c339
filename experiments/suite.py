"""``smidgen-suite suite=claims [form=full|smoke] [key=value ...]``, and ``smidgen-suite status ...`` for what is done.

``suite=their.module:NAME`` runs a suite of the user's, an object that speaks :class:`SuiteOfJobs`; the module is looked
for in the working directory as well.

Runs every arm that the claims C1 to C7 and the hypotheses H1 to H11 need, and writes one record per arm, from which
``smidgen-leaderboard --claims`` computes the verdicts. Kill it whenever you like: the same command goes on where it
was. A small CPU variant: ``form=smoke``, half a minute.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from smidgen.evaluation.claims.plan import Plan
from smidgen.evaluation.claims.records import ARMS_FOLDER, ArmRecord
from smidgen.experiments.claims.jobs import ArmJob, run_job
from smidgen.experiments.claims.plan import FORMS, Form, build_form
from smidgen.experiments.claims.plan_file import settle_plan
from smidgen.experiments.claims.schedule import expected_cost
from smidgen.runtime.command_line import command_help, compose_config, run_command, wants_help
from smidgen.runtime.errors import UserError, unknown_name
from smidgen.runtime.files import directory_lock, read_json, remove_leftovers
from smidgen.runtime.places import require_outside
from smidgen.runtime.progress import progress
from smidgen.runtime.settings import PathText
from smidgen.runtime.user_modules import is_class_spec, load_object
from smidgen.runtime.workers import map_unordered

SUITES: dict[str, Callable[[str], Form]] = {"claims": build_form}
DEFAULT_OUT = {"full": "results/claims", "smoke": "outputs/claims/smoke"}

USAGE = "smidgen-suite [status] suite=claims [form=full|smoke] [key=value ...]"
SUMMARY = """
Tunes and runs every arm of a suite, one core per worker, and writes OUT/plan.json before the first run and
OUT/arms/NAME.json as each arm finishes. Run the same command again after an interruption: it goes on where it was.
`status` lists what is done. Then: smidgen-leaderboard --claims
"""


@dataclass(frozen=True)
class SuiteConfig:
    """Which suite, in which form, and where."""

    suite: str = field(metadata={"help": f"which suite: {', '.join(SUITES)}, or their.module:NAME"})
    form: str = field(default="full", metadata={"help": "full (hours), or smoke (half a minute, means nothing)"})
    out: PathText | None = field(
        default=None,
        metadata={"help": "folder of plan and records; null: results/claims (smoke: outputs/claims/smoke)"},
    )
    scratch: PathText = field(default="outputs/claims", metadata={"help": "folder of unfinished runs"})
    workers: int = field(default=2, metadata={"help": "worker processes, one core each; 0: in this process"})
    arms: tuple[str, ...] = field(default=(), metadata={"help": "only these arms, e.g. [raw,dft1d]; empty: all"})

    def __post_init__(self) -> None:
        object.__setattr__(self, "arms", tuple(dict.fromkeys(self.arms)))
        if self.workers < 0:
            raise UserError(f"expected workers of at least 0, got {self.workers}")

    @property
    def folder(self) -> Path:
        """Folder of plan and records."""
        return Path(self.out or DEFAULT_OUT.get(self.form, DEFAULT_OUT["full"]))


@runtime_checkable
class SuiteOfJobs(Protocol):
    """A suite that is named by its module; it knows its own jobs and records."""

    def run(self, config: SuiteConfig) -> str:
        """Runs what is not there yet; gives what to say at the end."""

    def status(self, config: SuiteConfig) -> str:
        """What is done and what is not."""


def load_suite(config: SuiteConfig) -> SuiteOfJobs | None:
    """The suite that a module holds; None for one of ``SUITES``.

    Raises:
        UserError: If there is no such module or name, or it is not a suite.
    """
    if not is_class_spec(config.suite):
        return None
    found = load_object(config.suite, "suite")
    if not isinstance(found, SuiteOfJobs):
        raise UserError(f"suite {config.suite!r}: expected an object with run and status, got {type(found).__name__}")
    return found


def load_form(config: SuiteConfig) -> Form:
    """The suite in its form.

    Raises:
        UserError: If either name is unknown.
    """
    if config.suite not in SUITES:
        raise unknown_name("suite", config.suite, SUITES)
    form = SUITES[config.suite](config.form)
    for name in config.arms:
        if name not in form.arms:
            raise unknown_name("arm", name, form.arms)
    return form


def jobs_of(form: Form, plan: Plan, config: SuiteConfig) -> list[ArmJob]:
    """The arms' jobs under a plan, the cheapest first, so that short sequences are known before long ones begin."""
    names = config.arms or tuple(form.arms)
    rivals = form.rivals
    jobs = [
        ArmJob(
            name=name,
            arm=form.arms[name],
            plan=plan,
            out=config.folder,
            scratch=Path(config.scratch),
            rival=rivals.get(name, ""),
            rival_arm=form.arms[rivals[name]] if name in rivals else None,
        )
        for name in names
    ]
    return sorted(jobs, key=lambda job: (expected_cost(job.arm), job.name))


def run_suite(config: SuiteConfig) -> None:
    """Runs what is not there yet.

    Raises:
        UserError: If the folder holds another plan's records, or another command is at work there.
    """
    require_outside(config.folder)
    require_outside(config.scratch, "scratch")
    form = load_form(config)
    with _locked(Path(config.scratch), config.folder):
        plan = settle_plan(form.plan, config.folder)
        jobs = jobs_of(form, plan, config)
        waiting = [job for job in jobs if not job.record_path.exists()]
        print(f"{len(jobs) - len(waiting)} of {len(jobs)} arms done; records in {config.folder}", file=sys.stderr)
        started = time.monotonic()
        with progress(len(jobs), "arms", len(jobs) - len(waiting)) as advance:
            for job, record in map_unordered(run_job, waiting, config.workers):
                advance(1, f"({time.monotonic() - started:.0f} s) {outcome_line(job.name, record)}")


@contextlib.contextmanager
def _locked(*folders: Path) -> Iterator[None]:
    """Holds every folder that a suite writes to, so that no arm runs twice; without what the dead left half-written."""
    with contextlib.ExitStack() as stack:
        for folder in {folder.resolve(): folder for folder in folders}.values():
            stack.enter_context(directory_lock(folder))
        for folder in folders:
            for place in (folder, folder / ARMS_FOLDER):
                stack.callback(remove_leftovers, place)
                remove_leftovers(place)
        yield


def outcome_line(name: str, record: ArmRecord) -> str:
    """What came of an arm, in a line."""
    escapes = sorted(run.escape_step for run in record.seeds if run.escape_step is not None)
    median = f", half of them by step {escapes[len(escapes) // 2]}" if escapes else ""
    return f"{name}: {len(escapes)} of {len(record.seeds)} escaped{median} (learning rate {record.lr:g})"


def status(config: SuiteConfig) -> str:
    """What is done and what is not, arm by arm.

    Raises:
        UserError: If a record cannot be read.
    """
    form = load_form(config)
    lines, num_done = [], 0
    for job in jobs_of(form, form.plan, config):
        if job.record_path.exists():
            num_done += 1
            record = ArmRecord.from_json(read_json(job.record_path), str(job.record_path))
            lines.append(f"  done     {outcome_line(job.name, record)}")
        else:
            lines.append(f"  {'begun   ' if job.folder.exists() else 'waiting '} {job.name}")
    return "\n".join([f"{num_done} of {len(lines)} arms done in {config.folder}", *lines])


def suite(arguments: list[str]) -> None:
    """The command."""
    if wants_help(arguments):
        print(command_help(USAGE, f"{SUMMARY.strip()}\nForms: {', '.join(FORMS)}.", SuiteConfig))
        return
    asks_status = bool(arguments) and arguments[0] == "status"
    config = compose_config(SuiteConfig, arguments[1:] if asks_status else arguments)
    named = load_suite(config)
    if asks_status:
        print(status(config) if named is None else named.status(config))
        return
    if named is not None:
        print(named.run(config))
        return
    run_suite(config)
    print(f"records: {config.folder}; verdicts: smidgen-leaderboard --claims")


def main() -> int:
    """Entry point."""
    return run_command(suite)


if __name__ == "__main__":
    sys.exit(main())
