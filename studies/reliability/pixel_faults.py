"""Ways in which a renderer breaks in the middle of a run, done to a real one: what the watch's figures rest on.

The first five happen to the OpenGL context itself, the others to what it hands back.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from smidgen.envs.rendering import FrameRenderer
from smidgen.envs.robosuite_env import RobosuiteEnv
from smidgen.envs.tasks import make_env


def lose_context(env: RobosuiteEnv) -> None:
    """The context is destroyed under the process's hands."""
    env._frame_renderer()._gl.free()


def release_context(env: RobosuiteEnv) -> None:
    """No context is current any more, and making it current does nothing."""
    gl = env._frame_renderer()._gl
    _make_nothing_current()
    gl.make_current = lambda: None


def switch_context(env: RobosuiteEnv) -> None:
    """Another task's context is current, and stays so: nobody makes one's own current before drawing."""
    other = make_env("wipe" if env.task.name != "wipe" else "door", observe_pixels=False)
    other.reset(seed=1)
    other.render_frames()
    renderer: Any = env._frame_renderer()
    renderer._gl.make_current = other._frame_renderer()._gl.make_current
    # A context that is freed is no longer current, which is another fault: this one stays as long as who draws into it.
    weakref.finalize(renderer, other.close)


def terminate_display(env: RobosuiteEnv) -> None:
    """The driver's connection ends; the context that is current would live on until another one had been current."""
    from mujoco import egl

    egl.EGL.eglTerminate(egl.EGL_DISPLAY)
    egl.EGL.eglReleaseThread()
    # Whoever makes a context after this opens a connection of its own.
    egl.EGL_DISPLAY = None


def fail_to_draw(env: RobosuiteEnv) -> None:
    """The driver raises."""
    # Imported here: smidgen.envs chooses the backend before anything imports MuJoCo.
    import mujoco

    def draw() -> np.ndarray:
        raise mujoco.FatalError("out of memory")

    _replace_drawing(env, lambda _: draw())


def _make_nothing_current() -> None:
    from mujoco import egl

    nothing = egl.EGL.EGL_NO_SURFACE
    egl.EGL.eglMakeCurrent(egl.EGL_DISPLAY, nothing, nothing, egl.EGL.EGL_NO_CONTEXT)


def freeze(env: RobosuiteEnv) -> None:
    """Every frame is the last good one."""
    last = env._frame_renderer()._draw()
    _replace_drawing(env, lambda _: last.copy())


def draw_a_stale_state(env: RobosuiteEnv) -> None:
    """The renderer goes on drawing a copy of the simulation that nobody steps."""
    renderer = env._frame_renderer()
    renderer._data = copy.copy(renderer._data)


def blacken(env: RobosuiteEnv) -> None:
    """Every frame is black."""
    _replace_drawing(env, np.zeros_like)


def darken(env: RobosuiteEnv) -> None:
    """A light is lost: every frame follows the arm, in other colours."""
    _replace_drawing(env, lambda frames: frames // 2)


def _replace_drawing(env: RobosuiteEnv, change: Callable[[np.ndarray], np.ndarray]) -> None:
    renderer: Any = env._frame_renderer()
    draw = FrameRenderer._draw
    renderer._draw = lambda: change(draw(renderer))


FAULTS: dict[str, Callable[[RobosuiteEnv], None]] = {
    "context destroyed": lose_context,
    "no context current": release_context,
    "another context current": switch_context,
    "display terminated": terminate_display,
    "drawing raises": fail_to_draw,
    "same frame for ever": freeze,
    "stale simulation": draw_a_stale_state,
    "black frames": blacken,
    "lost light": darken,
}
