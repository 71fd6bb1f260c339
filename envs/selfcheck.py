"""Checks that this process renders what it simulates, before its first episode counts.

A broken OpenGL context does not raise: it returns black, frozen or foreign frames, and a data set of them looks fine
until a policy is trained on it.
"""

from __future__ import annotations

import json
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from smidgen.envs.errors import PixelError, untrusted_pixels
from smidgen.envs.user_tasks import running_task
from smidgen.runtime.user_modules import is_class_spec

if TYPE_CHECKING:
    from smidgen.envs.robosuite_env import RobosuiteEnv

CHECK_SEED = 0
CHECK_STEPS = 12
THUMBNAIL_PIXELS = 8
MIN_CONTRAST = 8.0
# Other drivers shade slightly differently; a black, frozen or foreign frame differs far more.
MAX_THUMBNAIL_DIFFERENCE = 12.0
REFERENCE_FILE = Path(__file__).with_name("reference_frames.json")

# The first state of an environment's check, and its frames.
_known_pictures: weakref.WeakKeyDictionary[Any, tuple[np.ndarray, np.ndarray]] = weakref.WeakKeyDictionary()


@dataclass(frozen=True)
class PixelCheck:
    """The figures of a successful check.

    Attributes:
        moved_fraction: Fraction of pixels that changed as the arm moved.
        cue_pixels: Pixels that the cue covers in the first frame.
        reference_difference: Mean absolute difference from the recorded picture in grey levels; None if there is none.
    """

    moved_fraction: float
    cue_pixels: int
    reference_difference: float | None


def check_pixels(env: RobosuiteEnv) -> PixelCheck | None:
    """Renders known states and compares the frames with each other and with recorded pictures.

    The same state must give the same frame twice, also after other states were rendered; another state and a hidden cue
    must give different frames; and the first frame must match the recorded one.

    Args:
        env: A bare environment; it is reset, and must be reset again before use.

    Returns:
        The figures; None if the environment has no cameras.

    Raises:
        PixelError: If a frame is wrong; the message says how, and how to fix it.
    """
    if not env.cameras:
        return None
    state, first = _first_frame(env)
    _expect(np.array_equal(first, env.render_frames()), "rendering one state twice gives different frames")
    moved = _frame_after_motion(env)
    env.set_state(state)
    _expect(np.array_equal(first, env.render_frames()), "a state's frame changes after other states were rendered")
    with env.cue_hidden():
        hidden = env.render_frames()
    moved_fraction, cue_pixels = _changed_pixels(first, moved).mean(), int(_changed_pixels(first, hidden).sum())
    if min(env.image_size) >= 2 * THUMBNAIL_PIXELS:
        _expect(float(first.std()) > MIN_CONTRAST, "the frame is blank")
        _expect(moved_fraction > 0, "the frame does not change while the arm moves")
        _expect(cue_pixels > 0, "the frame does not show the cue")
    difference = _reference_difference(env, first)
    _expect(
        difference is None or difference < MAX_THUMBNAIL_DIFFERENCE,
        f"the first frame differs from the recorded one by {difference} grey levels",
    )
    _known_pictures[env] = state, first
    return PixelCheck(float(moved_fraction), cue_pixels, difference)


def make_checked_env(task: str, **kwargs: Any) -> Any:
    """Makes a task's environment, as :func:`smidgen.envs.tasks.make_env` does, and checks its pixels.

    Raises:
        UserError: If it cannot be made.
        PixelError: If a frame is wrong.
    """
    # Imported here, because the registry's package imports this module.
    from smidgen.envs.tasks import make_env

    env = make_env(task, **kwargs)
    try:
        with running_task(task, "checking its pixels"):
            check_pixels(env)
    except PixelError as error:
        if not is_class_spec(task):
            raise
        raise PixelError(f"{error}; if smidgen-doctor reports no problem, the class {task:.200} is at fault") from error
    return env


def confirm_pixels(env: Any) -> None:
    """Renders the check's first state again: frames rendered since then count only if it looks the same.

    Args:
        env: A bare environment; it must be reset before further use. Without cameras or an earlier check, there is
            nothing to compare.

    Raises:
        PixelError: If a single bit differs.
    """
    if env in _known_pictures:
        state, frames = _known_pictures[env]
        env.set_state(state)
        _expect(np.array_equal(env.render_frames(), frames), "a known state's frame differs from that at the start")


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise untrusted_pixels(otherwise)


def _first_frame(env: RobosuiteEnv) -> tuple[np.ndarray, np.ndarray]:
    env.reset(seed=CHECK_SEED)
    return env.get_state(), env.render_frames()


def _frame_after_motion(env: RobosuiteEnv) -> np.ndarray:
    """Drives the arm to the middle of its action range."""
    low, high = np.array(env.task.action.low), np.array(env.task.action.high)
    target = (low + high) / 2
    target[env.task.action.position_indices[-1]] = low[env.task.action.position_indices[-1]]
    for _ in range(CHECK_STEPS):
        env.step(target)
    return env.render_frames()


def _changed_pixels(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    return (before != after).any(axis=-1)


def thumbnail(frame: np.ndarray) -> np.ndarray:
    """Block means of a (H, W, 3) frame as (8, 8, 3) grey levels; the same at every resolution, except at edges."""
    rows = np.array_split(np.arange(frame.shape[0]), THUMBNAIL_PIXELS)
    columns = np.array_split(np.arange(frame.shape[1]), THUMBNAIL_PIXELS)
    return np.array([[frame[np.ix_(row, column)].mean(axis=(0, 1)) for column in columns] for row in rows])


def _reference_difference(env: RobosuiteEnv, frames: np.ndarray) -> float | None:
    """Mean difference from the recorded thumbnails of this environment, profile and cameras."""
    height, width = env.image_size
    if height != width or height < 2 * THUMBNAIL_PIXELS:
        return None
    references = json.loads(REFERENCE_FILE.read_text()).get(reference_key(env), {})
    differences = [
        np.abs(thumbnail(frame) - np.array(references[camera])).mean()
        for camera, frame in zip(env.cameras, frames, strict=True)
        if camera in references
    ]
    return float(max(differences)) if differences else None


def reference_key(env: RobosuiteEnv) -> str:
    """The key of an environment's recorded thumbnails."""
    return f"{env.task.env_id} {env.render_profile.name}"


def reference_thumbnails(env: Any) -> dict[str, list[list[list[float]]]]:
    """Each camera's thumbnail of the check's first state, as recorded."""
    _, frames = _first_frame(env)
    return {camera: thumbnail(frame).round(1).tolist() for camera, frame in zip(env.cameras, frames, strict=True)}


def record_references() -> dict[str, dict[str, list[list[list[float]]]]]:
    """Renders the reference thumbnails of every task's default cameras."""
    from smidgen.envs.tasks import TASKS, make_env

    references = {}
    for task in TASKS:
        env = make_env(task)
        references[reference_key(env)] = reference_thumbnails(env)
        env.close()
    return references


if __name__ == "__main__":
    # python -m smidgen.envs.selfcheck: run by a maintainer when a new environment version is published.
    REFERENCE_FILE.write_text(json.dumps(record_references(), indent=None) + "\n")
