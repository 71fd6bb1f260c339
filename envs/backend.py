"""Chooses the OpenGL backend and tames the simulator's imports; runs before anything imports MuJoCo or robosuite.

robosuite compiles numba functions on first use. When that happens while an EGL context on llvmpipe exists, every later
frame of the process is garbage (mujoco 3.8, numba 0.68), so a fresh machine's first process would record rubbish.
Compilation is switched off: our control loop does not use those functions, and what is left of them runs once a reset.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator

DEFAULT_BACKEND = "egl"
# robosuite overwrites any other value on import.
BACKENDS = ("egl", "osmesa", "glx")


def choose_backend() -> str:
    """Fixes ``MUJOCO_GL`` and switches numba's compiler off, for this process and its children.

    Returns:
        The backend's name.
    """
    if os.environ.get("MUJOCO_GL", "").lower() not in BACKENDS:
        os.environ["MUJOCO_GL"] = DEFAULT_BACKEND
    os.environ["NUMBA_DISABLE_JIT"] = "1"
    if "numba" in sys.modules:
        # The variable is read at numba's import; whoever imported it before us gets the setting this way.
        sys.modules["numba"].config.DISABLE_JIT = 1
    return os.environ["MUJOCO_GL"]


@contextlib.contextmanager
def quiet_robosuite() -> Iterator[None]:
    """Keeps robosuite's notes on macros and controller files off the user's terminal."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
