"""``smidgen-suite [plan|status|watch] suite=their.module:NAME [key=value ...]``: a grid of jobs, each run once.

``suite`` names an object that implements :class:`SuiteOfJobs`; its module is searched in the working directory as well,
so the repository's own studies are ``suite=studies.claims:ROUND_TWO`` and the like. It can be killed at any time: the
same command resumes. ``status`` lists finished jobs, ``plan`` what the others will cost, ``watch`` shows who runs what.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from smidgen.experiments.snapshot import Snapshot
from smidgen.runtime.command_line import HELP_ALL, command_help, compose_config, run_command, wants_help
from smidgen.runtime.engine import EngineSettings
from smidgen.runtime.errors import UserError
from smidgen.runtime.settings import PathText
from smidgen.runtime.user_modules import is_class_spec, load_object

USAGE = "smidgen-suite [plan|status|watch] suite=MODULE:NAME [key=value ...]"
SUMMARY = """
Runs the unfinished jobs of a suite and writes each job's record as it finishes. After an interruption, run the same
command again to resume. `status` lists finished jobs, `plan` says what the others will cost, `watch` shows what runs
where, and how long the rest will take, on any machine that shares the folders.
Suites: smidgen.experiments.leaderboard:CPU_STANDARD; in a checkout of the repository also studies.claims:ROUND_TWO and
studies.recipe:SCREEN.
"""
PLAN, WATCH = "plan", "watch"
VERBS = (PLAN, "status", WATCH)


@dataclass(frozen=True)
class SuiteConfig(EngineSettings):
    """Which suite to run, in which form, and where."""

    suite: str = field(metadata={"help": "MODULE:NAME of the suite; the module is importable or in this directory"})
    form: str = field(default="full", metadata={"help": "full, or a smaller form defined by the suite"})
    out: PathText | None = field(default=None, metadata={"help": "folder of plan and records; null: suite's default"})
    scratch: PathText = field(default="outputs/claims", metadata={"help": "folder of unfinished runs"})
    workers: int = field(default=2, metadata={"help": "worker processes, one core each; 0: in this process"})
    arms: tuple[str, ...] = field(
        default=(), metadata={"help": "only these arms, or rows as [lift/raw,lift/cnn]; empty: all"}
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "arms", tuple(dict.fromkeys(self.arms)))
        self.check_engine()
        if self.workers < 0:
            raise UserError(f"expected workers of at least 0, got {self.workers}")


@runtime_checkable
class SuiteOfJobs(Protocol):
    """A suite of jobs with their records."""

    def run(self, config: SuiteConfig) -> str:
        """Runs unfinished jobs; returns the closing message."""

    def status(self, config: SuiteConfig) -> str:
        """Which jobs are finished and which are not."""


@runtime_checkable
class PlannedSuite(SuiteOfJobs, Protocol):
    """A suite that knows what its unfinished jobs will cost."""

    def plan(self, config: SuiteConfig) -> str:
        """What is done, what is left, and what that will cost."""


@runtime_checkable
class WatchedSuite(SuiteOfJobs, Protocol):
    """A suite that can say how far it is while other processes run it."""

    def snapshot(self, config: SuiteConfig) -> Snapshot:
        """What is done, what runs where, what failed and what is left."""


def load_suite(config: SuiteConfig) -> SuiteOfJobs:
    """Loads a suite from its module.

    Raises:
        UserError: If there is no such module or name, or it is not a suite.
    """
    if not is_class_spec(config.suite):
        raise UserError(f"expected suite=MODULE:NAME, such as studies.claims:ROUND_TWO, got suite={config.suite}")
    found = load_object(config.suite, "suite")
    if not isinstance(found, SuiteOfJobs):
        raise UserError(f"suite {config.suite!r}: expected an object with run and status, got {type(found).__name__}")
    return found


def suite(arguments: list[str]) -> None:
    """Runs the command."""
    if wants_help(arguments):
        print(command_help(USAGE, SUMMARY.strip(), SuiteConfig, everything=HELP_ALL in arguments))
        return
    verb = arguments[0] if arguments and arguments[0] in VERBS else ""
    named_rows = ["arms" + each.removeprefix("rows") if each.startswith("rows=") else each for each in arguments]
    config = compose_config(SuiteConfig, named_rows[1:] if verb else named_rows)
    named = load_suite(config)
    if verb == PLAN and not isinstance(named, PlannedSuite):
        raise UserError(f"suite {config.suite!r} has no planner; smidgen-suite status lists its jobs")
    if verb == WATCH and not isinstance(named, WatchedSuite):
        raise UserError(f"suite {config.suite!r} cannot be watched; smidgen-suite status lists its jobs")
    if isinstance(named, WatchedSuite) and verb in ("", WATCH):
        print(_watched(named, config, verb))
    else:
        print(getattr(named, verb or "run")(config))


def _watched(named: WatchedSuite, config: SuiteConfig, verb: str) -> str:
    """Shows the suite's table, and runs it unless it is only watched; returns the closing message."""
    from smidgen.experiments.live_table import log_path, shown_while_running, watch

    def look() -> Snapshot:
        return named.snapshot(config)

    if verb == WATCH:
        return watch(look)
    with shown_while_running(look, log_path(Path(config.scratch))):
        return named.run(config)


def main() -> int:
    """Entry point."""
    return run_command(suite)


if __name__ == "__main__":
    sys.exit(main())
