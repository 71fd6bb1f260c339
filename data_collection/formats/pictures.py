"""PNG and JPEG of others, decoded only after their header says the expected size; frames of ours as PNG."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from smidgen.data_collection.array_files import Array
from smidgen.runtime.errors import UserError

_FORMATS = ("PNG", "JPEG")
# What Pillow is known to raise on damaged bytes; its warnings are about bombs and broken metadata.
_UNREADABLE = (
    *(OSError, SyntaxError, ValueError, EOFError, OverflowError, MemoryError, RuntimeError, TypeError),
    *(KeyError, IndexError, AttributeError, Warning, struct.error, zlib.error, Image.DecompressionBombError),
)
_MAX_PIXELS = 4096 * 4096


def png(frame: Array) -> bytes:
    """A frame uint8 (H, W, 3) as PNG, lossless."""
    content = io.BytesIO()
    # Level 1: frames of simulators shrink little further, and an export encodes every one of them.
    Image.fromarray(frame).save(content, "PNG", compress_level=1)
    return content.getvalue()


def squares(frames: Array, size: int) -> Array:
    """Frames as squares: the centre, scaled by area averaging; unchanged where they have that size already.

    Args:
        frames: uint8 (S, H, W, 3).
        size: Rows and columns of the result; 0: unchanged.
    """
    rows, columns = frames.shape[1:3]
    if not size or rows == columns == size:
        return frames
    side = min(rows, columns)
    top, left = (rows - side) // 2, (columns - side) // 2
    cropped = frames[:, top : top + side, left : left + side]
    scaled = [np.asarray(Image.fromarray(frame).resize((size, size), Image.Resampling.BOX)) for frame in cropped]
    return np.stack(scaled)


def decode(path: Path, content: bytes, size: tuple[int, int] | None = None) -> Array:
    """A picture as uint8 (H, W, 3).

    Args:
        path: The file that holds it, for messages.
        content: PNG or JPEG.
        size: (rows, columns) that it must have, if known.

    Raises:
        UserError: If it is neither, damaged, too large or of another size.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            picture = Image.open(io.BytesIO(content), formats=_FORMATS)
            columns, rows = picture.size
            if (size is not None and (rows, columns) != size) or rows * columns > _MAX_PIXELS:
                raise UserError(f"{path}: a picture has {rows} x {columns} pixels, expected {size or 'fewer'}")
            if picture.mode.startswith(("I", "F")):
                raise UserError(f"{path}: a picture has more than 8 bits per channel; convert it first")
            return np.asarray(picture.convert("RGB"))
    except _UNREADABLE as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path}: a picture cannot be decoded ({str(error)[:80]}): truncated or altered?") from error
