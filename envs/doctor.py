"""``smidgen-doctor [--json]``: does this machine have what smidgen needs, and can its frames be trusted?

About five seconds. Every failure comes with its fix. Exit code 0 if all checks pass, 2 otherwise.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import shutil
import sys
import sysconfig
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from smidgen.envs.backend import choose_backend
from smidgen.envs.fingerprint import cpu_name
from smidgen.envs.graphics_diagnosis import GraphicsError, graphics_fix
from smidgen.runtime.command_line import run_command
from smidgen.runtime.errors import UserError

USAGE = """usage: smidgen-doctor [--json]

Checks dependency versions against known incompatibilities, the renderer and its milliseconds per frame, the pixels
of known states, the compiler needed for set-up, and free space; names the fix for each failure. About five seconds.

  --json   print the checks as JSON"""

MIN_SHARED_MEMORY_MIB = 64
MIN_DISK_MIB = 2048
SLOW_FRAME_MS = 20.0


@dataclass(frozen=True)
class Check:
    """The result of one check.

    Attributes:
        name: What was checked.
        ok: Whether it passed.
        found: What was found.
        fix: How to fix a failure; empty otherwise.
    """

    name: str
    ok: bool
    found: str
    fix: str = ""


def check_python() -> list[Check]:
    """The interpreter's version."""
    ok = (3, 11) <= sys.version_info[:2] <= (3, 12)
    fix = "" if ok else "recreate .venv with Python 3.11 or 3.12"
    return [Check("python", ok, f"{platform.python_version()}, {cpu_name()}, {os.cpu_count()} cores", fix)]


def check_versions() -> list[Check]:
    """Checks every declared dependency against its version range."""
    from packaging.requirements import Requirement

    checks = []
    for line in requires("smidgen") or []:
        requirement = Requirement(line)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            checks.append(
                Check(requirement.name, False, "not installed", f"pip install '{requirement}', or make setup")
            )
            continue
        ok = requirement.specifier.contains(found, prereleases=True)
        checks.append(Check(requirement.name, ok, found, "" if ok else f"pip install '{requirement}', or make setup"))
    return checks


def check_pixels() -> list[Check]:
    """The renderer, its speed, and whether its frames can be trusted."""
    from smidgen.envs import selfcheck
    from smidgen.envs.tasks import TASKS, make_env

    backend = choose_backend()
    try:
        env = make_env(next(iter(TASKS)))
        pixels = selfcheck.check_pixels(env)
        assert pixels is not None
        found = f"{env.renderer_name()} through MUJOCO_GL={backend}"
    except GraphicsError as error:
        return [Check("renderer", False, error.found, error.fix)]
    except UserError as error:
        return [Check("pixels", False, str(error), graphics_fix(backend))]
    except Exception as error:  # a missing library can raise anything
        return [Check("renderer", False, f"{type(error).__name__}: {error}", graphics_fix(backend))]
    ms_per_frame = frame_time_ms(env.render_frames)
    env.close()
    slow = (
        "" if ms_per_frame < SLOW_FRAME_MS else "other processes may be using the cores; a GPU driver's EGL is faster"
    )
    return [
        Check("renderer", True, found),
        Check("frame time", not slow, f"{ms_per_frame:.1f} ms for 64 x 64 pixels", slow),
        Check(
            "pixels",
            True,
            f"the arm moves {pixels.moved_fraction:.0%} of the pixels, the cue covers {pixels.cue_pixels}, "
            f"{pixels.reference_difference:.2f} grey levels from the recorded picture",
        ),
    ]


def frame_time_ms(render: Callable[[], object], num_frames: int = 30) -> float:
    """Median time per frame in milliseconds."""
    times = []
    for _ in range(num_frames):
        started = time.perf_counter()
        render()
        times.append(time.perf_counter() - started)
    return 1e3 * sorted(times)[num_frames // 2]


def check_compiler() -> list[Check]:
    """A C compiler and the headers for building evdev, a dependency of robosuite."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    headers = Path(sysconfig.get_paths()["include"], "Python.h").exists()
    kernel = Path("/usr/include/linux/input.h").exists()
    missing = [
        name for name, there in (("gcc", compiler), ("python3-dev", headers), ("linux-libc-dev", kernel)) if not there
    ]
    fix = f"apt-get install -y {' '.join(missing)} (needed for set-up, not to run)" if missing else ""
    return [Check("compiler", not missing, compiler or "none", fix)]


def check_space() -> list[Check]:
    """Shared memory for worker processes, and disk for data sets."""
    checks = []
    places = (("shared memory", "/dev/shm", MIN_SHARED_MEMORY_MIB), ("disk", ".", MIN_DISK_MIB))
    for name, place, least_mib in places:
        if not Path(place).exists():
            continue
        free_mib = shutil.disk_usage(place).free >> 20
        fix = "" if free_mib >= least_mib else f"free space in {place}: at least {least_mib} MiB needed"
        checks.append(Check(name, not fix, f"{free_mib:,} MiB free", fix))
    return checks


def check_gpu() -> list[Check]:
    """Whether PyTorch sees a GPU; not required."""
    import torch

    if not torch.cuda.is_available():
        return [Check("gpu", True, "none (not required)")]
    return [Check("gpu", True, torch.cuda.get_device_name())]


CHECKS = (check_python, check_versions, check_compiler, check_space, check_gpu, check_pixels)


def diagnose() -> list[Check]:
    """Runs every check."""
    return [check for look in CHECKS for check in look()]


def report(checks: Sequence[Check]) -> str:
    """The checks as aligned lines, failures with their fixes."""
    width = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        lines.append(f"{'ok  ' if check.ok else 'FAIL'}  {check.name:<{width}}  {check.found}")
        if not check.ok:
            lines.append(f"      {'':<{width}}  fix: {check.fix}")
    return "\n".join(lines)


def doctor(arguments: list[str]) -> None:
    """Runs the command.

    Raises:
        UserError: If a check fails, or for an unknown argument.
    """
    if any(argument in ("-h", "--help") for argument in arguments):
        print(USAGE)
        return
    if arguments not in ([], ["--json"]):
        raise UserError(f"smidgen-doctor takes only --json, got {' '.join(arguments)}")
    checks = diagnose()
    print(json.dumps([dataclasses.asdict(check) for check in checks], indent=1) if arguments else report(checks))
    failures = [check.name for check in checks if not check.ok]
    if failures:
        raise UserError(f"{len(failures)} of {len(checks)} checks failed: {', '.join(failures)}")


def main() -> int:
    """Console entry point."""
    return run_command(doctor)


if __name__ == "__main__":
    sys.exit(main())
