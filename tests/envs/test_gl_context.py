"""Which processes and threads may draw; each case in an interpreter of its own: OpenGL marks a process for life."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIMIT_S = 200
pytestmark = pytest.mark.simulator

HEAD = """
import multiprocessing, os, sys, threading, time
import gymnasium, numpy as np
ID = "smidgen.envs:smidgen/Lift-v0"

def drawn():
    env = gymnasium.make(ID, image_size=32)
    env.reset(seed=0)
    env.render()
    return env

def vector(context, **kwargs):
    return gymnasium.make_vec(ID, num_envs=2, vectorization_mode="async", vector_kwargs={"context": context}, **kwargs)

def draw_in_child(queue, env=None):
    try:
        env = env or gymnasium.make(ID, image_size=32)
        queue.put(str(env.reset(seed=0)[0]["agentview_image"].shape))
    except Exception as error:
        queue.put(f"{type(error).__name__}: {error}")

def answer_of_child(context, *args):
    queue = multiprocessing.get_context(context).Queue()
    child = multiprocessing.get_context(context).Process(target=draw_in_child, args=(queue, *args))
    child.start()
    print(queue.get(timeout=100))
    child.join(100)
    print("ended", child.exitcode)

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


@pytest.mark.parametrize("closed", [False, True])
def test_a_forked_vector_of_environments_says_at_once_that_it_cannot_draw(tmp_path: Path, closed: bool) -> None:
    body = f"""
    env = drawn()
    if {closed}:
        env.close()
    vector("fork").reset(seed=0)
    """
    ended = run(tmp_path, body)
    assert ended.returncode == 1
    last_line = ended.stderr.strip().splitlines()[-1]
    assert "ForkedDrawing" in last_line
    assert 'context="spawn"' in last_line


@pytest.mark.parametrize("start_method", ["fork", "spawn", "forkserver"])
def test_a_child_draws_unless_it_is_forked(tmp_path: Path, start_method: str) -> None:
    ended = run(tmp_path, f"env = drawn()\nanswer_of_child({start_method!r})")
    answer, exit_code = ended.stdout.splitlines()
    assert exit_code == "ended 0"
    assert ("ForkedDrawing: " in answer) == (start_method == "fork")
    assert (answer == "(32, 32, 3)") == (start_method != "fork")


def test_an_environment_that_is_taken_through_a_fork_says_so_and_the_parent_goes_on(tmp_path: Path) -> None:
    ended = run(tmp_path, 'env = drawn()\nanswer_of_child("fork", env)\nenv.close()\nprint(drawn().render().shape)')
    answer, exit_code, shape = ended.stdout.splitlines()
    assert "ForkedDrawing: " in answer
    assert (exit_code, shape) == ("ended 0", "(32, 32, 3)")


def test_other_drawing_of_this_process_counts_too(tmp_path: Path) -> None:
    ended = run(
        tmp_path,
        'import smidgen.envs, mujoco\ngl = mujoco.GLContext(32, 32)\ngl.make_current()\nanswer_of_child("fork")',
    )
    assert "ForkedDrawing: " in ended.stdout


def test_a_simulator_that_was_imported_first_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MUJOCO_GL", "DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    last_line = run(tmp_path, "import mujoco\ndrawn()").stderr.strip().splitlines()[-1]
    assert "MuJoCo was imported before smidgen.envs and draws with glfw" in last_line
    assert "set MUJOCO_GL=egl before Python starts" in last_line


def test_a_child_forked_before_the_first_frame_draws(tmp_path: Path) -> None:
    ended = run(tmp_path, "environments = vector('fork', image_size=32)\nprint(environments.reset(seed=0)[0].keys())")
    assert "agentview_image" in ended.stdout, ended.stderr


def test_a_forked_child_of_a_process_that_has_drawn_ends(tmp_path: Path) -> None:
    """Exit handlers and finalisers of the parent's contexts would hang there as drawing does."""
    body = """
    env = drawn()
    if os.fork() == 0:
        del env
        sys.exit(0)
    print(os.wait()[1])
    """
    assert run(tmp_path, body).stdout == "0\n"


@pytest.mark.parametrize("context", ["spawn", "forkserver", "fork"])
def test_vectors_of_environments_end_with_their_parent(tmp_path: Path, context: str) -> None:
    body = f"""
    environments = vector({context!r}, image_size=32)
    environments.reset(seed=0)
    print(*(process.pid for process in environments.processes), flush=True)
    time.sleep(1000)
    """
    with subprocess.Popen(script(tmp_path, body), stdout=subprocess.PIPE, text=True, cwd=ROOT) as parent:
        assert parent.stdout is not None
        children = [int(word) for word in parent.stdout.readline().split()]
        assert len(children) == 2
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


def test_another_thread_is_named(tmp_path: Path) -> None:
    body = """
    env = drawn()

    def elsewhere():
        for use in (env.reset, env.render, env.unwrapped.renderer_name):
            try:
                use()
            except Exception as error:
                print(f"{type(error).__name__}: {error}")

    other = threading.Thread(target=elsewhere, name="loader")
    other.start()
    other.join()
    print(env.render().shape)
    """
    *lines, last = run(tmp_path, body).stdout.splitlines()
    assert len(lines) == 3
    for line in lines:
        assert line.startswith("WrongThread: ")
        assert "thread 'MainThread'" in line
        assert "thread 'loader'" in line
    assert last == "(32, 32, 3)"


def test_an_environment_that_first_draws_in_another_thread_belongs_there(tmp_path: Path) -> None:
    body = """
    env = gymnasium.make(ID, image_size=32)
    other = threading.Thread(target=lambda: print(env.reset(seed=0)[0]["agentview_image"].shape, flush=True))
    other.start()
    other.join()
    """
    ended = run(tmp_path, body)
    assert (ended.returncode, ended.stdout) == (0, "(32, 32, 3)\n"), ended.stderr
