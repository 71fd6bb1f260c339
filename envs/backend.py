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

from smidgen.runtime.errors import UserError, unknown_name

DEFAULT_BACKEND = "egl"
# robosuite overwrites any other value on import.
BACKENDS = ("egl", "osmesa", "glx")
GRAPHICS_FIX = "apt-get install -y libegl1 libgl1-mesa-dri (or a driver's EGL), or set MUJOCO_GL=osmesa with libosmesa6"


def choose_backend() -> str:
    """Fixes ``MUJOCO_GL`` and switches numba's compiler off, for this process and its children.

    Returns:
        The backend's name; :func:`simulator_imports` refuses one that there is not.
    """
    os.environ["MUJOCO_GL"] = os.environ.get("MUJOCO_GL", "").strip().lower() or DEFAULT_BACKEND
    os.environ["NUMBA_DISABLE_JIT"] = "1"
    if "numba" in sys.modules:
        # The variable is read at numba's import; whoever imported it before us gets the setting this way.
        sys.modules["numba"].config.DISABLE_JIT = 1
    return os.environ["MUJOCO_GL"]


@contextlib.contextmanager
def simulator_imports() -> Iterator[None]:
    """Turns whatever keeps MuJoCo and robosuite from loading into one line with the fix.

    Raises:
        UserError: If ``MUJOCO_GL`` names no backend, contradicts ``PYOPENGL_PLATFORM``, or its library is missing or
            broken.
    """
    backend = choose_backend()
    if backend not in BACKENDS:
        raise unknown_name("OpenGL backend in MUJOCO_GL", backend, BACKENDS)
    platform = os.environ.get("PYOPENGL_PLATFORM", "").lower()
    if platform and backend != "glx" and platform != backend:
        raise UserError(f"PYOPENGL_PLATFORM={platform} does not go with MUJOCO_GL={backend}; unset PYOPENGL_PLATFORM")
    try:
        yield
    except ModuleNotFoundError as error:
        raise UserError(f"the simulator is not installed ({error}); run make setup") from error
    except UserError:
        raise
    except Exception as error:  # a missing or broken library shows as whatever its loader raises
        raise UserError(
            f"MUJOCO_GL={backend} cannot be loaded ({type(error).__name__}: {error}); {GRAPHICS_FIX}"
        ) from error


@contextlib.contextmanager
def quiet_robosuite() -> Iterator[None]:
    """Keeps robosuite's notes on macros and controller files off the user's terminal."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
