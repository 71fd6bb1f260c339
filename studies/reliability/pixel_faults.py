"""Renderer faults injected in the middle of a run: the detection figures of the pixel watch are measured with them.

The first five affect the OpenGL context, the others the frames that it returns.
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
    """The context is destroyed while in use."""
    env._frame_renderer()._gl.free()


def release_context(env: RobosuiteEnv) -> None:
    """No context is current, and making one current has no effect."""
    gl = env._frame_renderer()._gl
    _make_nothing_current()
    gl.make_current = lambda: None


def switch_context(env: RobosuiteEnv) -> None:
    """Another task's context is current and stays so: the environment does not make its own current before drawing."""
    other = make_env("wipe" if env.task.name != "wipe" else "door", observe_pixels=False)
    other.reset(seed=1)
    other.render_frames()
    renderer: Any = env._frame_renderer()
    renderer._gl.make_current = other._frame_renderer()._gl.make_current
    # A freed context is no longer current, which is another fault; so this one is kept alive with the environment.
    weakref.finalize(renderer, other.close)


def terminate_display(env: RobosuiteEnv) -> None:
    """The driver's connection ends; the current context would otherwise survive until another one is made current."""
    from mujoco import egl

    egl.EGL.eglTerminate(egl.EGL_DISPLAY)
    egl.EGL.eglReleaseThread()
    # A context created after this opens its own connection.
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
    """Every frame repeats the last good one."""
    last = env._frame_renderer()._draw()
    _replace_drawing(env, lambda _: last.copy())


def draw_a_stale_state(env: RobosuiteEnv) -> None:
    """The renderer keeps drawing a copy of the simulation that is never stepped."""
    renderer = env._frame_renderer()
    renderer._data = copy.copy(renderer._data)


def blacken(env: RobosuiteEnv) -> None:
    """Every frame is black."""
    _replace_drawing(env, np.zeros_like)


def darken(env: RobosuiteEnv) -> None:
    """A light fails: frames still follow the arm, in other colours."""
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
