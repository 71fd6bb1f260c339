"""Frames: a render profile that is frozen with the environment's version, and the off-screen renderer that obeys it.

The renderer owns an OpenGL context, which belongs to one process and one thread.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import os
import threading
import warnings
import weakref
from collections.abc import Iterator
from dataclasses import dataclass

import mujoco
import numpy as np

from smidgen.envs.backend import Drawing, require_own_process
from smidgen.envs.errors import untrusted_pixels
from smidgen.envs.graphics_diagnosis import GraphicsError, cannot_draw
from smidgen.envs.pixel_watch import PixelWatch
from smidgen.runtime.errors import UserError, unknown_name
from smidgen.runtime.files import canonical_json, sha256_bytes
from smidgen.runtime.worker_process import end_with_parent_process

VISUAL_GROUP = 1
HIDDEN_GROUP = 5
MAX_IMAGE_SIZE = 2048
# The pixel buffer is filled with these values before reading; a buffer that still holds either was not written.
_UNREAD_MARKS = (0x5A, 0xA5)


class WrongThread(UserError):
    """Rendering was attempted in a thread other than the context's."""


def open_gl(model: mujoco.MjModel, width: int, height: int) -> tuple[mujoco.GLContext, mujoco.MjrContext]:
    """Opens an off-screen context, current in this thread, and uploads a model's meshes and textures.

    Raises:
        ForkedDrawing: In a forked child of a process that has drawn.
        GraphicsError: If no context can be created; the message names the variable or package at fault.
    """
    require_own_process()
    end_with_parent_process()
    Drawing.has_begun = True
    try:
        # A context that could not be created is finalised all the same, and would warn about a missing attribute.
        mujoco.GLContext._context = None
        with warnings.catch_warnings():
            # GLFW does not raise: it warns.
            warnings.filterwarnings("error", module="glfw")
            gl = mujoco.GLContext(width, height)
        gl.make_current()
        # Frames show no text, and the smallest fonts upload in half the time of the default ones.
        return gl, mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_50)
    except Exception as error:  # MuJoCo, PyOpenGL, GLFW and drivers each have their own exceptions
        backend = os.environ.get("MUJOCO_GL", "")
        if (loaded := mujoco.GLContext.__module__.rpartition(".")[2]) != backend and {loaded, backend} != {
            "glfw",
            "glx",
        }:
            raise GraphicsError(
                f"MuJoCo was imported before smidgen.envs and renders with {loaded}, which fails ({error})",
                f"import smidgen.envs first, or set MUJOCO_GL={backend} before Python starts",
            ) from error
        raise cannot_draw(backend, f"cannot create an OpenGL context with MUJOCO_GL={backend} ({error})") from error


def close_gl(gl: mujoco.GLContext, context: mujoco.MjrContext) -> None:
    """Releases a context, unless it is lost or belongs to the process that this one was forked from."""
    if Drawing.was_forked:
        Drawing.kept.append((gl, context))
        return
    try:
        gl.make_current()
        context.free()
        gl.free()
    except Exception:  # a lost context was reported when it was used, and has nothing left to release
        # Otherwise MuJoCo's finaliser would try again and print a warning.
        gl._context = None


@contextlib.contextmanager
def owning_thread(thread: threading.Thread) -> Iterator[None]:
    """Names the thread if rendering fails because the context belongs to another one.

    Args:
        thread: The thread that opened the context.

    Raises:
        WrongThread: If rendering fails in another thread.
    """
    try:
        yield
    except Exception as error:
        here = threading.current_thread()
        if here is thread:
            raise
        raise WrongThread(
            f"this environment was used in thread {thread.name!r} and cannot render in thread {here.name!r}: an OpenGL "
            "context belongs to one thread; create and use each environment in the same thread"
        ) from error


@dataclass(frozen=True)
class RenderProfile:
    """Everything besides the scene that affects pixels; part of an environment's version.

    Attributes:
        name: What users type.
        shadows: Whether lights cast shadows.
        reflections: Whether surfaces reflect the scene.
        num_samples: Samples per pixel of multisample antialiasing; 0 for none.
        mesh_fraction: Fraction of each visual mesh's triangles to keep.
        min_faces: Minimum number of triangles to keep per visual mesh.
    """

    name: str
    shadows: bool
    reflections: bool
    num_samples: int
    mesh_fraction: float
    min_faces: int

    @property
    def sha256(self) -> str:
        """Hash of every field."""
        return sha256_bytes(canonical_json(dataclasses.asdict(self)))


RENDER_PROFILES: dict[str, RenderProfile] = {
    "v0": RenderProfile("v0", shadows=False, reflections=False, num_samples=0, mesh_fraction=0.12, min_faces=1200),
    # For comparison with v0: the same flags, and every triangle of every mesh.
    "whole_meshes": RenderProfile(
        "whole_meshes", shadows=False, reflections=False, num_samples=0, mesh_fraction=1.0, min_faces=0
    ),
    "stock": RenderProfile("stock", shadows=True, reflections=True, num_samples=4, mesh_fraction=1.0, min_faces=0),
}


def get_render_profile(name: str) -> RenderProfile:
    """Looks up a profile by name.

    Raises:
        UserError: If there is no such profile.
    """
    if name not in RENDER_PROFILES:
        raise unknown_name("render profile", name, RENDER_PROFILES)
    return RENDER_PROFILES[name]


def parse_image_size(image_size: int | tuple[int, int]) -> tuple[int, int]:
    """Height and width in pixels from one number or two.

    Raises:
        UserError: If a side is not between 1 and :data:`MAX_IMAGE_SIZE`.
    """
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    if not (1 <= height <= MAX_IMAGE_SIZE and 1 <= width <= MAX_IMAGE_SIZE):
        raise UserError(f"expected image_size of 1 to {MAX_IMAGE_SIZE} pixels a side, got {image_size}")
    return int(height), int(width)


class SceneRenderer:
    """Renders cameras of one simulation into upright uint8 frames.

    Args:
        model: The compiled model; its off-screen buffer is set to the size.
        data: The state to render.
        cameras: Camera names, in the order of the frames.
        image_size: Height and width in pixels.
        options: Which geoms and sites are drawn.

    Raises:
        UserError: If the model has no such camera, or no OpenGL context can be created.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        data: mujoco.MjData,
        cameras: tuple[str, ...],
        image_size: tuple[int, int],
        options: mujoco.MjvOption,
    ) -> None:
        self._model, self._data, self._options = model, data, options
        self._height, self._width = image_size
        self._cameras = [self._camera(name) for name in cameras]
        model.vis.global_.offheight, model.vis.global_.offwidth = image_size
        self._gl, self._context = open_gl(model, self._width, self._height)
        self._thread = threading.current_thread()
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._scene = mujoco.MjvScene(model, maxgeom=10_000)
        self._perturbation = mujoco.MjvPerturb()
        # mujoco.egl ends the display at exit; registered later, this runs before it.
        self._finalizer = weakref.finalize(self, close_gl, self._gl, self._context)
        atexit.register(self._finalizer)
        self._viewport = mujoco.MjrRect(0, 0, self._width, self._height)
        self._upside_down = np.empty((self._height, self._width, 3), dtype=np.uint8)

    def _camera(self, name: str) -> mujoco.MjvCamera:
        names = [self._model.camera(index).name for index in range(self._model.ncam)]
        if name not in names:
            raise unknown_name("camera", name, names)
        camera = mujoco.MjvCamera()
        camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        camera.fixedcamid = names.index(name)
        return camera

    def render(self) -> np.ndarray:
        """Renders the current state.

        Returns:
            (num_cameras, H, W, 3) uint8, upright, in memory owned by the caller.

        Raises:
            PixelError: If rendering fails.
            UserError: In a forked child of a process that has rendered, or in a thread other than the first frame's.
        """
        require_own_process()
        try:
            with owning_thread(self._thread):
                frames = self._draw()
        except UserError:
            raise
        except Exception as error:  # MuJoCo, PyOpenGL and drivers each have their own exceptions
            raise untrusted_pixels(f"rendering failed ({type(error).__name__}: {error})") from error
        return frames

    def _draw(self) -> np.ndarray:
        # Another environment in this process may have made its context current.
        self._gl.make_current()
        frames = np.empty((len(self._cameras), self._height, self._width, 3), dtype=np.uint8)
        for frame, camera in zip(frames, self._cameras, strict=True):
            mujoco.mjv_updateScene(
                self._model,
                self._data,
                self._options,
                self._perturbation,
                camera,
                mujoco.mjtCatBit.mjCAT_ALL,
                self._scene,
            )
            mujoco.mjr_render(self._viewport, self._scene, self._context)
            self._read_pixels()
            frame[:] = self._upside_down[::-1]
        if code := mujoco.mjr_getError():
            raise untrusted_pixels(f"OpenGL reports error {code:#06x}")
        return frames

    def _read_pixels(self) -> None:
        """Reads the pixels; a lost context leaves the buffer unchanged, which would look like the last frame."""
        for mark in _UNREAD_MARKS:
            self._upside_down.fill(mark)
            mujoco.mjr_readPixels(self._upside_down, None, self._viewport, self._context)
            if (self._upside_down != mark).any():
                return
        raise untrusted_pixels("OpenGL returned no pixels, its context is lost")

    def renderer_name(self) -> str:
        """OpenGL's name of the device or the software rasteriser."""
        from OpenGL import GL

        require_own_process()
        with owning_thread(self._thread):
            self._gl.make_current()
        name = GL.glGetString(GL.GL_RENDERER)
        return name.decode() if name else "unknown"

    def close(self) -> None:
        """Releases the OpenGL context."""
        self._finalizer()


class FrameRenderer(SceneRenderer):
    """Renders one of our own simulations: as a profile says, and each frame watched.

    Args:
        model: The compiled model; its off-screen buffer and quality settings are set from the profile.
        data: The state to render.
        cameras: Camera names, in the order of the frames.
        image_size: Height and width in pixels.
        profile: The render profile.

    Raises:
        UserError: If the model has no such camera, or no OpenGL context can be created.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        data: mujoco.MjData,
        cameras: tuple[str, ...],
        image_size: tuple[int, int],
        profile: RenderProfile,
    ) -> None:
        model.vis.quality.offsamples = profile.num_samples
        if not profile.shadows:
            model.vis.quality.shadowsize = 0
        options = mujoco.MjvOption()
        options.geomgroup[:] = 0
        options.geomgroup[VISUAL_GROUP] = 1
        options.sitegroup[:] = 0
        super().__init__(model, data, cameras, image_size, options)
        self._scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = profile.shadows
        self._scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = profile.reflections
        self.watch = PixelWatch(model, data, cameras, image_size)

    def render(self) -> np.ndarray:
        """As :meth:`SceneRenderer.render`.

        Raises:
            PixelError: Also if the result cannot be a frame of the current state.
        """
        frames = super().render()
        self.watch.see(frames)
        return frames
