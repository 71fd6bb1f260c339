"""Explains why a machine cannot render: the environment variable at fault and its valid values, or a missing package.

MuJoCo reads ``MUJOCO_GL`` and ``MUJOCO_EGL_DEVICE_ID``, robosuite compares the latter with ``CUDA_VISIBLE_DEVICES`` on
import, PyOpenGL reads ``PYOPENGL_PLATFORM``, and the others control the loaders of libglvnd and Mesa.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from smidgen.runtime.errors import UserError, unknown_name

# robosuite overwrites any other value on import.
BACKENDS = ("egl", "osmesa", "glx")
_PACKAGES = {
    "egl": "apt-get install -y libegl1 libgl1-mesa-dri (or a driver's EGL), or set MUJOCO_GL=osmesa with libosmesa6",
    "osmesa": "apt-get install -y libosmesa6, or set MUJOCO_GL=egl",
}
_DEVICE = "MUJOCO_EGL_DEVICE_ID"
_VISIBLE = "CUDA_VISIBLE_DEVICES"
# Each can point the loaders at a missing driver, or restrict a driver to less than MuJoCo needs.
_DRIVER_VARIABLES = (
    "__EGL_VENDOR_LIBRARY_FILENAMES",
    "__EGL_VENDOR_LIBRARY_DIRS",
    "__GLX_VENDOR_LIBRARY_NAME",
    "EGL_PLATFORM",
    "GALLIUM_DRIVER",
    "GBM_BACKENDS_PATH",
    "LIBGL_ALWAYS_SOFTWARE",
    "LIBGL_DRIVERS_PATH",
    "MESA_EXTENSION_OVERRIDE",
    "MESA_GL_VERSION_OVERRIDE",
    "MESA_GLSL_VERSION_OVERRIDE",
    "MESA_LOADER_DRIVER_OVERRIDE",
)


class GraphicsError(UserError):
    """This machine cannot render in its current set-up.

    Args:
        found: What is wrong.
        fix: What to do; empty if ``found`` already says it.
    """

    def __init__(self, found: str, fix: str = "") -> None:
        super().__init__(found, fix)
        self.found, self.fix = found, fix

    def __str__(self) -> str:
        return f"{self.found}; {self.fix}" if self.fix else self.found


def require_consistent_variables(backend: str) -> None:
    """Checks the variables that MuJoCo and robosuite read, before they do.

    Args:
        backend: What ``MUJOCO_GL`` says.

    Raises:
        UserError: If ``backend`` does not exist or contradicts ``PYOPENGL_PLATFORM``, or if ``MUJOCO_EGL_DEVICE_ID``
            names no device or contradicts ``CUDA_VISIBLE_DEVICES``.
    """
    if backend not in BACKENDS:
        raise unknown_name("OpenGL backend in MUJOCO_GL", backend, BACKENDS)
    platform = os.environ.get("PYOPENGL_PLATFORM", "").lower()
    if platform and backend != "glx" and platform != backend:
        raise GraphicsError(f"PYOPENGL_PLATFORM={platform} contradicts MUJOCO_GL={backend}", "unset PYOPENGL_PLATFORM")
    if _DEVICE not in os.environ:
        return
    if backend == "egl":
        _require_existing_device(os.environ[_DEVICE])
    _require_visible_device(backend, os.environ[_DEVICE], os.environ.get(_VISIBLE, ""))


def _require_existing_device(chosen: str) -> None:
    count = num_egl_devices()
    try:
        exists = 0 <= int(chosen) < (sys.maxsize if count is None else count)
    except ValueError:
        exists = False
    # Without any device, the id is not the problem.
    if exists or count == 0:
        return
    raise GraphicsError(
        f"{_DEVICE}={chosen!r} is not the id of an EGL device; existing ids: {_ids(count)}",
        f"unset {_DEVICE} or set it to one of them",
    )


def _require_visible_device(backend: str, chosen: str, visible: str) -> None:
    """Anticipates robosuite's assertion, which tests whether one string contains the other."""
    is_past = "robosuite.utils.binding_utils" in sys.modules
    if is_past or not visible or (chosen.isdigit() and chosen in visible):
        return
    found = f"{_DEVICE}={chosen} is not in {_VISIBLE}={visible}, so robosuite would refuse to load"
    if backend != "egl":
        raise GraphicsError(found, f"unset {_DEVICE}, which MUJOCO_GL={backend} does not read")
    count = num_egl_devices()
    both = [str(number) for number in range(count or 0) if str(number) in visible]
    choice = f" or set it to {' or '.join(both)}" if both else f" or set {_VISIBLE} to an existing id"
    raise GraphicsError(
        f"{found}; existing EGL device ids: {_ids(count)}",
        f"unset {_DEVICE} (MuJoCo then uses the first device that works){choice}",
    )


def _ids(count: int | None) -> str:
    return "unknown, EGL cannot be queried" if count is None else ", ".join(map(str, range(count))) or "none"


def num_egl_devices() -> int | None:
    """Number of EGL devices; their ids start at 0. None if EGL cannot be queried."""
    try:
        from mujoco.egl import egl_ext

        return len(egl_ext.eglQueryDevicesEXT())
    except Exception:  # a missing library or extension can raise anything
        return None


def cannot_draw(backend: str, found: str) -> UserError:
    """The error for a context that cannot be created, or a library that cannot be loaded, with the likeliest fix.

    Args:
        backend: What ``MUJOCO_GL`` says.
        found: What failed, and how.
    """
    try:
        require_consistent_variables(backend)
    except UserError as named:
        return named
    return GraphicsError(found, graphics_fix(backend))


def graphics_fix(backend: str) -> str:
    """How to fix a machine that cannot render.

    Args:
        backend: What ``MUJOCO_GL`` says.
    """
    if backend not in BACKENDS:
        return f"set MUJOCO_GL to one of {', '.join(sorted(BACKENDS))}, or unset it"
    if backend == "glx":
        display = os.environ.get("DISPLAY", "")
        cause = (
            f"DISPLAY={display} must be a running X server" if display else "DISPLAY is not set: it needs an X server"
        )
        return f"{cause}; or set MUJOCO_GL=egl, which does not need one"
    suspects = [f"{name}={os.environ[name]}" for name in _DRIVER_VARIABLES if name in os.environ]
    if not suspects:
        return _PACKAGES[backend]
    absent = [f"{path} does not exist" for path in _vendor_paths() if not Path(path).exists()]
    causes = f" ({', '.join(absent)})" if absent else ""
    return f"unset {' and '.join(suspects)}{causes}, which selects the driver; if that fails, {_PACKAGES[backend]}"


def _vendor_paths() -> list[str]:
    """Paths that libglvnd is told to read instead of the system's."""
    names = ("__EGL_VENDOR_LIBRARY_FILENAMES", "__EGL_VENDOR_LIBRARY_DIRS", "LIBGL_DRIVERS_PATH")
    return [path for name in names for path in os.environ.get(name, "").split(":") if path]
