"""Heat maps over an episode's frames: the overlay with its caption, and a sheet of a few moments.

Letters: ``H W`` rows and columns of the frames side by side.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from smidgen.evaluation.videos import enlarged

COLOUR_MAP = "inferno"
# Rec. 601, as a colour frame becomes a grey one.
LUMINANCE_RGB = (0.299, 0.587, 0.114)
LINE_PX, FONT_PX, MARGIN_PX = 15, 12, 4
PAPER_RGB, INK_RGB = (24, 24, 24), (235, 235, 235)
SHEET_MOMENTS = 5


def overlay(frame_HWC: np.ndarray, heat_HW: np.ndarray) -> np.ndarray:
    """A frame in grey under a heat map: what is cold stays grey, what is hot glows.

    Args:
        frame_HWC: uint8 (H, W, 3).
        heat_HW: Heat; 0 and less is cold, 1 and more is hot.

    Returns:
        uint8 (H, W, 3).
    """
    heat_HW = np.clip(heat_HW, 0.0, 1.0)
    grey_HW1 = (frame_HWC @ np.array(LUMINANCE_RGB))[..., None]
    glow_HWC = matplotlib.colormaps[COLOUR_MAP](heat_HW)[..., :3] * 255.0
    # The root brings out what is lukewarm.
    share_HW1 = np.sqrt(heat_HW)[..., None]
    return np.round(grey_HW1 * (1.0 - share_HW1) + glow_HWC * share_HW1).astype(np.uint8)


def captioned(frame_HWC: np.ndarray, lines: Sequence[str]) -> np.ndarray:
    """An enlarged frame with lines of text below it: uint8 (rows, columns, 3)."""
    large_HWC = enlarged(frame_HWC)
    text = Image.new("RGB", (large_HWC.shape[1], LINE_PX * len(lines) + MARGIN_PX), PAPER_RGB)
    pen, font = ImageDraw.Draw(text), ImageFont.load_default(FONT_PX)
    for index, line in enumerate(lines):
        pen.text((MARGIN_PX, LINE_PX * index), line, fill=INK_RGB, font=font)
    return np.concatenate([large_HWC, np.asarray(text)])


def contact_sheet(plain: Sequence[np.ndarray], overlaid: Sequence[np.ndarray]) -> bytes:
    """A PNG of a few moments, evenly from the first frame to the last: plain above, overlay below.

    Args:
        plain: uint8 (H, W, 3) each, at least one.
        overlaid: As many, captioned.
    """
    moments = np.unique(np.linspace(0, len(plain) - 1, SHEET_MOMENTS).round().astype(int))
    columns = [np.concatenate([enlarged(plain[moment]), overlaid[moment]]) for moment in moments]
    gap = np.full((columns[0].shape[0], MARGIN_PX, 3), PAPER_RGB, dtype=np.uint8)
    parts = [part for column in columns for part in (gap, column)][1:]
    file = io.BytesIO()
    Image.fromarray(np.concatenate(parts, axis=1)).save(file, "png", optimize=True)
    return file.getvalue()
