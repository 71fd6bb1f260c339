"""Robot pictures as a rung: windows of grey frames out of an episode store, kept in one small file.

Every episode gives two windows of the same arm, which differ in nothing but the place of the cue: what a policy must
tell cannot be read off the arm. The file is made by ``python -m studies.synthetic.frames``.

Axes: E episodes, V views of each (as it was, cue moved), T frames (newest last), H rows, W columns, B examples,
N tokens, C channels, A target coordinates (the cue's x and y).
"""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from smidgen.data_collection.array_files import parse_npy
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import canonical_json, regular_file_size, write_atomic
from studies.synthetic.config import LadderConfig
from studies.synthetic.rungs import Array, Rung

LIFT_PICTURES = Path(__file__).with_name("lift_pictures.npz")
# Limit on the unpacked size: enough for 5,000 windows of 3 x 64 x 64.
_MAX_BYTES = 1 << 26
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)
_DTYPES = {"pictures": "|u1", "cue_m": "<f8", "provenance": "|u1"}
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_UNREADABLE = (
    *(OSError, ValueError, EOFError, KeyError, OverflowError, RuntimeError, NotImplementedError),
    *(zipfile.BadZipFile, zlib.error, struct.error),
)


@dataclass(frozen=True, eq=False)
class RobotPictures:
    """Windows of grey pictures and where the cue is in each.

    Attributes:
        pictures_EVTHW: uint8.
        cue_m_EVA: float64, the cue's x and y in the world's frame, metres.
        provenance: What they were made from: the data set's SHA-256, its task and versions, the seeds.
    """

    pictures_EVTHW: Array
    cue_m_EVA: Array
    provenance: Mapping[str, Any]

    def write(self, path: Path) -> None:
        """Writes the file, deflated; equal content gives equal bytes with the same version of zlib."""
        provenance = np.frombuffer(canonical_json(dict(self.provenance)), np.uint8)
        arrays = {"pictures": self.pictures_EVTHW, "cue_m": self.cue_m_EVA, "provenance": provenance}
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            for name, array in arrays.items():
                member = io.BytesIO()
                np.lib.format.write_array(member, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
                information = zipfile.ZipInfo(f"{name}.npy", _ZIP_EPOCH)
                archive.writestr(information, member.getbuffer(), zipfile.ZIP_DEFLATED, compresslevel=9)
        write_atomic(path, content.getvalue())


def read_pictures(path: Path) -> RobotPictures:
    """Reads a file of robot pictures.

    Raises:
        UserError: If it is missing, damaged, too large, or holds anything else.
    """
    if not path.exists():
        raise UserError(f"{path} does not exist; python -m studies.synthetic.frames makes one")
    regular_file_size(path)
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            names, num_bytes = sorted(member.filename for member in members), sum(each.file_size for each in members)
            if names != sorted(f"{name}.npy" for name in _DTYPES) or num_bytes > _MAX_BYTES:
                raise ValueError(f"holds {', '.join(names)[:60]!r} of {num_bytes} bytes")
            if any(member.compress_type not in _METHODS for member in members):
                raise ValueError("packed in another way than deflated")
            arrays = {name: parse_npy(path, name, archive.read(f"{name}.npy")) for name in _DTYPES}
        _check_arrays(arrays)
        provenance = json.loads(arrays["provenance"].tobytes())
        if not isinstance(provenance, dict):
            raise ValueError(f"provenance is {type(provenance).__name__}, expected an object")
    except _UNREADABLE as error:
        raise UserError(f"{path} is not a file of robot pictures ({str(error)[:80]}): truncated or altered?") from error
    return RobotPictures(arrays["pictures"], arrays["cue_m"], provenance)


def robot_pictures(config: LadderConfig, layout: np.random.Generator) -> Rung:
    """``frames``: robot pictures of which every one is a class of its own; the target is the cue's x and y.

    Pool and held-out come from different episodes, drawn by seed. Pixels are averaged over blocks down to the grid's
    rows and columns, and the newest frames are taken. Grey levels are divided by 255; the file decides the level.
    """
    path = Path(config.frames) if config.frames else LIFT_PICTURES
    pictures = read_pictures(path)
    num_episodes, num_views, *stored_grid = pictures.pictures_EVTHW.shape
    _check_grid(config, path, tuple(stored_grid))
    num_train, num_held_out = config.pool_sizes
    num_for_training = -(-num_train // num_views)
    num_needed = num_for_training - (-num_held_out // num_views)
    if num_needed > num_episodes:
        raise UserError(
            f"{path} holds {num_episodes} episodes of {num_views} pictures; num_train={num_train} and "
            f"num_held_out={num_held_out} need {num_needed}: ask for fewer"
        )
    order_BV = layout.permutation(num_episodes)[:, None] * num_views + np.arange(num_views)
    splits = order_BV[:num_for_training].ravel()[:num_train], order_BV[num_for_training:].ravel()[:num_held_out]
    windows_BTHW = pictures.pictures_EVTHW.reshape(-1, *stored_grid)

    def draw(labels: Array, examples: np.random.Generator) -> Array:
        return _block_means(windows_BTHW[labels], config.grid).reshape(len(labels), config.num_tokens, 1)

    return Rung(pictures.cue_m_EVA.reshape(-1, pictures.cue_m_EVA.shape[-1]), draw, splits)


def _block_means(windows_BTHW: Array, grid: tuple[int, int, int]) -> Array:
    num_frames, height, width = grid
    newest_BTHW = windows_BTHW[:, -num_frames:]
    block = (newest_BTHW.shape[2] // height, newest_BTHW.shape[3] // width)
    blocks = newest_BTHW.reshape(len(newest_BTHW), num_frames, height, block[0], width, block[1])
    return blocks.mean(axis=(3, 5), dtype=np.float32) / np.float32(255)


def _check_grid(config: LadderConfig, path: Path, stored: tuple[int, ...]) -> None:
    frames, *sides = zip(config.grid, stored, strict=True)
    if frames[0] > frames[1] or any(have % asked for asked, have in sides):
        raise UserError(
            f"{path} holds windows of {' x '.join(map(str, stored))}: the grid should have no more frames, and rows "
            f"and columns that divide these, is {config.grid}"
        )


def _check_arrays(arrays: Mapping[str, Array]) -> None:
    for name, dtype in _DTYPES.items():
        if arrays[name].dtype.str != dtype:
            raise ValueError(f"{name} is {arrays[name].dtype.str}, expected {dtype}")
    pictures, cue_m = arrays["pictures"], arrays["cue_m"]
    if pictures.ndim != 5 or 0 in pictures.shape or cue_m.shape != (*pictures.shape[:2], 2):
        raise ValueError(f"pictures {pictures.shape} do not go with cue_m {cue_m.shape}")
    if not np.isfinite(cue_m).all():
        raise ValueError("cue_m holds NaN or infinity")
