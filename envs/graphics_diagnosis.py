"""Why a machine cannot draw: the environment variable, its value and what would be right, or the package that lacks.

MuJoCo reads ``MUJOCO_GL`` and ``MUJOCO_EGL_DEVICE_ID``, robosuite compares the latter with ``CUDA_VISIBLE_DEVICES`` as
it is imported, PyOpenGL reads ``PYOPENGL_PLATFORM``, and the rest steer the loaders of libglvnd and Mesa.
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
# Each can point the loaders at a driver that is not there, or make one offer less than MuJoCo needs.
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
    """This machine cannot draw as it is set up.

    Args:
        found: What is wrong.
        fix: What to do; empty where ``found`` says so already.
    """

    def __init__(self, found: str, fix: str = "") -> None:
        super().__init__(found, fix)
        self.found, self.fix = found, fix

    def __str__(self) -> str:
        return f"{self.found}; {self.fix}" if self.fix else self.found


def require_consistent_variables(backend: str) -> None:
    """Looks at what MuJoCo and robosuite read, before they do.

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
        raise GraphicsError(
            f"PYOPENGL_PLATFORM={platform} does not go with MUJOCO_GL={backend}", "unset PYOPENGL_PLATFORM"
        )
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
    # Without any device, its number is not what is wrong.
    if exists or count == 0:
        return
    raise GraphicsError(
        f"{_DEVICE}={chosen!r} is not the id of an EGL device; ids that exist: {_ids(count)}",
        f"unset {_DEVICE} or set it to one of them",
    )


def _require_visible_device(backend: str, chosen: str, visible: str) -> None:
    """Foresees robosuite's assertion, which looks for one text in the other."""
    is_past = "robosuite.utils.binding_utils" in sys.modules
    if is_past or not visible or (chosen.isdigit() and chosen in visible):
        return
    found = f"{_DEVICE}={chosen} is not among {_VISIBLE}={visible}, and robosuite then refuses to load"
    if backend != "egl":
        raise GraphicsError(found, f"unset {_DEVICE}, which MUJOCO_GL={backend} does not read")
    count = num_egl_devices()
    both = [str(number) for number in range(count or 0) if str(number) in visible]
    choice = f" or set it to {' or '.join(both)}" if both else f" or set {_VISIBLE} to an id that exists"
    raise GraphicsError(
        f"{found}; EGL device ids that exist: {_ids(count)}",
        f"unset {_DEVICE} (MuJoCo then takes the first device that works){choice}",
    )


def _ids(count: int | None) -> str:
    return "unknown, EGL cannot be asked" if count is None else ", ".join(map(str, range(count))) or "none"


def num_egl_devices() -> int | None:
    """How many devices EGL offers; their ids count from 0. None where it cannot be asked."""
    try:
        from mujoco.egl import egl_ext

        return len(egl_ext.eglQueryDevicesEXT())
    except Exception:  # a missing library or extension shows as whatever its loader raises
        return None


def cannot_draw(backend: str, found: str) -> UserError:
    """The error for a context that cannot be made, or a library that cannot be loaded, with the likeliest cure.

    Args:
        backend: What ``MUJOCO_GL`` says.
        found: What was tried and how it failed.
    """
    try:
        require_consistent_variables(backend)
    except UserError as named:
        return named
    return GraphicsError(found, graphics_fix(backend))


def graphics_fix(backend: str) -> str:
    """What to do on a machine that cannot draw.

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
        return f"{cause}; or set MUJOCO_GL=egl, which needs none"
    suspects = [f"{name}={os.environ[name]}" for name in _DRIVER_VARIABLES if name in os.environ]
    if not suspects:
        return _PACKAGES[backend]
    absent = [f"{path} does not exist" for path in _vendor_paths() if not Path(path).exists()]
    causes = f" ({', '.join(absent)})" if absent else ""
    return f"unset {' and '.join(suspects)}{causes}, which chooses the driver; if that is not it, {_PACKAGES[backend]}"


def _vendor_paths() -> list[str]:
    """What libglvnd is told to read instead of what the system has."""
    names = ("__EGL_VENDOR_LIBRARY_FILENAMES", "__EGL_VENDOR_LIBRARY_DIRS", "LIBGL_DRIVERS_PATH")
    return [path for name in names for path in os.environ.get(name, "").split(":") if path]
