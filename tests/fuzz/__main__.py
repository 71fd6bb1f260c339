"""python -m tests.fuzz [form=long|short] [readers=[manifest,frames]] [record=PATH]

Reads hostile input with every reader of outside files, each input under watch. ``form=long``: 10,000 inputs for each
reader, about an hour of one CPU core; ``form=short``: 100 each, a minute. Killed, it goes on where it was. Writes per
reader how many inputs were refused and how many accepted, the slowest, and the memory that they took; exits with 1 and
the input's number where one did anything else.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

from smidgen.runtime.command_line import command_help, compose_config, run_command, wants_help
from smidgen.runtime.errors import unknown_name
from smidgen.runtime.files import directory_lock, read_json, write_json_atomic
from smidgen.runtime.settings import PathText
from studies.bench.record import machine
from studies.reliability.tally import Tally, read_tally
from tests.fuzz.campaign import run_reader, tally_path
from tests.fuzz.registry import READERS

FORMS = {"long": 10_000, "short": 100}
USAGE = "python -m tests.fuzz [form=long|short] [key=value ...]"
SUMMARY = f"""
Reads hostile input with every reader of outside files and records that each was read or refused with a message,
wrote nothing elsewhere, ran nothing, and took neither time nor memory. Readers: {", ".join(READERS)}.
"""


@dataclass(frozen=True)
class FuzzConfig:
    """How much to try, and where the figures go."""

    form: str = field(default="short", metadata={"help": "long (10,000 inputs for each reader) or short (100)"})
    readers: tuple[str, ...] = field(default=(), metadata={"help": "only these; empty: all"})
    scratch: PathText = field(default="outputs/fuzz", metadata={"help": "folder of what is done so far"})
    record: PathText | None = field(default=None, metadata={"help": "JSON file of the figures; null: none"})
    only_report: bool = field(default=False, metadata={"help": "read nothing; write the record of what is done so far"})

    def __post_init__(self) -> None:
        object.__setattr__(self, "readers", tuple(self.readers) or tuple(READERS))
        if self.form not in FORMS:
            raise unknown_name("form", self.form, FORMS)
        for name in self.readers:
            if name not in READERS:
                raise unknown_name("reader", name, READERS)


def fuzz(config: FuzzConfig) -> dict[str, Tally]:
    """Runs what is left to run.

    Raises:
        UserError: If another process is at the same reader, or a tally on disk is damaged.
    """
    done = {}
    for name in config.readers:
        path = tally_path(Path(config.scratch, config.form), name)
        if config.only_report:
            done[name] = read_tally(path)
        else:
            with directory_lock(path.parent):
                done[name] = run_reader(name, READERS[name], FORMS[config.form], path)
        print(done[name].line(name), flush=True)
    return done


def write_record(config: FuzzConfig, done: dict[str, Tally]) -> None:
    """Writes the record; readers that were not asked keep what an earlier record of the same form says of them."""
    tallies = {name: tally.to_json() for name, tally in done.items()}
    path = Path(config.record)
    if path.exists() and (before := read_json(path))["form"] == config.form:
        tallies = {name: tallies.get(name, before["readers"].get(name)) for name in READERS}
        tallies = {name: tally for name, tally in tallies.items() if tally is not None}
    is_complete = all(tally["inputs"] >= FORMS[config.form] for tally in tallies.values())
    found = {"form": config.form, "complete": is_complete, "machine": machine(), "readers": tallies}
    write_json_atomic(path, found)


def _body(arguments: list[str]) -> None:
    if wants_help(arguments):
        print(command_help(USAGE, SUMMARY, FuzzConfig))
        return
    config = compose_config(FuzzConfig, arguments)
    done = fuzz(config)
    if config.record:
        write_record(config, done)
    faults = [f"{name}: input {index}: {fault}" for name, tally in done.items() for index, fault in tally.faults]
    if faults:
        raise RuntimeError("\n".join(["a reader neither read nor refused:", *faults]))


def main(argv: list[str] | None = None) -> int:
    """The command."""
    return run_command(_body, argv)


if __name__ == "__main__":
    sys.exit(main())
