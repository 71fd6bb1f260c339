"""The virtual environments of other libraries, below build/interop; each is built once."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from smidgen.runtime.errors import UserError
from smidgen.runtime.files import sha256_bytes

ROOT = Path(__file__).resolve().parents[2]
# PyTorch's version, and whose build it is, is that of smidgen's own environment.
TORCH = (ROOT / "install" / "torch.txt").read_text().strip()
TORCHVISION = "torchvision==0.28.0"
SMIDGEN = ("--editable", f"{ROOT}[formats]")
PINNED_ROBOMIMIC = "robomimic==0.3.0"
_ROBOMIMIC = (
    (TORCH, "numpy<2", "h5py", "psutil", "tqdm", "termcolor", "tensorboard", "tensorboardX", "imageio", "six"),
    ("matplotlib", "pillow", "imageio-ffmpeg"),
)
PIP_CALLS: dict[str, tuple[tuple[str, ...], ...]] = {
    # Without dependencies: egl_probe compiles, and torchvision asks for a PyTorch of its own.
    "robomimic": (*_ROBOMIMIC, ("--no-deps", PINNED_ROBOMIMIC, TORCHVISION)),
    "robomimic_newest": (
        *_ROBOMIMIC,
        ("huggingface_hub==0.23.4", "transformers==4.41.2", "diffusers==0.11.1"),
        ("--no-deps", TORCHVISION),
    ),
    "lerobot": (
        (*SMIDGEN, TORCH, "datasets==4.1.1", "huggingface-hub==0.35.3", "draccus==0.10.0", "av<16", "accelerate"),
        ("pyserial", "einops", "jsonlines", "deepdiff", "termcolor", "diffusers", "pandas", "pyarrow<26"),
        ("--no-deps", "lerobot==0.4.4", TORCHVISION),
    ),
    "minari": (("minari[hdf5]==0.5.4", "pillow"),),
    "stable_baselines3": ((*SMIDGEN, TORCH, "stable-baselines3==2.9.2", "moviepy"),),
    "ray": ((*SMIDGEN, TORCH, "ray>=2.40"),),
    "s3": ((*SMIDGEN, TORCH, "s3fs>=2024.2", "moto[server]==5.*"),),
    "hub": ((*SMIDGEN, TORCH, "huggingface-hub==2.4.0"),),
    "hub_oldest": ((*SMIDGEN, TORCH, "huggingface-hub==0.34.0"),),
    "vla_eval": ((*SMIDGEN, TORCH, "vla-eval==0.8.0"),),
}


def environment(name: str, folder: Path, *more: str) -> Path:
    """The interpreter of a library's environment, made if it is not there or was made of other requirements.

    Args:
        name: A key of :data:`PIP_CALLS`.
        folder: Where the environments are.
        *more: What is installed last, without its dependencies.

    Raises:
        UserError: If pip cannot install what the library needs.
    """
    python, stamp = folder / name / "bin" / "python", folder / name / "requirements.sha256"
    calls = [*PIP_CALLS[name], *[("--no-deps", each) for each in more]]
    wanted = sha256_bytes(json.dumps(calls).encode())
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    print(f"{name}: building {folder / name}", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder / name)], check=True)
    for arguments in calls:
        command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise UserError(f"pip could not install {' '.join(arguments)}: {done.stderr.strip()[-300:]}")
    stamp.write_text(wanted)
    return python


def newest_on_the_index(package: str) -> str:
    """The newest version that pip finds under a name.

    Raises:
        UserError: If it finds none.
    """
    command = [sys.executable, "-m", "pip", "index", "versions", "--disable-pip-version-check", package]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.match(rf"{re.escape(package)} \((\S+)\)", done.stdout)
    if done.returncode or found is None:
        raise UserError(f"pip finds no {package}: {done.stderr.strip()[-300:]}")
    return found[1]
