"""The first round as a suite: ``smidgen-suite [status] suite=studies.first_round:ROUND_ONE [form=smoke]``.

Tunes and runs every arm that the claims C1 to C7 and the hypotheses H1 to H11 need, one core per worker, and writes
``OUT/plan.json`` before the first run and ``OUT/arms/NAME.json`` as each arm finishes; from these
``python -m studies.first_round`` computes the verdicts. A small CPU variant: ``form=smoke``, half a minute.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from smidgen.experiments.suite import SuiteConfig
from smidgen.runtime.errors import unknown_name
from smidgen.runtime.files import directory_lock, read_json, remove_leftovers
from smidgen.runtime.places import require_outside
from smidgen.runtime.progress import progress
from smidgen.runtime.workers import map_unordered
from studies.first_round.forms import Form, build_form
from studies.first_round.jobs import ArmJob, run_job
from studies.first_round.plan import Plan
from studies.first_round.plan_file import settle_plan
from studies.first_round.records import ARMS_FOLDER, ArmRecord
from studies.first_round.schedule import expected_cost

DEFAULT_OUT = {"full": "results/claims", "smoke": "outputs/claims/smoke"}
VERDICTS_COMMAND = "python -m studies.first_round"


class RoundOne:
    """What ``smidgen-suite`` calls."""

    def run(self, config: SuiteConfig) -> str:
        """Runs what is not there yet.

        Returns:
            What to say at the end.
        """
        run_suite(config)
        return f"records: {records_folder(config)}; verdicts: {VERDICTS_COMMAND}"

    def status(self, config: SuiteConfig) -> str:
        """What is done and what is not, arm by arm."""
        return status(config)


def records_folder(config: SuiteConfig) -> Path:
    """Folder of plan and records."""
    return Path(config.out or DEFAULT_OUT.get(config.form, DEFAULT_OUT["full"]))


def load_form(config: SuiteConfig) -> Form:
    """The suite in its form.

    Raises:
        UserError: If the form or an arm is unknown.
    """
    form = build_form(config.form)
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
            out=records_folder(config),
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
    require_outside(records_folder(config))
    require_outside(config.scratch, "scratch")
    form = load_form(config)
    with _locked(Path(config.scratch), records_folder(config)):
        plan = settle_plan(form.plan, records_folder(config))
        jobs = jobs_of(form, plan, config)
        waiting = [job for job in jobs if not job.record_path.exists()]
        num_done = len(jobs) - len(waiting)
        print(f"{num_done} of {len(jobs)} arms done; records in {records_folder(config)}", file=sys.stderr)
        started = time.monotonic()
        with progress(len(jobs), "arms", num_done) as advance:
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
    return "\n".join([f"{num_done} of {len(lines)} arms done in {records_folder(config)}", *lines])


ROUND_ONE = RoundOne()
