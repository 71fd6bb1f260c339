"""The OpenGL context that a renderer draws in: how it is opened and closed, and which process and thread may use it.

A software rasteriser draws with threads, and some drivers too. A fork copies their locks without them, so whatever
OpenGL is asked in a forked child of a process that has drawn may wait for ever, also after every context was closed.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import mujoco

from smidgen.envs.graphics_cure import GraphicsError, cannot_draw
from smidgen.runtime.errors import UserError
from smidgen.runtime.worker_process import end_with_parent_process


class ForkedDrawing(UserError):
    """Drawing was asked for in a forked child of a process that has drawn."""


class WrongThread(UserError):
    """Drawing was asked for in another thread than the one that the context belongs to."""


class _Drawing:
    """What this process, or the one that it was forked from, has done with OpenGL."""

    has_begun = False
    was_forked = False
    # A forked child must not give back what only its parent can; nothing here is ever finalised.
    kept: list[Any] = []  # noqa: RUF012  (one per process)


def _mark_forked() -> None:
    """Runs in a forked child: notes that OpenGL is of no use here, and keeps exit handlers from calling it."""
    displays = [sys.modules.get(name) for name in ("mujoco.egl", "robosuite.renderers.context.egl_context")]
    opened = [module for module in displays if module is not None and getattr(module, "EGL_DISPLAY", None) is not None]
    if not (_Drawing.has_begun or opened):
        return
    _Drawing.was_forked = True
    for module in opened:
        atexit.unregister(module.EGL.eglTerminate)


os.register_at_fork(after_in_child=_mark_forked)


def require_own_process() -> None:
    """Refuses to draw where drawing would hang.

    Raises:
        ForkedDrawing: In a forked child of a process that has drawn.
    """
    if _Drawing.was_forked:
        raise ForkedDrawing(
            "this process was forked from one that has drawn already, and drawing here would hang; start it with "
            'context="spawn": make_vec(..., vector_kwargs={"context": "spawn"}), '
            'multiprocessing.get_context("spawn"), DataLoader(..., multiprocessing_context="spawn")'
        )


def open_gl(model: mujoco.MjModel, width: int, height: int) -> tuple[mujoco.GLContext, mujoco.MjrContext]:
    """Opens an off-screen context, current in this thread, and uploads a model's meshes and textures.

    Raises:
        ForkedDrawing: In a forked child of a process that has drawn.
        GraphicsError: If no context can be made; the message names the variable or package at fault.
    """
    require_own_process()
    end_with_parent_process()
    _Drawing.has_begun = True
    try:
        # One that cannot be made is finalised all the same, and would complain below our message that it lacks this.
        mujoco.GLContext._context = None
        with warnings.catch_warnings():
            # GLFW raises nothing: it warns.
            warnings.filterwarnings("error", module="glfw")
            gl = mujoco.GLContext(width, height)
        gl.make_current()
        return gl, mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
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
    if _Drawing.was_forked:
        _Drawing.kept.append((gl, context))
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
