"""``python -m studies.pages.side_by_side left=MP4 right=MP4 out=GIF``: two episode videos as one looping picture.

Makes the README's picture from the videos that ``smidgen-eval`` wrote; a second.
"""

from __future__ import annotations

import gc
import io
import sys
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import imageio.v3 as iio
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from smidgen.runtime.command_line import command_help, compose_config, run_command, wants_help
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import write_atomic
from smidgen.runtime.places import require_outside
from smidgen.runtime.settings import PathText

CAPTION_HEIGHT_PX = 28
GAP_PX = 12
PAUSE_MS = 1200
NUM_COLOURS = 256


@dataclass(frozen=True)
class SideBySideConfig:
    """The videos and the captions above them."""

    left: PathText = field(metadata={"help": "video on the left"})
    right: PathText = field(metadata={"help": "video on the right"})
    out: PathText = field(metadata={"help": "GIF to write"})
    left_caption: str = field(default="", metadata={"help": "text above the left video"})
    right_caption: str = field(default="", metadata={"help": "text above the right video"})
    frame_ms: int = field(default=50, metadata={"help": "duration of a frame; 50 is real time"})


def read_video(path: str) -> np.ndarray:
    """Frames of a video, (S, H, W, 3) uint8.

    Raises:
        UserError: If a file does not exist.
    """
    if not Path(path).is_file():
        raise UserError(f"{path} does not exist; smidgen-eval writes videos beside its records")
    with warnings.catch_warnings():
        # imageio-ffmpeg leaves the pipes to its process for the garbage collector to close.
        warnings.simplefilter("ignore", ResourceWarning)
        frames = iio.imread(path, plugin="FFMPEG")
        gc.collect()
    return frames


def compose_frames(left: np.ndarray, right: np.ndarray, captions: tuple[str, str]) -> list[Image.Image]:
    """Puts two videos next to each other; the shorter one waits on its last frame."""
    num_frames = max(len(left), len(right))
    sides = [video[np.minimum(np.arange(num_frames), len(video) - 1)] for video in (left, right)]
    height, width = left.shape[1:3]
    font = ImageFont.load_default(size=16)
    pictures = []
    for pair in zip(*sides, strict=True):
        canvas = Image.new("RGB", (2 * width + GAP_PX, height + CAPTION_HEIGHT_PX), "white")
        draw = ImageDraw.Draw(canvas)
        for index, (frame, caption) in enumerate(zip(pair, captions, strict=True)):
            x = index * (width + GAP_PX)
            draw.text((x + width / 2, CAPTION_HEIGHT_PX / 2), caption, fill="black", font=font, anchor="mm")
            canvas.paste(Image.fromarray(frame), (x, CAPTION_HEIGHT_PX))
        pictures.append(canvas.quantize(NUM_COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE))
    return pictures


def side_by_side(arguments: list[str]) -> None:
    """Runs the command."""
    if wants_help(arguments):
        usage = "python -m studies.pages.side_by_side left=MP4 right=MP4 out=GIF [key=value ...]"
        print(command_help(usage, "Puts two episode videos next to each other in one looping GIF.", SideBySideConfig))
        return
    config = compose_config(SideBySideConfig, arguments)
    captions = (config.left_caption, config.right_caption)
    pictures = compose_frames(read_video(config.left), read_video(config.right), captions)
    durations_ms = [config.frame_ms] * (len(pictures) - 1) + [PAUSE_MS]
    encoded = io.BytesIO()
    pictures[0].save(
        encoded, "GIF", save_all=True, append_images=pictures[1:], duration=durations_ms, loop=0, optimize=True
    )
    require_outside(config.out)
    write_atomic(config.out, encoded.getvalue())
    print(f"wrote {config.out}: {len(pictures)} frames, {Path(config.out).stat().st_size / 1e3:.0f} kB")


def main() -> int:
    """Entry point."""
    return run_command(side_by_side)


if __name__ == "__main__":
    sys.exit(main())
