"""python -m tests.interop [libraries=[robomimic,lerobot,minari]] [record=DIR]

Opens exports with the libraries that they are for. Builds a virtual environment for each below build/interop (once;
needs the network), collects a small data set, exports it, and lets a script that runs in the library's environment
iterate over every episode, compare it with the store to the bit, and train a few steps where the library trains.
Several minutes the first time, then about one. Writes a record for each library; exits with 1 where one could not read
what was written.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smidgen.data_collection.collect import collect
from smidgen.data_collection.config import CollectConfig
from smidgen.data_collection.formats.config import ExportConfig, ImportConfig
from smidgen.data_collection.formats.exchange import export_store, import_set
from smidgen.data_collection.store import EpisodeStore
from smidgen.runtime.command_line import command_help, compose_config, run_command, wants_help
from smidgen.runtime.errors import UserError, unknown_name
from smidgen.runtime.files import sha256_bytes, write_json_atomic
from smidgen.runtime.settings import PathText

FOLDER = Path(__file__).parent
# PyTorch's version, and whose build it is, is that of smidgen's own environment.
TORCH = (FOLDER.parent.parent / "install" / "torch.txt").read_text().strip()
PIP_CALLS: dict[str, tuple[tuple[str, ...], ...]] = {
    # Without dependencies: egl_probe compiles, and torchvision asks for a PyTorch of its own.
    "robomimic": (
        (TORCH, "numpy<2", "h5py", "psutil", "tqdm", "termcolor", "tensorboard", "tensorboardX", "imageio", "six"),
        ("matplotlib", "pillow", "imageio-ffmpeg"),
        ("--no-deps", "robomimic", "torchvision==0.28.0"),
    ),
    "lerobot": (
        (TORCH, "numpy<2.3", "datasets==4.1.1", "huggingface-hub==0.35.3", "draccus", "av", "accelerate", "pyserial"),
        ("einops", "jsonlines", "deepdiff", "gymnasium", "termcolor", "imageio", "diffusers", "pandas", "pyarrow"),
        ("--no-deps", "lerobot==0.4.4", "torchvision==0.28.0"),
    ),
    "minari": (("minari[hdf5]==0.5.4", "pillow"),),
}
NUM_TRAINING_STEPS = 3
USAGE = "python -m tests.interop [key=value ...]"
SUMMARY = "Opens exports of a small data set with robomimic, LeRobot and Minari, and records what they read."


@dataclass(frozen=True)
class InteropConfig:
    """Which libraries, and where the records go."""

    libraries: tuple[str, ...] = field(default=tuple(PIP_CALLS), metadata={"help": "only these"})
    record: PathText = field(default="results/interop", metadata={"help": "folder of the records"})
    environments: PathText = field(default="build/interop", metadata={"help": "folder of the virtual environments"})
    episodes: int = field(default=4, metadata={"help": "attempts at Lift to collect"})

    def __post_init__(self) -> None:
        object.__setattr__(self, "libraries", tuple(self.libraries))
        for name in self.libraries:
            if name not in PIP_CALLS:
                raise unknown_name("library", name, PIP_CALLS)


def environment(name: str, folder: Path) -> Path:
    """The interpreter of a library's environment, made if it is not there or was made of other requirements.

    Raises:
        UserError: If pip cannot install what the library needs.
    """
    python, stamp = folder / name / "bin" / "python", folder / name / "requirements.sha256"
    wanted = sha256_bytes(json.dumps(PIP_CALLS[name]).encode())
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    print(f"{name}: building {folder / name}", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder / name)], check=True)
    for arguments in PIP_CALLS[name]:
        command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise UserError(f"pip could not install {' '.join(arguments)}: {done.stderr.strip()[-300:]}")
    stamp.write_text(wanted)
    return python


def try_library(name: str, python: Path, store: EpisodeStore, scratch: Path) -> dict[str, Any]:
    """Exports a store, lets the library read it, and imports it again.

    Returns:
        The record.
    """
    out = scratch / name
    export_store(store, ExportConfig(format=name, out=str(out), minari_python=str(python)))
    command = [str(python), str(FOLDER / f"open_{name}.py"), str(out), str(store.directory), str(NUM_TRAINING_STEPS)]
    quiet = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(scratch / "cache"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=quiet, cwd=scratch)
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        record = {"library": name, "opened": False, "error": done.stderr.strip().rpartition("\n")[2][:300]}
    else:
        record = {"opened": True, **json.loads(lines[-1])}
    import_set(out, ImportConfig(out=str(scratch / f"{name}-back")))
    back = EpisodeStore.open(scratch / f"{name}-back")
    return {**record, "data_set_sha256": store.sha256, "comes_back_to_the_byte": back.sha256 == store.sha256}


def is_good(record: dict[str, Any]) -> bool:
    """Whether a library read everything as it was written."""
    return bool(record["opened"]) and record["num_differences"] == 0 and record["comes_back_to_the_byte"]


def _body(arguments: list[str]) -> None:
    if wants_help(arguments):
        print(command_help(USAGE, SUMMARY, InteropConfig))
        return
    config = compose_config(InteropConfig, arguments)
    failed = []
    with tempfile.TemporaryDirectory() as scratch:
        store = collect(CollectConfig(task="lift", out=f"{scratch}/lift", episodes=config.episodes, workers=0)).store
        for name in config.libraries:
            python = environment(name, Path(config.environments).absolute())
            record = try_library(name, python, store, Path(scratch))
            write_json_atomic(Path(config.record, f"{name}.json"), record)
            print(_line(record), flush=True)
            failed += [] if is_good(record) else [name]
    if failed:
        raise RuntimeError(f"could not read what was written: {', '.join(failed)}; see {config.record}")


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
