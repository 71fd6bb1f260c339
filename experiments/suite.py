"""``smidgen-suite [status] suite=their.module:NAME [key=value ...]``: a grid of jobs, each run once.

``suite`` names an object that implements :class:`SuiteOfJobs`; its module is searched in the working directory as well,
so the repository's own studies are ``suite=studies.claims:ROUND_TWO`` and the like. It can be killed at any time: the
same command resumes. ``status`` lists finished jobs.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from smidgen.runtime.command_line import command_help, compose_config, run_command, wants_help
from smidgen.runtime.errors import UserError
from smidgen.runtime.settings import PathText
from smidgen.runtime.user_modules import is_class_spec, load_object

USAGE = "smidgen-suite [status] suite=MODULE:NAME [key=value ...]"
SUMMARY = """
Runs the unfinished jobs of a suite and writes each job's record as it finishes. After an interruption, run the same
command again to resume. `status` lists finished jobs.
In a checkout of the repository: suite=studies.claims:ROUND_TWO, suite=studies.recipe:SCREEN.
"""


@dataclass(frozen=True)
class SuiteConfig:
    """Which suite to run, in which form, and where."""

    suite: str = field(metadata={"help": "MODULE:NAME of the suite; the module is importable or in this directory"})
    form: str = field(default="full", metadata={"help": "full, or a smaller form defined by the suite"})
    out: PathText | None = field(default=None, metadata={"help": "folder of plan and records; null: suite's default"})
    scratch: PathText = field(default="outputs/claims", metadata={"help": "folder of unfinished runs"})
    workers: int = field(default=2, metadata={"help": "worker processes, one core each; 0: in this process"})
    arms: tuple[str, ...] = field(default=(), metadata={"help": "only these arms, e.g. [raw,dft1d]; empty: all"})

    def __post_init__(self) -> None:
        object.__setattr__(self, "arms", tuple(dict.fromkeys(self.arms)))
        if self.workers < 0:
            raise UserError(f"expected workers of at least 0, got {self.workers}")


@runtime_checkable
class SuiteOfJobs(Protocol):
    """A suite of jobs with their records."""

    def run(self, config: SuiteConfig) -> str:
        """Runs unfinished jobs; returns the closing message."""

    def status(self, config: SuiteConfig) -> str:
        """Which jobs are finished and which are not."""


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
        print(command_help(USAGE, SUMMARY.strip(), SuiteConfig))
        return
    asks_status = bool(arguments) and arguments[0] == "status"
    config = compose_config(SuiteConfig, arguments[1:] if asks_status else arguments)
    named = load_suite(config)
    print(named.status(config) if asks_status else named.run(config))


def main() -> int:
    """Entry point."""
    return run_command(suite)


if __name__ == "__main__":
    sys.exit(main())
