"""Write the two lock files from pyproject.toml and install/torch.txt.

    make lock                  # keeps every pin that pyproject.toml still allows; about 10 seconds, needs the network
    make lock UPGRADE=1        # moves every pin to the newest version allowed

requirements.lock holds every package that smidgen runs on and is tested with, but PyTorch and its CUDA packages: which
build of PyTorch is right depends on the machine (install/environment.sh picks it), so it has no single hash.
install/build.lock holds the two packages that install the others: pip, and setuptools for the packages that come as
source alone. Both serve Linux with Python 3.11 and 3.12, and carry the hash of every file of a version, so that one
lock serves all processors.
"""

import itertools
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
TORCH_FILE = "install/torch.txt"
BUILD_FILE = "install/build.txt"
RUNTIME_LOCK = ROOT / "requirements.lock"
BUILD_LOCK = ROOT / "install" / "build.lock"
EXTRAS = ("test", "formats", "docs")
PYTHON_VERSIONS = ("3.11", "3.12")
MACHINES = ("x86_64", "aarch64")
# PyTorch brings these, each build its own; nothing else here needs them.
TORCH_FAMILY = re.compile(r"(torch|triton|nvidia-.*|cuda-.*)==")
HEADER = """\
# Written by `make lock`; do not edit. {purpose}
# Linux, Python {pythons}.
"""


def supported_environments() -> list[dict[str, str]]:
    """Marker environments that the lock serves."""
    return [
        {
            "sys_platform": "linux",
            "platform_system": "Linux",
            "os_name": "posix",
            "platform_python_implementation": "CPython",
            "platform_machine": machine,
            "python_version": python,
            "python_full_version": f"{python}.0",
            "extra": "",
        }
        for python, machine in itertools.product(PYTHON_VERSIONS, MACHINES)
    ]


def split_stanzas(lock_text: str) -> list[str]:
    """One stanza per package: the pinned line, then its indented hashes and comments."""
    return [stanza for stanza in re.split(r"^(?=\S)", lock_text, flags=re.MULTILINE) if stanza.strip()]


def narrow_stanza(stanza: str) -> str | None:
    """Drop a stanza for other platforms, and the marker of one that every supported environment needs."""
    first_line, rest = stanza.split("\n", 1)
    marker = Requirement(first_line.rstrip(" \\")).marker
    if marker is None:
        return stanza
    applies = [marker.evaluate(environment) for environment in supported_environments()]
    if not any(applies):
        return None
    return f"{first_line.split(' ;')[0]} \\\n{rest}" if all(applies) else stanza


def narrow_lock(lock_text: str) -> str:
    """A universal lock without PyTorch's family and without what other platforms need."""
    kept = [stanza for stanza in split_stanzas(lock_text) if not TORCH_FAMILY.match(stanza)]
    return "".join(narrowed for stanza in kept if (narrowed := narrow_stanza(stanza)) is not None)


def resolve(source: str, pins: Path, *arguments: str) -> str:
    """The universal resolution of a requirements file; it prefers the versions pinned in ``pins``."""
    with tempfile.TemporaryDirectory() as scratch:
        resolved = Path(scratch) / "resolved.txt"
        if pins.exists():
            shutil.copyfile(pins, resolved)
        command = [sys.executable, "-m", "uv", "pip", "compile", source, *arguments, "--output-file", str(resolved)]
        command += ["--quiet", "--no-header", "--universal", "--fork-strategy", "fewest", "--generate-hashes"]
        subprocess.run([*command, "--python-version", PYTHON_VERSIONS[0]], cwd=ROOT, check=True)
        return resolved.read_text(encoding="utf-8")


def write_lock(path: Path, purpose: str, lock_text: str) -> None:
    """Write one lock file under its header and say what it holds."""
    narrowed = narrow_lock(lock_text)
    path.write_text(HEADER.format(purpose=purpose, pythons=" and ".join(PYTHON_VERSIONS)) + narrowed, encoding="utf-8")
    print(f"{path.relative_to(ROOT)}: {len(split_stanzas(narrowed))} packages")


def main() -> None:
    """Resolve and write both files."""
    options = ["--upgrade"] if "--upgrade" in sys.argv[1:] else []
    extras = [word for name in EXTRAS for word in ("--extra", name)]
    runtime = resolve("pyproject.toml", RUNTIME_LOCK, *extras, "--constraint", TORCH_FILE, *options)
    write_lock(RUNTIME_LOCK, "Everything but PyTorch (install/torch.txt).", runtime)
    build = resolve(BUILD_FILE, BUILD_LOCK, *options)
    write_lock(BUILD_LOCK, "What installs the packages of requirements.lock.", build)


if __name__ == "__main__":
    main()
