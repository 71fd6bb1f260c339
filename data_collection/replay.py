"""Renders a data set's stored states again and compares them with its frames: certifies the set, or names the fault.

Worth a few seconds before training on a set that came from another machine, or before publishing it.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from smidgen.data_collection.array_files import Array
from smidgen.data_collection.formats.pictures import squares
from smidgen.data_collection.scenes import AS_STORED, MakeScene, Scene, Views, scene_of
from smidgen.data_collection.store import EpisodeStore
from smidgen.runtime.errors import UserError
from smidgen.runtime.spacing import evenly_spaced

NUM_EPISODES, STEPS_PER_EPISODE = 4, 5
# The same rasteriser without AVX shades Lift by up to 8 levels otherwise, and edges differ by more; a wrong state moves
# surfaces, which shows in blocks of pixels too.
_ROUNDING_LEVELS, _ROUNDING_SHARE = 8, 0.99
# Of 8 x 8 blocks in a frame of 64 x 64 pixels; a pixel counts for more where they are smaller.
_BLOCKS, _BLOCK_LEVELS, _BLOCK_SIDE_PX = 8, 6, 8
# Of the same textures under two versions of MuJoCo: 0.86; of other states of a scene: at most 0.4.
_OUTLINES_CORRELATION = 0.7
# Sizes that frames are drawn at and scaled down from: multiples of their own, and what others use.
_MULTIPLES, _USUAL_SIZES = (2, 3, 4), (128, 256, 512)
_MAX_DRAWN_SIZE = 1024
_TURNS: dict[str, Callable[[Array], Array]] = {
    "": lambda frames: frames,
    "are mirrored": lambda frames: frames[..., ::-1, :],
    "are upside down": lambda frames: frames[..., ::-1, :, :],
    "have red and blue exchanged": lambda frames: frames[..., ::-1],
}


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


def replay(store: EpisodeStore, make: MakeScene = scene_of) -> Replay:
    """Renders a sample of a data set's states, evenly spread over its episodes and their steps.

    Args:
        store: The data set.
        make: Makes what renders its states, at its own size (0) or at another.

    Raises:
        UserError: If the set has no states, or nothing here renders them.
    """
    seeds = [row["seed"] for row in store.manifest["episodes"] if row["num_steps"]]
    if not seeds:
        raise UserError(f"{store.directory} has no frames: every attempt was aborted")
    sample = [seeds[index] for index in evenly_spaced(len(seeds), NUM_EPISODES)]
    store.fetch(sample)
    stored = np.stack([frames for seed in sample for frames in _sampled_frames(store, seed)])
    with contextlib.closing(make(store, 0)) as scene:
        views = _views(store, scene, sample)
        elsewhere, rounds = scene.elsewhere(), scene.rounds
    is_equal = (stored == views[AS_STORED]).all(axis=tuple(range(1, stored.ndim)))
    fault = ""
    if not is_equal.all():
        fault = _fault(stored, views, rounds, functools.partial(_drawn_again, store, make, sample))
        fault += f"; the set was made in another environment: {elsewhere:.300}" if elsewhere else ""
    return Replay(len(is_equal), int(is_equal.sum()), fault)


def _sampled_frames(store: EpisodeStore, seed: int) -> Array:
    episode = store.episode(seed)
    return np.asarray(episode.frames)[evenly_spaced(episode.num_steps, STEPS_PER_EPISODE)]


def _views(store: EpisodeStore, scene: Scene, sample: list[int], later: int = 0) -> Views:
    """Frames (S, N, H, W, 3) of the sampled states, or of those some control steps later, in the same episodes."""
    shown = [
        scene.show(episode, min(max(step + later, 0), episode.num_steps - 1))
        for episode in map(store.episode, sample)
        for step in evenly_spaced(episode.num_steps, STEPS_PER_EPISODE)
    ]
    return {words: np.stack([list(each.values())[place] for each in shown]) for place, words in enumerate(shown[0])}


def _drawn_again(store: EpisodeStore, make: MakeScene, sample: list[int], size: int = 0, later: int = 0) -> Views:
    """The same, drawn at another size (0: the set's) and scaled to the set's."""
    with contextlib.closing(make(store, size)) as scene:
        drawn = _views(store, scene, sample, later)
    own = store.manifest["image_size"]
    return {words: _scaled(frames, own) for words, frames in drawn.items()}


def _scaled(frames: Array, size: int) -> Array:
    """Frames (..., H, W, 3) as (..., size, size, 3)."""
    pictures = frames.reshape(-1, *frames.shape[-3:])
    return squares(pictures, size).reshape(*frames.shape[:-3], size, size, 3)


def _fault(stored: Array, views: Views, rounds: str, draw: Callable[[int, int], Views]) -> str:
    """What is wrong with frames (S, N, H, W, 3) that differ from those of their states.

    Args:
        stored: The frames.
        views: What was rendered.
        rounds: What makes frames differ by a few grey levels, in words.
        draw: Renders at another size, or states some control steps later.
    """
    words, nearest = _nearest(stored, views)
    if np.array_equal(stored, nearest):
        return f"the frames {words}"
    if _is_rounding(stored, nearest):
        share = (stored != nearest).mean()
        return f"the frames {_joined(words, f'differ by a few grey levels ({share:.2%} of the values): {rounds}')}"
    if shift := _shift(stored, draw):
        return f"the frames {shift}"
    is_same, is_alike = _is_same_scene(stored, nearest), _has_same_outlines(stored, nearest)
    if (is_same or is_alike) and (size := _drawn_size(stored, draw)):
        own = stored.shape[-2]
        return f"the frames {_joined(words, f'were drawn at {size} x {size} and scaled to {own} x {own}')}"
    if is_same:
        detail = "show the same scene in other detail: other shadows, antialiasing, meshes or scaling"
        return f"the frames {_joined(words, detail)}"
    found, differing = _those_of_others(stored, views[AS_STORED])
    if found:
        others = "other cameras or states" if stored.shape[1] > 1 else "other states"
        return f"{found} of {differing} frames are those of {others}: two renderers shared a context"
    levels, untouched = (_levels(stored, frames).mean() for frames in (nearest, views[AS_STORED]))
    words = words if levels < untouched / 2 else ""
    if is_alike:
        other = f"have other shades (by {levels:.1f} grey levels on average): another renderer, MuJoCo or settings"
    else:
        other = f"show something else (by {levels:.1f} grey levels on average): another scene or MuJoCo"
    return f"the frames {_joined(words, other)}"


def _joined(*parts: str) -> str:
    return " and ".join(part for part in parts if part)


def _nearest(stored: Array, views: Views) -> tuple[str, Array]:
    """The rendered frames that are nearest to the stored ones, turned in any way, and how in words."""
    found = {_joined(turned, words): turn(frames) for words, frames in views.items() for turned, turn in _TURNS.items()}
    return min(found.items(), key=lambda each: float(_levels(stored, each[1]).mean()))


def _levels(stored: Array, rendered: Array) -> Array:
    return np.abs(stored.astype(np.int16) - rendered)


def _is_rounding(stored: Array, rendered: Array) -> bool:
    is_equal = (stored == rendered).all(axis=tuple(range(1, stored.ndim)))
    if is_equal.all():
        return True
    few = (_levels(stored[~is_equal], rendered[~is_equal]) <= _ROUNDING_LEVELS).mean() >= _ROUNDING_SHARE
    return bool(few) and _is_same_scene(stored, rendered)


def _is_same_scene(stored: Array, rendered: Array) -> bool:
    limit = _BLOCK_LEVELS * max(1.0, _BLOCKS * _BLOCK_SIDE_PX / stored.shape[-2])
    return bool((_levels(_scaled(stored, _BLOCKS), _scaled(rendered, _BLOCKS)) <= limit).all())


def _has_same_outlines(stored: Array, rendered: Array) -> bool:
    """Whether grey levels rise and fall alike from pixel to pixel wherever the frames differ."""
    differs = (_levels(stored, rendered) > _ROUNDING_LEVELS).any(axis=-1)
    both = {axis: np.delete(differs, 0, axis) & np.delete(differs, -1, axis) for axis in (-2, -1)}
    there, here = (
        np.concatenate([np.diff(frames.astype(float), axis=axis - 1)[both[axis]].ravel() for axis in both])
        for frames in (stored, rendered)
    )
    if not (len(there) and there.std() and here.std()):
        return False
    return float(np.corrcoef(there, here)[0, 1]) >= _OUTLINES_CORRELATION


def _shift(stored: Array, draw: Callable[[int, int], Views]) -> str:
    """By which control steps frames and states are shifted, in words; "" if they are not."""
    for later, words in ((-1, "before"), (1, "after")):
        shifted = draw(0, later)[AS_STORED]
        places = [place for place, frames in enumerate(stored) if _is_rounding(frames[None], shifted[place][None])]
        # The first or the last step of each sampled episode has no such neighbour.
        if len(places) >= len(stored) - NUM_EPISODES and len(places) > len(stored) / 2:
            return f"show the states one control step {words} theirs: steps are shifted"
    return ""


def _drawn_size(stored: Array, draw: Callable[[int, int], Views]) -> int:
    """The size at which frames were drawn before they were scaled down; 0 if there is none."""
    own = stored.shape[-2]
    for size in sorted({*(own * multiple for multiple in _MULTIPLES), *_USUAL_SIZES}):
        if own < size <= _MAX_DRAWN_SIZE and _is_rounding(stored, _nearest(stored, draw(size, 0))[1]):
            return size
    return 0


def _those_of_others(stored: Array, rendered: Array) -> tuple[int, int]:
    """How many pictures are those of another camera or state, and how many are not their own."""
    shown, drawn = (frames.reshape(-1, *frames.shape[-3:]) for frames in (stored, rendered))
    wrong = [place for place, picture in enumerate(shown) if not _is_picture(picture, drawn[place])]
    found = sum(any(_is_picture(shown[place], other) for other in drawn) for place in wrong)
    return found, len(wrong)


def _is_picture(stored: Array, rendered: Array) -> bool:
    return _is_rounding(stored[None], rendered[None])
