"""``make bench``, or ``python -m studies.bench [name=train_step] [key=value ...]``.

Measures speed and memory against what a user would run instead, on this machine, in turn. Writes OUT/<name>.json and
prints one table. A small variant: ``name=train_step repeats=1 image_size=16 batch_size=2``, half a minute.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from smidgen.runtime.command_line import command_help, compose_config, run_command, wants_help
from smidgen.runtime.errors import unknown_name
from studies.bench.benchmarks import BENCHMARKS
from studies.bench.config import ALL, BenchConfig
from studies.bench.record import Measurement, machine, write_measurements
from studies.bench.tables import print_table, update_page

USAGE = "python -m studies.bench [name=NAME] [key=value ...]"
SUMMARY = f"""
Measures speed and memory against what a user would run instead, in turn on this machine; prints one
table of ratios and writes OUT/NAME.json. Names: {", ".join(BENCHMARKS)}.
"""


def run_benchmarks(config: BenchConfig) -> list[Measurement]:
    """Runs one benchmark or all, and writes each record as soon as it is complete.

    Raises:
        UserError: If there is no benchmark with that name.
    """
    names = list(BENCHMARKS) if config.name == ALL else [config.name]
    for name in names:
        if name not in BENCHMARKS:
            raise unknown_name("benchmark", name, [*BENCHMARKS, ALL])
    print(f"measuring on {machine()}", file=sys.stderr)
    _warn_of_a_busy_machine()
    rows: list[Measurement] = []
    for name in names:
        started = time.monotonic()
        measured = BENCHMARKS[name](config)
        write_measurements(Path(config.out) / f"{name}.json", measured)
        print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
        rows += measured
    return rows


def _warn_of_a_busy_machine() -> None:
    load, cores = os.getloadavg()[0], len(os.sched_getaffinity(0))
    if load > cores / 2:
        print(
            f"warning: load {load:.1f} on {cores} cores: other processes are at work, and times, most of all those on "
            "several threads, can be several times too long for both sides; measure again on an idle machine, "
            "or with OMP_WAIT_POLICY=passive",
            file=sys.stderr,
        )


def bench(arguments: list[str]) -> None:
    """The command."""
    if wants_help(arguments):
        print(command_help(USAGE, SUMMARY, BenchConfig))
        return
    config = compose_config(BenchConfig, arguments)
    print_table(run_benchmarks(config))
    if config.page is not None:
        update_page(Path(config.page), Path(config.out))
    print(f"records: {config.out}")


def main() -> int:
    """Entry point."""
    return run_command(bench)


if __name__ == "__main__":
    sys.exit(main())
