"""Chooses the OpenGL backend, tames the simulator's imports, and watches for forks, after which nothing can be drawn.

Runs before anything imports MuJoCo or robosuite.

robosuite compiles numba functions on first use. When that happens while an EGL context on llvmpipe exists, every later
frame of the process is garbage (mujoco 3.8, numba 0.68), so a fresh machine's first process would record garbage.
Compilation is switched off: our control loop does not use those functions, and the rest runs only once a reset.

Software rasterisers and some drivers use threads. A fork copies their locks but not the threads, so any OpenGL call in
a forked child of a process that has rendered may hang, even after every context was closed.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from typing import Any

from smidgen.envs.graphics_diagnosis import cannot_draw, require_consistent_variables
from smidgen.runtime.errors import UserError

DEFAULT_BACKEND = "egl"


def choose_backend() -> str:
    """Sets ``MUJOCO_GL`` and switches numba's compiler off, for this process and its children.

    Returns:
        The backend's name; :func:`simulator_imports` refuses unknown ones.
    """
    os.environ["MUJOCO_GL"] = os.environ.get("MUJOCO_GL", "").strip().lower() or DEFAULT_BACKEND
    os.environ["NUMBA_DISABLE_JIT"] = "1"
    if "numba" in sys.modules:
        # numba reads the variable on import; this covers the case that it was imported before.
        sys.modules["numba"].config.DISABLE_JIT = 1
    return os.environ["MUJOCO_GL"]


@contextlib.contextmanager
def simulator_imports() -> Iterator[None]:
    """Turns any failure to load MuJoCo and robosuite into one line with the fix.

    Raises:
        UserError: If a variable names a backend or device that does not exist or contradicts another, or the
            backend's library is missing or broken.
    """
    backend = choose_backend()
    require_consistent_variables(backend)
    try:
        yield
    except ModuleNotFoundError as error:
        raise UserError(f"the simulator is not installed ({error}); run make setup") from error
    except UserError:
        raise
    except Exception as error:  # a missing or broken library can raise anything
        raise cannot_draw(backend, f"MUJOCO_GL={backend} cannot be loaded ({type(error).__name__}: {error})") from error


@contextlib.contextmanager
def quiet_robosuite() -> Iterator[None]:
    """Suppresses robosuite's log messages about macros and controller files."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


class ForkedDrawing(UserError):
    """Rendering was attempted in a forked child of a process that has rendered."""


class Drawing:
    """The OpenGL state of this process, or of the one that it was forked from."""

    has_begun = False
    was_forked = False
    # A forked child must not release its parent's contexts; nothing in this list is ever finalised.
    kept: list[Any] = []  # noqa: RUF012  (one per process)


def _mark_forked() -> None:
    """Runs in a forked child: records that OpenGL is unusable here, and keeps exit handlers from calling it."""
    displays = [sys.modules.get(name) for name in ("mujoco.egl", "robosuite.renderers.context.egl_context")]
    opened = [module for module in displays if module is not None and getattr(module, "EGL_DISPLAY", None) is not None]
    if not (Drawing.has_begun or opened):
        return
    Drawing.was_forked = True
    for module in opened:
        atexit.unregister(module.EGL.eglTerminate)


os.register_at_fork(after_in_child=_mark_forked)


def require_own_process() -> None:
    """Refuses to render where rendering would hang.

    Raises:
        ForkedDrawing: In a forked child of a process that has drawn.
    """
    if Drawing.was_forked:
        raise ForkedDrawing(
            "this process was forked from one that has rendered, so rendering here would hang; start it with "
            'context="spawn": make_vec(..., vector_kwargs={"context": "spawn"}), '
            'multiprocessing.get_context("spawn"), DataLoader(..., multiprocessing_context="spawn")'
        )
