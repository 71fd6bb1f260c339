"""Which processes and threads may draw, in interpreters of their own: OpenGL marks a process for life."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from tests.long_form import long_form

ROOT = Path(__file__).parents[2]
LIMIT_S = 200
# A fork server's children are new to OpenGL as spawned ones are.
METHODS = long_form(("fork", "spawn", "forkserver"), ("fork", "spawn"))
pytestmark = pytest.mark.simulator

HEAD = """
import json, multiprocessing, os, sys, threading, time
import gymnasium, numpy as np
ID = "smidgen.envs:smidgen/Lift-v0"

def drawn():
    env = gymnasium.make(ID, image_size=32)
    env.reset(seed=0)
    env.render()
    return env

def vector(context, num_envs=2, **kwargs):
    return gymnasium.make_vec(
        ID, num_envs=num_envs, vectorization_mode="async", vector_kwargs={"context": context}, **kwargs
    )

def answer(use):
    try:
        return str(use())
    except Exception as error:
        return f"{type(error).__name__}: {error}"

def first_frame(env=None):
    env = env or gymnasium.make(ID, image_size=32)
    return env.reset(seed=0)[0]["agentview_image"].shape

def draw_in_child(queue, env=None):
    queue.put(answer(lambda: first_frame(env)))

def answer_of_child(context, *args):
    queue = multiprocessing.get_context(context).Queue()
    child = multiprocessing.get_context(context).Process(target=draw_in_child, args=(queue, *args))
    child.start()
    said = queue.get(timeout=100)
    child.join(100)
    return said, child.exitcode

if __name__ == "__main__":
"""


def script(tmp_path: Path, body: str) -> list[str]:
    path = tmp_path / "script.py"
    path.write_text(HEAD + textwrap.indent(textwrap.dedent(body), "    "))
    return [sys.executable, "-W", "ignore", str(path)]


def run(tmp_path: Path, body: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        script(tmp_path, body), capture_output=True, text=True, check=False, timeout=LIMIT_S, cwd=ROOT
    )


# No case changes what the others find. The error of the last, after every environment was closed, is not caught.
AFTER_DRAWING = """
env = drawn()
said = {f"child by {method}": answer_of_child(method) for method in METHODS}
said["environment taken through a fork"] = answer_of_child("fork", env)
if os.fork() == 0:
    del env
    sys.exit(0)
said["exit code of a forked child"] = os.wait()[1]

def elsewhere():
    uses = (env.reset, env.render, env.unwrapped.renderer_name)
    said["in another thread"] = [answer(use) for use in uses]

other = threading.Thread(target=elsewhere, name="loader")
other.start()
other.join()
said["forked vector"] = answer(lambda: vector("fork").reset(seed=0))
said["here"] = str(env.render().shape)
env.close()
again = drawn()
said["after closing"] = str(again.render().shape)
again.close()
print(json.dumps(said))
vector("fork").reset(seed=0)
"""


Answers = tuple[dict[str, Any], subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def after_drawing(tmp_path_factory: pytest.TempPathFactory) -> Answers:
    """What children, threads and vectors answer once a process has drawn, and how that process ended."""
    ended = run(tmp_path_factory.mktemp("drawing"), f"METHODS = {METHODS}\n{AFTER_DRAWING}")
    return json.loads(ended.stdout), ended


def test_a_process_that_has_drawn_goes_on_drawing(after_drawing: Answers) -> None:
    assert after_drawing[0]["here"] == after_drawing[0]["after closing"] == "(32, 32, 3)"


def test_a_forked_vector_of_environments_says_at_once_that_it_cannot_draw(after_drawing: Answers) -> None:
    said, ended = after_drawing
    assert ended.returncode == 1
    last_line = ended.stderr.strip().splitlines()[-1]
    for line in (said["forked vector"], last_line):
        assert "ForkedDrawing" in line
        assert 'context="spawn"' in line


@pytest.mark.parametrize("start_method", METHODS)
def test_a_child_draws_unless_it_is_forked(start_method: str, after_drawing: Answers) -> None:
    answer, exit_code = after_drawing[0][f"child by {start_method}"]
    assert exit_code == 0
    assert answer.startswith("ForkedDrawing: ") if start_method == "fork" else answer == "(32, 32, 3)"


def test_an_environment_that_is_taken_through_a_fork_says_so(after_drawing: Answers) -> None:
    answer, exit_code = after_drawing[0]["environment taken through a fork"]
    assert answer.startswith("ForkedDrawing: ")
    assert exit_code == 0


def test_a_forked_child_of_a_process_that_has_drawn_ends(after_drawing: Answers) -> None:
    """Exit handlers and finalisers of the parent's contexts would hang there as drawing does."""
    assert after_drawing[0]["exit code of a forked child"] == 0


def test_another_thread_is_named(after_drawing: Answers) -> None:
    answers = after_drawing[0]["in another thread"]
    assert len(answers) == 3
    for answer in answers:
        assert answer.startswith("WrongThread: ")
        assert "thread 'MainThread'" in answer
        assert "thread 'loader'" in answer


def test_other_drawing_of_this_process_counts_too(tmp_path: Path) -> None:
    ended = run(
        tmp_path,
        'import smidgen.envs, mujoco\ngl = mujoco.GLContext(32, 32)\ngl.make_current()\nprint(answer_of_child("fork"))',
    )
    assert "ForkedDrawing: " in ended.stdout


def test_a_simulator_that_was_imported_first_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MUJOCO_GL", "DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    last_line = run(tmp_path, "import mujoco\ndrawn()").stderr.strip().splitlines()[-1]
    assert "MuJoCo was imported before smidgen.envs and renders with glfw" in last_line
    assert "set MUJOCO_GL=egl before Python starts" in last_line


def test_a_child_forked_before_the_first_frame_draws(tmp_path: Path) -> None:
    ended = run(
        tmp_path, "environments = vector('fork', 1, image_size=32)\nprint(environments.reset(seed=0)[0].keys())"
    )
    assert "agentview_image" in ended.stdout, ended.stderr


def test_vectors_of_environments_end_with_their_parent(tmp_path: Path) -> None:
    body = """
    vectors = [vector(context, num_envs=1, image_size=32) for context in METHODS]
    for each in vectors:
        each.reset(seed=0)
    print(*(process.pid for each in vectors for process in each.processes), flush=True)
    time.sleep(1000)
    """
    body = f"METHODS = {METHODS}\n{textwrap.dedent(body)}"
    with subprocess.Popen(script(tmp_path, body), stdout=subprocess.PIPE, text=True, cwd=ROOT) as parent:
        assert parent.stdout is not None
        children = [int(word) for word in parent.stdout.readline().split()]
        assert len(children) == len(METHODS)
        # A stopped child ends once it goes on; this one is at work.
        parent.kill()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and any(map(is_running, children)):
        time.sleep(0.1)
    left = [child for child in children if is_running(child)]
    for child in left:
        os.kill(child, signal.SIGKILL)
    assert not left


def is_running(process_id: int) -> bool:
    try:
        state = Path(f"/proc/{process_id}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"


def test_an_environment_that_first_draws_in_another_thread_belongs_there(tmp_path: Path) -> None:
    body = """
    env = gymnasium.make(ID, image_size=32)
    other = threading.Thread(target=lambda: print(env.reset(seed=0)[0]["agentview_image"].shape, flush=True))
    other.start()
    other.join()
    """
    ended = run(tmp_path, body)
    assert (ended.returncode, ended.stdout) == (0, "(32, 32, 3)\n"), ended.stderr
