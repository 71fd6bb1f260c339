"""Notices a fork of a process that has drawn, and refuses to draw in the child. Imports no simulator.

A software rasteriser draws with threads, and some drivers too. A fork copies their locks without them, so whatever
OpenGL is asked in a forked child of a process that has drawn may wait for ever, also after every context was closed.
"""

from __future__ import annotations

import atexit
import os
import sys
from typing import Any

from smidgen.runtime.errors import UserError


class ForkedDrawing(UserError):
    """Drawing was asked for in a forked child of a process that has drawn."""


class Drawing:
    """What this process, or the one that it was forked from, has done with OpenGL."""

    has_begun = False
    was_forked = False
    # A forked child must not give back what only its parent can; nothing here is ever finalised.
    kept: list[Any] = []  # noqa: RUF012  (one per process)


def _mark_forked() -> None:
    """Runs in a forked child: notes that OpenGL is of no use here, and keeps exit handlers from calling it."""
    displays = [sys.modules.get(name) for name in ("mujoco.egl", "robosuite.renderers.context.egl_context")]
    opened = [module for module in displays if module is not None and getattr(module, "EGL_DISPLAY", None) is not None]
    if not (Drawing.has_begun or opened):
        return
    Drawing.was_forked = True
    for module in opened:
        atexit.unregister(module.EGL.eglTerminate)


os.register_at_fork(after_in_child=_mark_forked)


def require_own_process() -> None:
    """Refuses to draw where drawing would hang.

    Raises:
        ForkedDrawing: In a forked child of a process that has drawn.
    """
    if Drawing.was_forked:
        raise ForkedDrawing(
            "this process was forked from one that has drawn already, and drawing here would hang; start it with "
            'context="spawn": make_vec(..., vector_kwargs={"context": "spawn"}), '
            'multiprocessing.get_context("spawn"), DataLoader(..., multiprocessing_context="spawn")'
        )
