"""Pictures of a data set: contact sheet, counterfactual sheet, video grid."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from smidgen.data_collection.array_files import Array
from smidgen.data_collection.episode import Episode
from smidgen.data_collection.pixel_variation import CueChange, PixelVariation
from smidgen.data_collection.store import EpisodeStore
from smidgen.runtime.files import TEMPORARY_PREFIX
from smidgen.runtime.spacing import evenly_spaced

SHEET_NAME, PAIRS_NAME, VIDEO_NAME = "contact_sheet.png", "counterfactuals.png", "episodes.mp4"

Colour = tuple[int, int, int]
_TEXT, _FAINT, _BACKGROUND = (32, 32, 32), (110, 110, 110), (255, 255, 255)
_SUCCESS, _FAILURE = (27, 120, 55), (178, 34, 34)
# Okabe and Ito's palette (jfly.uni-koeln.de/color), which colour-blind readers can distinguish.
_PHASE_COLOURS = ((0, 114, 178), (230, 159, 0), (0, 158, 115), (204, 121, 167), (86, 180, 233), (213, 94, 0))
_CELL_PX, _MAX_CELL_PX, _GAP_PX, _MARGIN_PX, _CAPTION_PX = 176, 256, 8, 20, 24


class _Sheet:
    """A white page with a grid of captioned pictures, each (N, H, W, 3) frames of N cameras side by side.

    Args:
        image_size: Width and height of a frame in pixels.
        num_cameras: Frames in a picture.
        shape: Rows and columns of pictures.
        label_px: Room to the left of the pictures.
        notes_px: Room to the right of them.
        title_px: Room above them.
    """

    def __init__(
        self, image_size: int, num_cameras: int, shape: tuple[int, int], label_px: int, notes_px: int, title_px: int
    ) -> None:
        # An integer factor, so that every pixel of a frame stays a square of one colour.
        self._cell_px = min(image_size * max(1, round(_CELL_PX / image_size)), _MAX_CELL_PX)
        self._width_px = self._cell_px * num_cameras
        self._label_px, self._top_px = label_px, _MARGIN_PX + title_px
        width = self.left(shape[1]) - _GAP_PX + notes_px + _MARGIN_PX
        height = self.top(shape[0]) - _GAP_PX + _MARGIN_PX
        # Video codecs require even sides.
        self.image = Image.new("RGB", (width + width % 2, height + height % 2), _BACKGROUND)
        self._draw = ImageDraw.Draw(self.image)

    def left(self, column: int) -> int:
        """Left edge of a column; one past the last gives the edge of the notes."""
        return _MARGIN_PX + self._label_px + column * (self._width_px + _GAP_PX)

    def top(self, row: int) -> int:
        """Upper edge of a row."""
        return self._top_px + row * (self._cell_px + _CAPTION_PX + _GAP_PX)

    def title(self, title: str, subtitle: str) -> None:
        """Writes the page's first line."""
        self.text((_MARGIN_PX, _MARGIN_PX - 6), title, size_px=20)
        right = (self.image.width - _MARGIN_PX, _MARGIN_PX)
        self._draw.text(right, subtitle, _FAINT, _font(14), anchor="ra")

    def label(self, row: int, lines: Sequence[tuple[str, Colour]]) -> None:
        """Writes lines to the left of a row; the first is larger."""
        for index, (text, colour) in enumerate(lines):
            y = self.top(row) + (4 if index == 0 else 10 + 18 * index)
            self.text((_MARGIN_PX, y), text, colour, size_px=16 if index == 0 else 13)

    def picture(self, row: int, column: int, frames: Array, caption: str, colour: Colour | None = None) -> None:
        """Draws a picture and its caption, with a small coloured square before the caption if a colour is given."""
        left, top = self.left(column), self.top(row)
        strip = Image.fromarray(np.concatenate(list(frames), axis=1))
        self.image.paste(strip.resize((self._width_px, self._cell_px), Image.Resampling.NEAREST), (left, top))
        y = top + self._cell_px + 4
        if colour is not None:
            self._draw.rectangle((left, y + 3, left + 9, y + 12), colour)
        self.text((left + (0 if colour is None else 15), y), caption, size_px=13)

    def text(self, place: tuple[int, int], text: str, colour: Colour = _TEXT, size_px: int = 13) -> None:
        """Writes a line with its upper left corner at the given point."""
        self._draw.text(place, text, colour, _font(size_px))


def contact_sheet(store: EpisodeStore, max_episodes: int = 8, num_columns: int = 8) -> Image.Image:
    """Episodes as rows, time as columns; each frame with its step and the expert's phase.

    Args:
        store: The data set.
        max_episodes: Maximum number of rows, spread evenly over the seeds.
        num_columns: Frames in each row, spread evenly over the episode, including first and last.
    """
    episodes = _spread_episodes(store, max_episodes)
    sheet = _sheet(store, (len(episodes), num_columns), label_px=100)
    sheet.title(_title(store), "step and phase of the expert; time goes to the right")
    for row, episode in enumerate(episodes):
        steps_line = (f"{episode.num_steps} steps", _FAINT)
        sheet.label(row, [(f"seed {episode.seed}", _TEXT), _outcome(episode), steps_line])
        for column, step in enumerate(np.linspace(0, episode.num_steps - 1, num_columns).round().astype(int)):
            phase = int(episode.phase[step])
            caption = f"{step}  {store.manifest['phases'][phase]}"
            sheet.picture(row, column, episode.frames[step], caption, _PHASE_COLOURS[phase % len(_PHASE_COLOURS)])
    return sheet.image


def counterfactual_sheet(store: EpisodeStore, max_pairs: int = 8) -> Image.Image:
    """Pairs as rows: recorded, cue moved, cue hidden, the pixels that show the cue, and the targets."""
    pairs = store.counterfactuals(store.seeds, max_pairs)
    sheet = _sheet(store, (len(pairs["step"]), 4), label_px=100, notes_px=260)
    sheet.title(_title(store), "newest frame of each counterfactual pair")
    names = store.manifest["action_spec"]["names"]
    for row in range(len(pairs["step"])):
        sheet.label(row, [(f"seed {pairs['seed'][row]}", _TEXT), (f"step {pairs['step'][row]}", _FAINT)])
        seen, moved, hidden = (pairs[name][row, -1] for name in ("frames", "frames_moved", "frames_hidden"))
        cue = np.where((seen != hidden).any(axis=-1, keepdims=True), seen, seen // 8 + 224).astype(np.uint8)
        captions = ("seen", "cue moved", "cue hidden", "pixels that show the cue")
        for column, (frames, caption) in enumerate(zip((seen, moved, hidden, cue), captions, strict=True)):
            sheet.picture(row, column, frames, caption)
        _targets(sheet, row, names, pairs["target"][row], pairs["target_moved"][row])
    return sheet.image


def _targets(sheet: _Sheet, row: int, names: Sequence[str], target: Array, target_moved: Array) -> None:
    left, top = sheet.left(4) + 8, sheet.top(row) + 4
    for column, heading in enumerate(("expert's target", "seen", "cue moved")):
        sheet.text((left + (0, 110, 170)[column], top), heading, _FAINT)
    for line, name in enumerate(names, start=1):
        numbers = (f"{target[line - 1]:+.3f}", f"{target_moved[line - 1]:+.3f}")
        for column, text in enumerate((name, *numbers)):
            sheet.text((left + (0, 110, 170)[column], top + 22 * line), text, size_px=14)


def variation_sheet(store: EpisodeStore, variation: PixelVariation, cue: CueChange | None) -> Image.Image:
    """Heat maps, one row for each camera: where episodes differ, and where moving the cue changes anything.

    Args:
        store: The data set.
        variation: Pixel variation between episodes.
        cue: Pixels that moving the cue changes; None omits its map.
    """
    maps = [
        ("sd, first frames: up to {:.1f}", variation.sd_first_NHW),
        (f"sd, {len(variation.shares)} steps: up to {{:.1f}}", variation.sd_NHW),
    ]
    if cue is not None:
        maps.append(("cue moved: up to {:.1%}", cue.moved_share_NHW))
    cameras = store.manifest["cameras"]
    sheet = _Sheet(store.manifest["image_size"], 1, (len(cameras), 1 + len(maps)), 100, 0, 40)
    sheet.title(_title(store), "sd in grey levels; black: 0, white: the largest")
    for row, camera in enumerate(cameras):
        sheet.label(row, [(camera, _TEXT)])
        mean_HWC = variation.mean_first_NHWC[row].round().astype(np.uint8)
        sheet.picture(row, 0, mean_HWC[None], "mean first frame")
        for column, (caption, values_NHW) in enumerate(maps, start=1):
            largest = float(values_NHW.max())
            grey_HW = (255 * values_NHW[row] / (largest or 1.0)).round().astype(np.uint8)
            frame_HWC = grey_HW[:, :, None].repeat(3, axis=2)
            sheet.picture(row, column, frame_HWC[None], caption.format(largest))
    return sheet.image


def write_video_grid(store: EpisodeStore, path: Path, max_episodes: int = 16) -> None:
    """Writes an MP4 in which episodes play side by side in real time, each freezing on its last frame.

    Args:
        store: The data set.
        path: The file to write, atomically; its directory must exist.
        max_episodes: Maximum number of episodes, spread evenly over the seeds.
    """
    import imageio.v2 as imageio

    episodes = _spread_episodes(store, max_episodes)
    num_columns = int(np.ceil(np.sqrt(len(episodes))))
    hold_steps = store.manifest["control_hz"]
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{path.name}")
    writer = imageio.get_writer(
        temporary, format="FFMPEG", fps=store.manifest["control_hz"], codec="libx264", quality=8, macro_block_size=2
    )
    try:
        with writer:
            for step in range(max(episode.num_steps for episode in episodes) + int(hold_steps)):
                writer.append_data(np.asarray(_grid_frame(store, episodes, step, num_columns)))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def png_bytes(image: Image.Image) -> bytes:
    """Encodes a picture as PNG."""
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()


def _grid_frame(store: EpisodeStore, episodes: Sequence[Episode], step: int, num_columns: int) -> Image.Image:
    sheet = _sheet(store, (-(-len(episodes) // num_columns), num_columns), title_px=0)
    for index, episode in enumerate(episodes):
        row, column = divmod(index, num_columns)
        now = min(step, episode.num_steps - 1)
        phase = int(episode.phase[now])
        note, colour = store.manifest["phases"][phase], _PHASE_COLOURS[phase % len(_PHASE_COLOURS)]
        if step >= episode.num_steps:
            note, colour = _outcome(episode)
        sheet.picture(row, column, episode.frames[now], f"{episode.seed}  {note}", colour)
    return sheet.image


def _sheet(
    store: EpisodeStore, shape: tuple[int, int], label_px: int = 0, notes_px: int = 0, title_px: int = 40
) -> _Sheet:
    return _Sheet(store.manifest["image_size"], len(store.manifest["cameras"]), shape, label_px, notes_px, title_px)


def _title(store: EpisodeStore) -> str:
    manifest = store.manifest
    return f"{manifest['task']}: {manifest['num_successes']}/{manifest['num_episodes']} attempts successful"


def _outcome(episode: Episode) -> tuple[str, Colour]:
    return ("success", _SUCCESS) if episode.success else ("failure", _FAILURE)


def _spread_episodes(store: EpisodeStore, max_episodes: int) -> list[Episode]:
    """Attempts that have frames, spread evenly over the seeds."""
    seeds = [row["seed"] for row in store.manifest["episodes"] if row["num_steps"]]
    shown = [seeds[index] for index in evenly_spaced(len(seeds), max_episodes)]
    store.fetch(shown)
    return [store.episode(seed) for seed in shown]


def _font(size_px: int) -> Any:
    return ImageFont.load_default(size_px)
