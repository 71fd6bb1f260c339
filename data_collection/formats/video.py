"""Frames of an MP4, decoded one at a time by the ffmpeg that imageio brings."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from smidgen.data_collection.array_files import Array
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import regular_file_size

_MAX_MESSAGE_BYTES = 10_000
# The container is named and other protocols are off, so that a file cannot make ffmpeg open another one.
_INPUT = ("-v", "error", "-nostdin", "-protocol_whitelist", "file", "-f", "mov", "-enable_drefs", "0")
# Every stored frame once, whatever its time says; PPM gives each frame its size.
_OUTPUT = (
    "-map",
    "0:v:0",
    "-fps_mode",
    "passthrough",
    "-pix_fmt",
    "rgb24",
    "-f",
    "image2pipe",
    "-c:v",
    "ppm",
    "pipe:1",
)


def read_frames(path: Path, size: tuple[int, int]) -> Iterator[Array]:
    """Yields the frames of a video in order: uint8 (H, W, 3).

    Args:
        path: The MP4.
        size: (rows, columns) that its frames must have.

    Raises:
        UserError: If it is missing, damaged or of another size.
    """
    import imageio_ffmpeg

    rows, columns = size
    header, num_bytes = f"P6\n{columns} {rows}\n255\n".encode(), rows * columns * 3
    regular_file_size(path)
    command = [imageio_ffmpeg.get_ffmpeg_exe(), *_INPUT, "-i", str(path), *_OUTPUT]
    # A file in memory takes the messages: a pipe that nobody reads would block ffmpeg.
    with (
        open(os.memfd_create("messages"), "w+b") as messages,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=messages) as process,
    ):
        assert process.stdout is not None
        try:
            while found := process.stdout.read(len(header)):
                content = process.stdout.read(num_bytes) if found == header else b""
                if len(content) != num_bytes:
                    raise UserError(
                        f"{path}: expected frames of {rows} x {columns} pixels: another size, or truncated?"
                    )
                yield np.frombuffer(content, np.uint8).reshape(rows, columns, 3)
            if process.wait():
                messages.seek(0)
                reason = messages.read(_MAX_MESSAGE_BYTES).decode("utf-8", "replace").strip().rpartition("\n")[2]
                raise UserError(f"{path} is not a readable MP4 ({reason[-80:]}): truncated or altered?")
        finally:
            process.kill()
