"""``smidgen-suite [status] suite=their.module:NAME [key=value ...]``: a grid of jobs, each run once.

``suite`` names an object that speaks :class:`SuiteOfJobs`; its module is looked for in the working directory as well,
so the repository's own studies are ``suite=studies.claims:ROUND_TWO`` and the like. Kill it whenever you like: the same
command goes on where it was. ``status`` lists what is done.
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
Runs the jobs of a suite that are not done yet, and writes each job's record as it finishes. Run the same command
again after an interruption: it resumes where it stopped. `status` lists what is done.
In a checkout of the repository: suite=studies.claims:ROUND_TWO, suite=studies.first_round:ROUND_ONE.
"""


@dataclass(frozen=True)
class SuiteConfig:
    """Which suite, in which form, and where."""

    suite: str = field(metadata={"help": "which suite: MODULE:NAME, the module importable or in this directory"})
    form: str = field(default="full", metadata={"help": "full, or a smaller form that the suite knows"})
    out: PathText | None = field(default=None, metadata={"help": "folder of plan and records; null: the suite's own"})
    scratch: PathText = field(default="outputs/claims", metadata={"help": "folder of unfinished runs"})
    workers: int = field(default=2, metadata={"help": "worker processes, one core each; 0: in this process"})
    arms: tuple[str, ...] = field(default=(), metadata={"help": "only these arms, e.g. [raw,dft1d]; empty: all"})

    def __post_init__(self) -> None:
        object.__setattr__(self, "arms", tuple(dict.fromkeys(self.arms)))
        if self.workers < 0:
            raise UserError(f"expected workers of at least 0, got {self.workers}")


@runtime_checkable
class SuiteOfJobs(Protocol):
    """A suite; it knows its own jobs and records."""

    def run(self, config: SuiteConfig) -> str:
        """Runs what is not there yet; gives what to say at the end."""

    def status(self, config: SuiteConfig) -> str:
        """What is done and what is not."""


def load_suite(config: SuiteConfig) -> SuiteOfJobs:
    """The suite that a module holds.

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
    """The command."""
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
