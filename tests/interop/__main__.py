"""python -m tests.interop [libraries=[robomimic,lerobot,...]] [record=DIR]

Other projects' libraries on what smidgen writes, and on its environments. Builds a virtual environment for each library
below build/interop (once; needs the network) and lets a script run there. The first ones iterate over every episode of
an export, compare it with the store to the bit, and train a few steps where the library trains; the others run the
environments (LeRobot's evaluation, stable-baselines3, vla-eval) or jobs (Ray, Slurm), read a data set from S3, or share
a checkpoint (huggingface_hub, the newest, the oldest that is allowed, and beside LeRobot). Building the environments
takes most of an hour the first time, later runs ten to twenty minutes. Writes a record for each; exits with 1 where
something differed. A library that cannot be installed is skipped, with the reason.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from smidgen.data_collection.collect import collect
from smidgen.data_collection.config import CollectConfig
from smidgen.data_collection.formats.config import ExportConfig, ImportConfig
from smidgen.data_collection.formats.exchange import export_store, import_set
from smidgen.data_collection.store import EpisodeStore
from smidgen.runtime.command_line import command_help, compose_config, run_command, wants_help
from smidgen.runtime.errors import UserError, unknown_name
from smidgen.runtime.files import write_json_atomic
from smidgen.runtime.settings import PathText
from tests.interop.environments import PINNED_ROBOMIMIC, environment, newest_on_the_index

FOLDER = Path(__file__).parent
NUM_TRAINING_STEPS = 3
ROBOMIMIC, NEWEST, SLURM = "robomimic", "robomimic_newest", "slurm"
USAGE = "python -m tests.interop [key=value ...]"
SUMMARY = "Lets other projects' libraries read exports and run environments, and records what came of it."


class Check(NamedTuple):
    """A script and the environment that it runs in; `export` is the format that it is handed, if any."""

    script: str
    environment: str
    export: str = ""


CHECKS = {
    ROBOMIMIC: Check("open_robomimic.py", ROBOMIMIC, ROBOMIMIC),
    NEWEST: Check("open_robomimic.py", NEWEST, ROBOMIMIC),
    "lerobot": Check("open_lerobot.py", "lerobot", "lerobot"),
    "minari": Check("open_minari.py", "minari", "minari"),
    "lerobot_eval": Check("run_lerobot_eval.py", "lerobot"),
    "stable_baselines3": Check("run_stable_baselines3.py", "stable_baselines3"),
    "vla_eval": Check("run_vla_eval.py", "vla_eval"),
    "ray": Check("run_ray.py", "ray"),
    SLURM: Check("run_slurm.py", "ray"),
    "s3": Check("run_s3.py", "s3"),
    "hub": Check("run_hub.py", "hub"),
    "hub_oldest": Check("run_hub.py", "hub_oldest"),
    "hub_as_lerobot": Check("run_hub.py", "lerobot"),
}


@dataclass(frozen=True)
class InteropConfig:
    """Which libraries, and where the records go."""

    libraries: tuple[str, ...] = field(default=tuple(CHECKS), metadata={"help": "only these"})
    record: PathText = field(default="results/interop", metadata={"help": "folder of the records"})
    environments: PathText = field(default="build/interop", metadata={"help": "folder of the virtual environments"})
    episodes: int = field(default=4, metadata={"help": "attempts at Lift to collect"})
    newest_robomimic: PathText = field(
        default=ROBOMIMIC, metadata={"help": "what pip is asked for, e.g. git+https://HOST/robomimic"}
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "libraries", tuple(self.libraries))
        for name in self.libraries:
            if name not in CHECKS:
                raise unknown_name("library", name, CHECKS)


def interpreter(name: str, config: InteropConfig) -> Path:
    """The interpreter that a check runs in.

    Raises:
        UserError: If pip cannot install what it needs; the message says what is missing.
    """
    folder = Path(config.environments).absolute()
    if name == SLURM and (os.geteuid() or not all(map(shutil.which, ("slurmctld", "slurmd", "munged", "unshare")))):
        raise UserError("a Slurm of two nodes needs root, and Debian's slurm-wlm and munge")
    if name != NEWEST:
        return environment(CHECKS[name].environment, folder)
    if config.newest_robomimic == ROBOMIMIC:
        newest = newest_on_the_index(ROBOMIMIC)
        if newest == PINNED_ROBOMIMIC.rpartition("=")[2]:
            raise UserError(
                f"the newest robomimic that pip finds by name is {newest}, which is the check {ROBOMIMIC!r}; "
                "later versions are not on the index: newest_robomimic=git+https://... names one"
            )
    return environment(NEWEST, folder, config.newest_robomimic)


def run_check(name: str, python: Path, store: EpisodeStore, scratch: Path) -> dict[str, Any]:
    """Exports a store if the check reads an export, lets its script run, and imports the export again.

    Returns:
        The record.
    """
    check, out = CHECKS[name], scratch / name
    arguments = [str(store.directory), str(out)]
    if check.export:
        export_store(store, ExportConfig(format=check.export, out=str(out), minari_python=str(python)))
        arguments = [str(out), str(store.directory), str(NUM_TRAINING_STEPS)]
    quiet = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(scratch / "cache"), "OMP_NUM_THREADS": "1"}
    command = [str(python), str(FOLDER / check.script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=quiet, cwd=scratch)
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        return {"library": name, "opened": False, "error": done.stderr.strip().rpartition("\n")[2][:300]}
    record = {"opened": True, **json.loads(lines[-1]), "data_set_sha256": store.sha256}
    if check.export:
        import_set(out, ImportConfig(out=str(scratch / f"{name}-back")))
        back = EpisodeStore.open(scratch / f"{name}-back")
        record["comes_back_to_the_byte"] = back.sha256 == store.sha256
    return record


def is_good(record: dict[str, Any]) -> bool:
    """Whether a library read everything as it was written."""
    came_back = record.get("comes_back_to_the_byte", True)
    return bool(record["opened"]) and record["num_differences"] == 0 and came_back


def _body(arguments: list[str]) -> None:
    if wants_help(arguments):
        print(command_help(USAGE, SUMMARY, InteropConfig))
        return
    config = compose_config(InteropConfig, arguments)
    failed, skipped = [], []
    with tempfile.TemporaryDirectory() as scratch:
        store = collect(CollectConfig(task="lift", out=f"{scratch}/lift", episodes=config.episodes, workers=0)).store
        for name in config.libraries:
            try:
                python = interpreter(name, config)
            except UserError as error:
                skipped.append(f"{name}: {error}")
                print(f"{name}: skipped: {error}", flush=True)
                continue
            record = run_check(name, python, store, Path(scratch))
            write_json_atomic(Path(config.record, f"{name}.json"), record)
            print(_line(record), flush=True)
            failed += [] if is_good(record) else [name]
    if failed:
        raise RuntimeError(f"could not read what was written: {', '.join(failed)}; see {config.record}")
    if len(skipped) == len(config.libraries):
        raise UserError(f"nothing was tried; {skipped[0]}")


def _line(record: dict[str, Any]) -> str:
    if not record["opened"]:
        return f"{record['library']}: {record['error']}"
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    return (
        f"{versions}: {record['episodes']} episodes, {record['steps']} steps, {record['pairs']} pairs, "
        f"{record['num_differences']} differences"
    )


def main(argv: list[str] | None = None) -> int:
    """The command."""
    return run_command(_body, argv)


if __name__ == "__main__":
    sys.exit(main())
