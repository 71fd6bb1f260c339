"""Check what the machine itself must have, and install it with apt-get where that is possible.

    python3.11 install/system_packages.py      # any Python, standard library alone; under a second when all is there

Looked for by use, not by package name: MuJoCo renders through EGL, OpenCV links against OpenGL and GLib, evdev (which
robosuite pulls in) compiles against the headers of Python and of the kernel, and Debian packs `venv` apart. As root on
Debian or Ubuntu the missing packages are installed; for any other user the one command that does so is printed.
"""

import ctypes
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable

SHARED_LIBRARIES = {
    "libEGL.so.1": "libegl1",
    "libOpenGL.so.0": "libopengl0",
    "libGL.so.1": "libgl1",
    "libgthread-2.0.so.0": "libglib2.0-0",
}
EGL_PLATFORM_DEVICE_EXT = 0x313F
# What evdev's build includes: Python's, the C library's and the kernel's headers.
C_PROGRAM = "#include <Python.h>\n#include <linux/input.h>\n#include <linux/uinput.h>\nint main(void) { return 0; }\n"


def loads(soname: str) -> bool:
    """Whether the dynamic linker finds a shared library."""
    try:
        ctypes.CDLL(soname)
    except OSError:
        return False
    return True


def egl_device_starts() -> bool:
    """Whether EGL offers a device (a GPU or Mesa's software renderer) that can be initialised without a screen."""
    egl = ctypes.CDLL("libEGL.so.1")
    egl.eglGetProcAddress.restype = ctypes.c_void_p
    query_address = egl.eglGetProcAddress(b"eglQueryDevicesEXT")
    display_address = egl.eglGetProcAddress(b"eglGetPlatformDisplayEXT")
    if not query_address or not display_address:
        return False
    pointer = ctypes.c_void_p
    query = ctypes.CFUNCTYPE(ctypes.c_uint, ctypes.c_int, ctypes.POINTER(pointer), ctypes.POINTER(ctypes.c_int))
    display = ctypes.CFUNCTYPE(pointer, ctypes.c_uint, pointer, pointer)
    devices, count = (pointer * 16)(), ctypes.c_int(0)
    query(query_address)(16, devices, ctypes.byref(count))
    handles = [display(display_address)(EGL_PLATFORM_DEVICE_EXT, device, None) for device in devices[: count.value]]
    return any(egl.eglInitialize(pointer(handle), None, None) for handle in handles if handle)


def renders_without_screen() -> bool:
    """The same, asked in a process of its own: a broken driver may abort the process that loads it."""
    probe = "import system_packages, sys; sys.exit(not system_packages.egl_device_starts())"
    here = os.path.dirname(os.path.abspath(__file__))
    return subprocess.run([sys.executable, "-c", probe], cwd=here, capture_output=True).returncode == 0


def compiles_against_headers() -> bool:
    """Whether a C compiler with Python's and the kernel's headers is there."""
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("cc")
    if not compiler:
        return False
    command = [*compiler.split(), "-x", "c", "-fsyntax-only", f"-I{sysconfig.get_path('include')}", "-"]
    return subprocess.run(command, input=C_PROGRAM, text=True, capture_output=True).returncode == 0


def can_make_environments() -> bool:
    """Whether `python -m venv` works; Debian's Python lacks it until a package adds it."""
    return all(importlib.util.find_spec(module) for module in ("venv", "ensurepip"))


def requirements() -> list[tuple[str, Callable[[], bool], list[str]]]:
    """What must hold: its name, its check and the Debian packages that provide it."""
    python = f"python3.{sys.version_info.minor}"
    libraries = [
        (soname, lambda soname=soname: loads(soname), [package]) for soname, package in SHARED_LIBRARIES.items()
    ]
    return [
        *libraries,
        ("rendering without a screen (EGL)", renders_without_screen, ["libegl-mesa0", "libgl1-mesa-dri"]),
        ("a C compiler with the headers of Python and Linux", compiles_against_headers,
         ["gcc", "libc6-dev", "linux-libc-dev", f"{python}-dev"]),
        ("Python's venv module", can_make_environments, [f"{python}-venv"]),
    ]  # fmt: skip


def find_missing() -> tuple[list[str], list[str]]:
    """What is missing, and the Debian packages to install for it."""
    missing = [(name, packages) for name, holds, packages in requirements() if not holds()]
    return [name for name, _ in missing], [package for _, packages in missing for package in packages]


def install_packages(packages: list[str]) -> None:
    """Install Debian packages, quietly unless it fails."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    print(f"Installing system packages with apt-get: {' '.join(packages)}", flush=True)
    for command in (["update"], ["install", "--yes", "--no-install-recommends", *packages]):
        done = subprocess.run(["apt-get", "-qq", *command], env=environment, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"setup: apt-get {command[0]} failed:\n{done.stdout}{done.stderr}")


def main() -> None:
    """Leave with 0 when all is there (now), else with one line that says what to do."""
    names, packages = find_missing()
    if packages and shutil.which("apt-get") and os.geteuid() == 0:
        install_packages(packages)
        names, packages = find_missing()
    if names:
        print(f"setup: missing on this machine: {'; '.join(names)}", file=sys.stderr)
        sudo = "" if os.geteuid() == 0 else "sudo "
        command = f"{sudo}apt-get install --yes {' '.join(packages)}"
        sys.exit(f"setup: install it, then repeat. On Debian or Ubuntu: {command}")


if __name__ == "__main__":
    main()
