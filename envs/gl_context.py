"""The OpenGL context that a renderer draws in: how it is opened and closed, and which process and thread may use it."""

from __future__ import annotations

import contextlib
import os
import threading
import warnings
from collections.abc import Iterator

import mujoco

from smidgen.envs.forked_drawing import Drawing, require_own_process
from smidgen.envs.graphics_diagnosis import GraphicsError, cannot_draw
from smidgen.runtime.errors import UserError
from smidgen.runtime.worker_process import end_with_parent_process


class WrongThread(UserError):
    """Drawing was asked for in another thread than the one that the context belongs to."""


def open_gl(model: mujoco.MjModel, width: int, height: int) -> tuple[mujoco.GLContext, mujoco.MjrContext]:
    """Opens an off-screen context, current in this thread, and uploads a model's meshes and textures.

    Raises:
        ForkedDrawing: In a forked child of a process that has drawn.
        GraphicsError: If no context can be made; the message names the variable or package at fault.
    """
    require_own_process()
    end_with_parent_process()
    Drawing.has_begun = True
    try:
        # One that cannot be made is finalised all the same, and would complain below our message that it lacks this.
        mujoco.GLContext._context = None
        with warnings.catch_warnings():
            # GLFW raises nothing: it warns.
            warnings.filterwarnings("error", module="glfw")
            gl = mujoco.GLContext(width, height)
        gl.make_current()
        # No frame shows text, and the smallest fonts are uploaded in half the time of the usual ones.
        return gl, mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_50)
    except Exception as error:  # MuJoCo, PyOpenGL, GLFW and a driver each raise their own
        backend = os.environ.get("MUJOCO_GL", "")
        if (loaded := mujoco.GLContext.__module__.rpartition(".")[2]) != backend and {loaded, backend} != {
            "glfw",
            "glx",
        }:
            raise GraphicsError(
                f"MuJoCo was imported before smidgen.envs and draws with {loaded}, which fails ({error})",
                f"import smidgen.envs first, or set MUJOCO_GL={backend} before Python starts",
            ) from error
        raise cannot_draw(backend, f"no OpenGL context could be made with MUJOCO_GL={backend} ({error})") from error


def close_gl(gl: mujoco.GLContext, context: mujoco.MjrContext) -> None:
    """Gives a context back; one that is lost, or belongs to a process that this one was forked from, is left alone."""
    if Drawing.was_forked:
        Drawing.kept.append((gl, context))
        return
    try:
        gl.make_current()
        context.free()
        gl.free()
    except Exception:  # a lost context was named when it drew, and has nothing left to give back
        # Without it, MuJoCo's own finaliser would try once more and complain below our message.
        gl._context = None


@contextlib.contextmanager
def owning_thread(thread: threading.Thread) -> Iterator[None]:
    """Names the thread where drawing fails because the context belongs to another.

    Args:
        thread: The one that opened the context.

    Raises:
        WrongThread: If drawing fails in another thread.
    """
    try:
        yield
    except Exception as error:
        here = threading.current_thread()
        if here is thread:
            raise
        raise WrongThread(
            f"this environment has drawn in thread {thread.name!r}, and cannot draw in thread {here.name!r}: an OpenGL "
            "context belongs to one thread; make and use each environment in one thread"
        ) from error
