"""Episode videos: small MP4 files whose border turns green or red with the outcome."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np

from smidgen.evaluation.video_files import frames_mark
from smidgen.runtime.files import write_atomic

MIN_SIDE_PX = 256
BORDER_PX = 8
OUTCOME_S = 0.75
MAX_BYTES = 300_000
# H.264's constant rate factors, finest first; the first one with which a video is small enough is taken.
RATE_FACTORS = (26, 32, 38, 44, 51)
RUNNING_RGB, SUCCESS_RGB, FAILURE_RGB = (60, 60, 60), (40, 170, 80), (210, 50, 50)


class VideoRecorder:
    """Records the video of an episode; all cameras side by side. A `rollout.Recorder`."""

    def __init__(self) -> None:
        self.frames: list[np.ndarray] = []

    def capture(self, env: Any) -> None:
        """Stores the frames of the current state."""
        self.frames.append(np.concatenate(list(env.unwrapped.render_frames()), axis=1))


def frames_sha256(frames: list[np.ndarray]) -> str:
    """SHA-256 of an episode's frames as drawn, with count and shape; independent of the encoder.

    Args:
        frames: uint8 (H, W, 3) each.
    """
    digest = hashlib.sha256(repr((len(frames), *frames[0].shape)).encode())
    for frame_HWC in frames:
        digest.update(np.ascontiguousarray(frame_HWC, dtype=np.uint8).tobytes())
    return digest.hexdigest()


def enlarged(frame_HWC: np.ndarray) -> np.ndarray:
    """A frame (H, W, 3) enlarged by a whole factor, nearest neighbour, to about ``MIN_SIDE_PX`` rows."""
    factor = max(1, MIN_SIDE_PX // frame_HWC.shape[0])
    return frame_HWC.repeat(factor, axis=0).repeat(factor, axis=1)


def framed(frame_HWC: np.ndarray, colour_rgb: tuple[int, int, int]) -> np.ndarray:
    """An enlarged frame inside a border; both sides even, as H.264 requires.

    Args:
        frame_HWC: uint8 (H, W, 3).
        colour_rgb: The border's colour.
    """
    large_HWC = enlarged(frame_HWC)
    height, width = large_HWC.shape[0] + 2 * BORDER_PX, large_HWC.shape[1] + 2 * BORDER_PX
    canvas_HWC = np.empty((height + height % 2, width + width % 2, 3), dtype=np.uint8)
    canvas_HWC[:] = colour_rgb
    canvas_HWC[BORDER_PX : BORDER_PX + large_HWC.shape[0], BORDER_PX : BORDER_PX + large_HWC.shape[1]] = large_HWC
    return canvas_HWC


def write_video(path: Path, frames: list[np.ndarray], success: bool, fps: int, mark: str | None = None) -> None:
    """Writes an episode's video atomically; the last frame stays for a moment in the outcome's colour.

    It has at most ``MAX_BYTES``, unless even the coarsest encoding of a very long episode with much motion has more.

    Args:
        path: An ``.mp4`` file.
        frames: uint8 (H, W, 3) each, at least one.
        success: The episode's outcome.
        fps: Frames per second; the task's control rate plays in real time.
        mark: Identifies the video (`smidgen.evaluation.video_files`); by default the mark of its frames.
    """
    mark = frames_mark(frames_sha256(frames)) if mark is None else mark
    outcome_rgb = SUCCESS_RGB if success else FAILURE_RGB
    shown = [framed(frame, RUNNING_RGB) for frame in frames]
    shown += [framed(frames[-1], outcome_rgb)] * max(1, round(OUTCOME_S * fps))
    shown_SHWC = np.stack(shown)
    for rate_factor in RATE_FACTORS:
        encoded = _encode(shown_SHWC, fps, rate_factor, mark)
        if len(encoded) <= MAX_BYTES:
            break
    write_atomic(path, encoded)


def _encode(frames_SHWC: np.ndarray, fps: int, rate_factor: int, mark: str) -> bytes:
    return iio.imwrite(
        "<bytes>",
        frames_SHWC,
        extension=".mp4",
        plugin="FFMPEG",
        fps=fps,
        codec="libx264",
        pixelformat="yuv420p",
        macro_block_size=2,
        output_params=[
            *("-crf", str(rate_factor), "-preset", "veryfast", "-threads", "1", "-movflags", "+faststart"),
            *("-metadata", f"comment={mark}"),
        ],
    )
