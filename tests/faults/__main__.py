"""python -m tests.faults form=short|long|thousand [engine=local|ray] [key=value ...]

Kills and stops the real commands at random moments, starts them again until they are done, and compares every file
with an undisturbed run's. ``form=short`` (two kills and a hang of each: a few minutes) writes its record beside its
scratch files; ``form=long`` (104 kills, 4 hangs: under half an hour of one core) writes results/reliability/kills.json.
``form=thousand`` kills 600 times, and with ``engine=ray`` 400 times (hours). ``engine=ray`` needs an interpreter that
has Ray, such as ``build/interop/ray/bin/python``; its workers are actors, and its record is kills-ray.json. Killed
itself, it goes on where it was. Ends with a line per command.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from smidgen.runtime.command_line import command_help, compose_config, run_command, wants_help
from smidgen.runtime.engine import ENGINES, LOCAL
from smidgen.runtime.errors import unknown_name
from smidgen.runtime.files import directory_lock, write_json_atomic
from smidgen.runtime.settings import PathText
from studies.reliability.kills import FaultsRecord, record_json
from tests.faults.campaign import Campaign, Progress
from tests.faults.commands import input_arguments, smidgen_commands
from tests.faults.counts import faults_record
from tests.faults.process import Process

USAGE = "python -m tests.faults [form=short|long] [key=value ...]"
SUMMARY = """
Kills collect, train, evaluate and suite runs, or their workers, at random moments, makes workers hang, and requires
the bytes of an undisturbed run in the end. Takes itself up again where it was stopped.
"""


@dataclass(frozen=True)
class Size:
    """How much of it: kills by command, and hangs of each command that replaces a worker that hangs."""

    kills: dict[str, int]
    stops: int


# More where a start costs less.
FORMS = {
    "short": Size(kills={"collect": 2, "train": 2, "evaluate": 2, "suite": 2}, stops=1),
    "long": Size(kills={"collect": 22, "train": 32, "evaluate": 18, "suite": 32}, stops=2),
    "thousand": Size(kills={"collect": 140, "train": 200, "evaluate": 120, "suite": 140}, stops=8),
}


@dataclass(frozen=True)
class FaultsConfig:
    """What to do to the commands, and where."""

    form: str = field(default="short", metadata={"help": f"how much: {', '.join(FORMS)}"})
    out: PathText = field(default="outputs/faults", metadata={"help": "scratch folder, one in it for each form"})
    record: PathText | None = field(
        default=None,
        metadata={"help": "record; null: OUT/FORM/kills.json for short, else results/reliability/kills.json"},
    )
    engine: str = field(default=LOCAL, metadata={"help": "local, or ray (the commands that run on it)"})
    seed: int = field(default=0, metadata={"help": "decides moments, signals and targets"})
    commands: tuple[str, ...] = field(default=(), metadata={"help": "only these, e.g. [collect,train]; empty: all"})

    def __post_init__(self) -> None:
        object.__setattr__(self, "commands", tuple(self.commands))
        if self.form not in FORMS:
            raise unknown_name("form", self.form, FORMS)
        if self.engine not in ENGINES:
            raise unknown_name("engine", self.engine, ENGINES)

    @property
    def folder(self) -> Path:
        """Scratch folder of the form."""
        return Path(self.out).absolute() / (self.form if self.engine == LOCAL else f"{self.form}-{self.engine}")

    @property
    def record_path(self) -> Path:
        """Where the record goes."""
        if self.record is not None:
            return Path(self.record)
        name = "kills.json" if self.engine == LOCAL else f"kills-{self.engine}.json"
        return self.folder / name if self.form == "short" else Path("results/reliability", name)


def run_faults(config: FaultsConfig) -> FaultsRecord:
    """Runs every campaign, or what is left of it, and counts.

    Raises:
        UserError: If a command's name is unknown, or another process is at it.
        CommandFailed: If a command did not survive.
    """
    commands = smidgen_commands(config.folder / "inputs", config.engine)
    for name in config.commands:
        if name not in commands:
            raise unknown_name("command", name, commands)
    with directory_lock(config.folder):
        _make_inputs(config.folder / "inputs")
        campaigns: dict[str, Progress] = {}
        for name in config.commands or commands:
            campaign = Campaign(name, commands[name], config.folder / name, config.seed, _say)
            campaigns[name] = campaign.kill(FORMS[config.form].kills[name])
            if commands[name].patience is not None:
                campaigns[name] = campaign.stop(FORMS[config.form].stops)
    record = faults_record(config.form, config.seed, campaigns)
    write_json_atomic(config.record_path, record_json(record))
    return record


def _make_inputs(inputs: Path) -> None:
    inputs.mkdir(parents=True, exist_ok=True)
    for arguments in input_arguments(inputs):
        process = Process(arguments, inputs / "log.txt", inputs)
        while process.runs_on(1.0):
            pass
        process.require_finished()


def _say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def _body(arguments: list[str]) -> None:
    if wants_help(arguments):
        print(command_help(USAGE, SUMMARY, FaultsConfig))
        return
    config = compose_config(FaultsConfig, arguments)
    record = run_faults(config)
    for name, found in record.commands.items():
        print(
            f"{name}: {found.kills} kills and {found.stops} hangs in {found.starts} starts; "
            f"{found.runs_with_undisturbed_bytes} runs ended in the undisturbed bytes"
        )
    print(f"record: {config.record_path}")


def main(argv: list[str] | None = None) -> int:
    """The command."""
    return run_command(_body, argv)


if __name__ == "__main__":
    sys.exit(main())
