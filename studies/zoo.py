"""python -m studies.zoo run=RUN name=TASK/NAME [record=RECORD]
python -m studies.zoo check=true

Puts the final checkpoint of a training run into the zoo, the policies that are installed with the package: halved to
half precision, with a card that is written from the record of evaluating exactly that halved checkpoint. Hence two
steps. Without ``record=`` the halved checkpoint is written below ``outputs/zoo``, and the command that evaluates it is
printed; with it the checkpoint and its card go into ``policies/zoo``, the record into ``results/zoo``. ``check=true``
compares what is there. Each takes a second.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from smidgen.evaluation.records import find_records, read_record, record_path
from smidgen.evaluation.tracks import CPU_STANDARD_1, TRACKS
from smidgen.leaderboard.checkpoint_card import checkpoint_card, require_same_checkpoint
from smidgen.leaderboard.rows import Row, Run, run_shortfalls
from smidgen.policies.checkpoint import (
    CARD_NAME,
    MODEL_NAME,
    checkpoint_sha256,
    halve_checkpoint,
    load_checkpoint,
    read_checkpoint_card,
)
from smidgen.policies.zoo import PREFIX, zoo_names
from smidgen.runtime.command_line import command_help, compose_config, run_command, wants_help
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import atomic_directory, read_text, sha256_bytes, write_atomic
from smidgen.runtime.schemas import NAME_PATTERN
from smidgen.runtime.settings import PathText

README = "README.md"
FILES = (CARD_NAME, MODEL_NAME, README)
# Everybody who installs the package downloads them.
MAX_BYTES = 6_000_000
USAGE = "python -m studies.zoo run=RUN name=TASK/NAME [record=RECORD] [key=value ...]"
SUMMARY = """\
Puts the final checkpoint of a training run into the zoo, the policies that are installed with the package, in half
precision. Run it without record=, evaluate the halved checkpoint with the command that it prints, and run it again
with record=: the card is written from that record. check=true compares every card with its record."""


@dataclass(frozen=True)
class ZooConfig:
    """Which checkpoint becomes which policy of the zoo."""

    run: PathText = field(default="", metadata={"help": "training run, or a checkpoint of one"})
    name: str = field(default="", metadata={"help": "TASK/NAME, as in policy=zoo:TASK/NAME"})
    record: PathText | None = field(default=None, metadata={"help": "record of the halved checkpoint's evaluation"})
    halved: PathText = field(default="outputs/zoo", metadata={"help": "folder of halved checkpoints to evaluate"})
    zoo: PathText = field(default="policies/zoo", metadata={"help": "folder of the zoo"})
    records: PathText = field(default="results/zoo", metadata={"help": "folder of the zoo's records"})
    check: bool = field(
        default=False, metadata={"help": "write nothing; exit 2 if a card or a file is not as it should be"}
    )

    def __post_init__(self) -> None:
        if self.check:
            return
        task, _, name = self.name.partition("/")
        if not self.run or not NAME_PATTERN.fullmatch(task) or not NAME_PATTERN.fullmatch(name):
            raise UserError(f"expected run=RUN name=TASK/NAME, got run={self.run:.200} name={self.name:.200}")


def halve(config: ZooConfig) -> Path:
    """The run's final checkpoint in half precision, below ``config.halved``.

    Raises:
        UserError: If the run is unfinished or its checkpoint is of another task, or another one has the name.
    """
    task, directory = config.name.partition("/")[0], Path(config.halved, config.name)
    if (trained := read_checkpoint_card(config.run)["task"]) != task:
        raise UserError(f"{config.run} was trained on {trained:.60}; name it {trained:.60}/NAME, not {config.name}")
    if not directory.exists():
        halve_checkpoint(config.run, directory)
        return directory
    with tempfile.TemporaryDirectory() as scratch:
        halve_checkpoint(config.run, Path(scratch, "half"))
        if checkpoint_sha256(directory) != checkpoint_sha256(Path(scratch, "half")):
            raise UserError(f"{directory} is of another run than {config.run}; delete it, or choose another name=")
    return directory


def evaluation(config: ZooConfig, checkpoint: Path) -> str:
    """The command whose record ``record=`` takes."""
    task, _, name = config.name.partition("/")
    track = f"track={CPU_STANDARD_1} episodes={TRACKS[CPU_STANDARD_1].num_episodes}"
    demonstrations = f"demos=HELD-OUT-{task} train_demos=TRAINING-{task}"
    return f"smidgen-eval policy={checkpoint} name={name} {track} {demonstrations} out={config.records}"


def read_run(path: Path, checkpoint: Path, name: str) -> Run:
    """The record of a zoo policy's evaluation.

    Args:
        path: The record.
        checkpoint: The halved checkpoint that it should be of.
        name: The policy, ``TASK/NAME``.

    Raises:
        UserError: If it is the record of another checkpoint or name, of less than a full evaluation of its track, of a
            checkpoint that is not the run's last, or has no verdict.
    """
    record = read_record(path)
    run = Run(record_path("", *name.split("/")).name, sha256_bytes(path.read_bytes()), record)
    fix = f"evaluate {checkpoint} and take that record"
    require_same_checkpoint(run, checkpoint_sha256(checkpoint), fix)
    named = f"{record['task']}/{record['policy']['name']}"
    if named != name:
        raise UserError(f"{path} is of {named:.200}, not of {name}; {fix}")
    if shortfalls := run_shortfalls(record):
        raise UserError(f"{path} is not a full evaluation of its track: {', '.join(shortfalls)}; {fix}")
    if not Row((run,)).may_be_ranked or record["collapse"].get("verdict") is None:
        raise UserError(f"{path} is not of test episodes, or says nothing of whether the policy sees; {fix}")
    return run


def card_text(run: Run, name: str) -> str:
    """The card of a policy of the zoo."""
    spec = f"{PREFIX}{name}"
    verify = (
        f"smidgen-eval verify results/zoo/{run.source} --checkpoint {spec}   # in a checkout: the same episodes again"
    )
    return checkpoint_card(run, [f"smidgen-eval policy={spec} episodes=20 out=outputs/results", verify])


def add(config: ZooConfig, checkpoint: Path, record: Path) -> Path:
    """Writes the checkpoint, its card and its record; replaces an older policy of that name.

    Returns:
        The policy's folder in the zoo.

    Raises:
        UserError: If the record is refused (:func:`read_run`), or the zoo would become too large.
    """
    run = read_run(record, checkpoint, config.name)
    files = {name: (checkpoint / name).read_bytes() for name in (CARD_NAME, MODEL_NAME)}
    files[README] = card_text(run, config.name).encode()
    directory = Path(config.zoo, config.name)
    others = [path for path in Path(config.zoo).rglob("*") if path.is_file() and directory not in path.parents]
    num_bytes = sum(map(len, files.values())) + sum(path.stat().st_size for path in others)
    if num_bytes > MAX_BYTES:
        raise UserError(
            f"the zoo would have {num_bytes:,} bytes, at most {MAX_BYTES:,}; take out a policy, or a smaller one"
        )
    write_atomic(record_path(config.records, *config.name.split("/")), record.read_bytes())
    with atomic_directory(directory, replace=True) as temporary:
        for name, data in files.items():
            (temporary / name).write_bytes(data)
    return directory


def check(zoo: Path, records: Path) -> str:
    """Compares every policy of the zoo with its record.

    Returns:
        What was found, in words.

    Raises:
        UserError: Naming the first policy, file or record that is not as this command writes it.
    """
    names = zoo_names(zoo)
    files = sorted(path for path in zoo.rglob("*") if path.is_file())
    expected = sorted(zoo / name / file for name in names for file in FILES)
    if surplus := sorted({*files} ^ {*expected}):
        raise UserError(f"{surplus[0]} is missing, or does not belong in the zoo")
    if unused := sorted({*find_records(records)} ^ {record_path(records, *name.split("/")) for name in names}):
        raise UserError(f"{unused[0]} is missing, or no policy of the zoo has this record")
    for name in names:
        load_checkpoint(zoo / name, expect_task=name.partition("/")[0])
        run = read_run(record_path(records, *name.split("/")), zoo / name, name)
        if read_text(zoo / name / README) != card_text(run, name):
            raise UserError(f"{zoo / name / README} differs from what its record gives; add the policy again")
    num_bytes = sum(path.stat().st_size for path in files)
    if num_bytes > MAX_BYTES:
        raise UserError(f"the zoo has {num_bytes:,} bytes, at most {MAX_BYTES:,}; take out a policy")
    return f"policies as their records give: {len(names)}, in {num_bytes:,} of at most {MAX_BYTES:,} bytes"


def zoo(arguments: list[str]) -> None:
    """Body of the command."""
    if wants_help(arguments):
        print(command_help(USAGE, SUMMARY, ZooConfig))
        return
    config = compose_config(ZooConfig, arguments)
    if config.check:
        print(check(Path(config.zoo), Path(config.records)))
        return
    checkpoint = halve(config)
    if config.record is None:
        print(f"wrote {checkpoint}; evaluate it, then run this again with record=\n{evaluation(config, checkpoint)}")
        return
    print(f"wrote {add(config, checkpoint, Path(config.record))}")


if __name__ == "__main__":
    sys.exit(run_command(zoo))
