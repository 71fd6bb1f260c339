"""Renders a data set's stored states again and compares them with its frames: certifies the set, or names the fault.

Worth a few seconds before training on a set that came from another machine, or before publishing it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from smidgen.data_collection.array_files import Array
from smidgen.data_collection.manifest import changed_fields
from smidgen.data_collection.store import EpisodeStore
from smidgen.envs.selfcheck import make_checked_env
from smidgen.envs.tasks import get_task
from smidgen.runtime.errors import UserError

NUM_EPISODES, STEPS_PER_EPISODE = 4, 5
# Renderers round differently at edges; a wrong state or scene moves whole surfaces.
_ROUNDING_LEVELS, _ROUNDING_SHARE = 3, 0.99


@dataclass(frozen=True)
class Replay:
    """What rendering again gave.

    Attributes:
        num_frames: Steps that were rendered.
        num_equal: Those whose frames are equal to the bit, all cameras.
        fault: What the others show; "" if there are none.
    """

    num_frames: int
    num_equal: int
    fault: str

    def line(self) -> str:
        """One line for the command."""
        return f"{self.num_equal} of {self.num_frames} stored states render to the stored frames, to the bit"


def environment_of(manifest: Mapping[str, Any]) -> Any:
    """The environment that a data set's header describes, its pixels checked.

    Raises:
        UserError: If the set is imported, or its task is not one of ours.
    """
    if "imported" in manifest["environment"]:
        raise UserError(
            f"the set was imported from {manifest['environment']['imported']}: no environment here renders it"
        )
    return make_checked_env(
        get_task(manifest["task"]).name,
        cameras=tuple(manifest["cameras"]),
        image_size=manifest["image_size"],
        render_profile=manifest["config"].get("render_profile", "v0"),
        observe_pixels=False,
    )


def replay(store: EpisodeStore, make: Callable[[Mapping[str, Any]], Any] = environment_of) -> Replay:
    """Renders a sample of a data set's states, evenly spread over its episodes and their steps.

    Args:
        store: The data set.
        make: Makes the environment from the manifest.

    Raises:
        UserError: If the set has no states, or there is no environment for it.
    """
    seeds = [row["seed"] for row in store.manifest["episodes"] if row["num_steps"]]
    if not seeds:
        raise UserError(f"{store.directory} has no frames: every attempt was aborted")
    env = make(store.manifest).unwrapped
    try:
        stored, rendered = (np.stack(part) for part in zip(*_pairs(store, env, seeds), strict=True))
        here = env.fingerprint()["ranked"]
    finally:
        env.close()
    is_equal = (stored == rendered).all(axis=tuple(range(1, stored.ndim)))
    elsewhere = changed_fields(store.manifest["environment"], here)
    fault = "" if is_equal.all() else _fault(stored, rendered, is_equal)
    if fault and elsewhere:
        fault = f"{fault}; the set was made in another environment: {elsewhere:.300}"
    return Replay(len(is_equal), int(is_equal.sum()), fault)


def _pairs(store: EpisodeStore, env: Any, seeds: list[int]) -> Iterator[tuple[Array, Array]]:
    """Stored and rendered frames (N, H, W, 3) of each sampled step."""
    hides_cue = bool(store.manifest["config"].get("hide_cue"))
    for seed in {seeds[index] for index in _spread(len(seeds), NUM_EPISODES)}:
        episode = store.episode(seed)
        env.reset(seed=seed)
        for step in _spread(episode.num_steps, STEPS_PER_EPISODE):
            try:
                env.set_state(episode.states[step])
            except ValueError as error:
                raise UserError(
                    f"{store.directory}: seed {seed}, step {step}: {error}; another version made it"
                ) from error
            with env.cue_hidden() if hides_cue else contextlib.nullcontext():
                yield np.asarray(episode.frames[step]), env.render_frames()


def _spread(length: int, count: int) -> list[int]:
    return sorted({int(index) for index in np.linspace(0, length - 1, min(length, count)).round()})


def _fault(stored: Array, rendered: Array, is_equal: Array) -> str:
    """What is wrong with frames (S, N, H, W, 3) that differ from those of their states."""
    if np.array_equal(stored, rendered[:, :, ::-1]):
        return "the frames are upside down"
    if np.array_equal(stored, rendered[..., ::-1]):
        return "the frames have red and blue exchanged"
    if stored.shape[1] > 1 and np.array_equal(np.sort(_keys(stored)), np.sort(_keys(rendered))):
        return "the frames are those of other cameras or states: two renderers shared a context"
    levels = np.abs(stored[~is_equal].astype(np.int16) - rendered[~is_equal])
    if (levels <= _ROUNDING_LEVELS).mean() >= _ROUNDING_SHARE:
        return f"the frames differ in rounding ({(levels > 0).mean():.2%} of the values): another renderer or processor"
    others = set(_keys(rendered).tolist())
    if any(key in others for key in _keys(stored[~is_equal]).tolist()):
        return "some frames are those of other states: two renderers shared a context, or steps are shifted"
    return f"the frames show something else (by {levels.mean():.1f} grey levels on average): another scene or MuJoCo"


def _keys(frames: Array) -> Array:
    """A number for each camera's picture; equal pictures have the same."""
    return np.array([hash(picture.tobytes()) for step in frames for picture in step])
