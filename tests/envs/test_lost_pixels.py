"""Renderers that break in the middle of a run, and machines without one: named in a line, and nothing is stored."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from studies.reliability.pixel_faults import FAULTS
from tests.long_form import long_form

ROOT = Path(__file__).parents[2]
TASK = {"task": "speck_64", "image_size": 32, "workers": 0}


def run(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MUJOCO", "PYOPENGL"))}
    environment = kept | {"PYTHONPATH": str(ROOT)} | variables
    return subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, check=False)


COLLECT = ("-m", "smidgen.data_collection.collect")
# What a machine without libEGL does.
COLLECT_WITHOUT_EGL = """
import ctypes, sys
load = ctypes.CDLL.__init__
def load_unless_egl(self, name, *args, **kwargs):
    if "EGL" in str(name):
        raise OSError(f"{name}: cannot open shared object file: No such file or directory")
    load(self, name, *args, **kwargs)
ctypes.CDLL.__init__ = load_unless_egl
from smidgen.data_collection.collect import main
sys.exit(main(sys.argv[1:]))
"""


# Those with a wrong number or name only are left to the long form.
CANNOT_DRAW: dict[str, tuple[tuple[str, ...], dict[str, str], str]] = {
    "no such backend": (
        COLLECT,
        {"MUJOCO_GL": "nonsense"},
        "unknown OpenGL backend in MUJOCO_GL 'nonsense'; valid: egl, glx, osmesa",
    ),
    "contradiction": (
        COLLECT,
        {"PYOPENGL_PLATFORM": "nonsense"},
        "contradicts MUJOCO_GL=egl; unset PYOPENGL_PLATFORM",
    ),
    "no library": (("-c", COLLECT_WITHOUT_EGL), {"MUJOCO_GL": "egl"}, "apt-get install -y libegl1"),
    "no driver": (
        COLLECT,
        {"__EGL_VENDOR_LIBRARY_FILENAMES": "/nonexistent"},
        "unset __EGL_VENDOR_LIBRARY_FILENAMES=/nonexistent (/nonexistent does not exist)",
    ),
    "empty id": (
        COLLECT,
        {"MUJOCO_EGL_DEVICE_ID": ""},
        "MUJOCO_EGL_DEVICE_ID='' is not the id of an EGL device; existing",
    ),
    "no such id": (
        COLLECT,
        {"MUJOCO_EGL_DEVICE_ID": "99"},
        "MUJOCO_EGL_DEVICE_ID='99' is not the id of an EGL device; existing",
    ),
    "two ids": (
        COLLECT,
        {"MUJOCO_EGL_DEVICE_ID": "0", "CUDA_VISIBLE_DEVICES": "3"},
        "MUJOCO_EGL_DEVICE_ID=0 is not in CUDA_VISIBLE_DEVICES=3",
    ),
    "no X": (COLLECT, {"MUJOCO_GL": "glx", "DISPLAY": ""}, "DISPLAY is not set"),
}


@pytest.mark.simulator
@pytest.mark.parametrize("machine", long_form(tuple(CANNOT_DRAW), ("contradiction", "no library", "no driver", "no X")))
def test_a_machine_that_cannot_draw_is_named_in_a_line(machine: str, tmp_path: Path) -> None:
    command, variables, message = CANNOT_DRAW[machine]
    arguments = ("task=lift", "episodes=1", "workers=0", "image_size=32", f"out={tmp_path / 'set'}")
    ended = run(*command, *arguments, **variables)
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1), ended.stderr
    assert ended.stderr.startswith("error: ")
    assert message in ended.stderr
    assert not list(tmp_path.rglob("*.json"))


def notice(fault: str) -> str:
    """Breaks a renderer while the arm moves, and gives what is said; empty if an episode would have been kept."""
    from smidgen.envs.errors import PixelError
    from smidgen.envs.selfcheck import check_pixels, confirm_pixels
    from smidgen.envs.tasks import make_env

    env = make_env("lift", image_size=32, observe_pixels=False)
    check_pixels(env)
    env.reset(seed=0)
    target = np.array(env.task.action.low)
    try:
        for step in range(8):
            env.render_frames()
            env.step(target)
            if step == 2:
                FAULTS[fault](env)
        confirm_pixels(env)
    except PixelError as error:
        return str(error)
    finally:
        env.close()
    return ""


@contextlib.contextmanager
def struck(fault: str, owner: Any, method: str, seed: int) -> Iterator[None]:
    """While it lasts, the fault strikes as the episode of a seed begins."""

    play = getattr(owner, method)

    def break_and_play(first: Any, *others: Any) -> Any:
        if seed in others:
            FAULTS[fault](getattr(first, "_env", first))
        return play(first, *others)

    setattr(owner, method, break_and_play)
    try:
        yield
    finally:
        setattr(owner, method, play)


def strike_a_collection(fault: str, out: Path) -> dict[str, Any]:
    """The fault strikes in the second of two episodes; then the same command is run again, with a sound renderer."""
    from smidgen.data_collection.collect import main
    from smidgen.data_collection.collector import Collector, close_collector

    arguments = [f"{key}={value}" for key, value in (TASK | {"episodes": 2, "out": out}).items()]
    with struck(fault, Collector, "_attempt", seed=1):
        code = main(arguments)
    kept = sorted(str(path.relative_to(out)) for path in out.rglob("*.json"))
    close_collector()
    return {"code": code, "kept": kept, "again": main(arguments)}


def strike_an_evaluation(fault: str, out: Path) -> dict[str, Any]:
    """The same for an evaluation that records videos of its episodes."""
    from smidgen.evaluation import items
    from smidgen.evaluation.evaluate import main

    with_videos = {"policy": "expert", "episodes": 2, "videos": 2, "out": out / "results"}
    arguments = [f"{key}={value}" for key, value in (TASK | with_videos).items()]
    with struck(fault, items, "rollout", seed=3_000_001):
        code = main(arguments)
    kept = sorted(path.suffix for path in out.rglob("*.*") if path.is_file() and path.name != ".lock")
    return {"code": code, "kept": kept, "again": main(arguments)}


REASONS = {
    "context destroyed": "returned no pixels",
    "same frame for ever": "the same frame",
    "stale simulation": "the same frame",
    "black frames": "single colour",
    "lost light": "a known state's frame differs",
    "drawing raises": "FatalError",
}
# One for each way of noticing; the long form has every fault.
NOTICED = long_form(tuple(FAULTS), ("context destroyed", "stale simulation", "black frames", "lost light"))
BREAK_RENDERERS = """
import json, sys
from pathlib import Path
from tests.envs.test_lost_pixels import notice, strike_a_collection, strike_an_evaluation
folder = Path(sys.argv[1])
answer = {
    "frozen": strike_a_collection("same frame for ever", folder / "frozen"),
    "darkened": strike_a_collection("lost light", folder / "darkened"),
    "with_videos": strike_an_evaluation("context destroyed", folder / "with_videos"),
    "noticed": {fault: notice(fault) for fault in sys.argv[2:]},
}
print(json.dumps(answer))
"""


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], list[str]]:
    """What a process did whose renderers broke one after the other: its files, its answers, its lines of errors."""
    folder = tmp_path_factory.mktemp("broken")
    ended = run("-c", BREAK_RENDERERS, str(folder), *NOTICED)
    assert ended.returncode == 0, ended.stderr
    lines = [line for line in ended.stderr.splitlines() if not line.startswith(("collecting", "speck_64 expert"))]
    return folder, json.loads(ended.stdout.splitlines()[-1]), lines


@pytest.mark.simulator
def test_every_way_of_breaking_a_renderer_is_noticed(broken) -> None:
    noticed = broken[1]["noticed"]
    assert set(noticed) == set(NOTICED)
    assert all(said.startswith("this process's frames cannot be trusted: ") for said in noticed.values()), noticed
    assert len(FAULTS) == 9
    for fault in {*REASONS} & {*NOTICED}:
        assert REASONS[fault] in noticed[fault], fault


@pytest.mark.simulator
def test_a_collection_drops_the_episode_under_way_and_keeps_what_was_finished(broken) -> None:
    folder, answer, errors = broken
    for name in ("frozen", "darkened"):
        assert answer[name] == {"code": 2, "kept": ["episodes/000000000/episode.json"], "again": 0}, name
    assert len(errors) == 3, errors
    assert all(line.startswith("error: this process's frames cannot be trusted") for line in errors), errors
    first, second = (
        {path.relative_to(folder / name): path.read_bytes() for path in (folder / name / "episodes").rglob("*.*")}
        for name in ("frozen", "darkened")
    )
    assert first == second, "run again, both are what they would have been"
    assert len(first) == 8


@pytest.mark.simulator
def test_an_evaluation_drops_the_episode_under_way_and_keeps_what_was_finished(broken) -> None:
    folder, answer, _ = broken
    assert answer["with_videos"] == {"code": 2, "kept": [".json", ".mp4"], "again": 0}
    record = json.loads((folder / "with_videos" / "results" / "speck_64-expert.json").read_text())
    assert record["success"]["n"] == 2
    assert record["errors"] == {"policy_error": 0, "simulator_error": 0}
