"""Readers of other projects' data sets: robomimic's and Minari's HDF5, LeRobot's JSON, Parquet, PNG and MP4."""

from __future__ import annotations

import functools
import io
import itertools
import json
import random
import struct
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from smidgen.data_collection.formats import minari
from smidgen.data_collection.formats.clip import View
from smidgen.data_collection.formats.config import ImportConfig
from smidgen.data_collection.formats.known import detect, locate
from smidgen.data_collection.formats.to_store import foreign_episode, foreign_header
from tests.data_collection.formats import foreign_sets
from tests.fuzz.hostile import NAMES, NUMBERS, TARGETS, TEXTS
from tests.fuzz.mutations import spoil_bytes, spoil_json, spoil_json_file, spoil_place, to_bytes
from tests.fuzz.reader import Case, Files, Reader, files_below

ROBOMIMIC, LEROBOT, MINARI, STORE = "theirs.hdf5", "lerobot", "minari", "store"
STEPS = f"{LEROBOT}/data/chunk-000/file-000.parquet"
EPISODES = f"{LEROBOT}/meta/episodes/chunk-000/file-000.parquet"
INFO = f"{LEROBOT}/meta/info.json"
VIDEO = f"{LEROBOT}/videos/observation.images.top/chunk-000/file-000.mp4"
CAMERA = "observation.images.top"
_DTYPES = ("u1", "<i8", "<f4", "<f8", ">f8", "<c16", "S9", "?")
_SHAPES = ((), (0,), (3,), (3, 0), (3, 7), (2, 7), (3, 8, 8, 3), (3, 2**40), (2**31, 7), (3, 4096, 4096, 3), (1,) * 30)


def _planted(write: Callable[[Path], object]) -> Callable[[], Files]:
    @functools.cache
    def files() -> Files:
        with tempfile.TemporaryDirectory() as scratch:
            write(Path(scratch))
            return files_below(Path(scratch))

    return files


def _write_minari(folder: Path) -> None:
    rng, root = np.random.default_rng(0), folder / MINARI
    (root / "data").mkdir(parents=True)
    frames, actions = foreign_sets.random_episode(rng)
    space = json.dumps({"type": "Dict", "subspaces": {"pixels": {"type": "Box", "dtype": "uint8", "shape": [8, 8, 3]}}})
    metadata = {"data_format": "hdf5", "dataset_id": "a/b-v0", "jpeg_encoding": False, "observation_space": space}
    (root / minari.METADATA).write_text(json.dumps(metadata))
    with h5py.File(root / minari.DATA, "w") as file:
        file["episode_0/observations/pixels"] = np.concatenate([frames, frames[:1]])
        file["episode_0/observations/speed"] = np.arange(4.0)
        file["episode_0/actions"] = actions
        file["episode_0/infos/success"] = np.ones(4, bool)


def _reading(name: str) -> Callable[[Path, tuple[str, ...]], None]:
    """Everything that an import does but write the store."""

    def read(folder: Path, words: tuple[str, ...]) -> None:
        path, _ = locate(folder / name)
        for image_size in (0, 4):
            clips = detect(path).read(path, View(image_size=image_size))
            config = ImportConfig(out=str(folder / STORE), control_hz=20.0, image_size=image_size)
            header = foreign_header(path, clips, config)
            for number, clip in enumerate(clips.clips()):
                foreign_episode(path, clip, header, number).frames.sum()

    return read


def spoil_hdf5(rng: random.Random, content: bytes) -> bytes:
    """Members deleted, moved, linked, or replaced by arrays that claim something else; or spoiled bytes."""
    if rng.random() < 0.5:
        return spoil_bytes(rng, content)
    buffer = io.BytesIO(content)
    with h5py.File(buffer, "r+") as file:
        for _ in range(rng.choice((1, 1, 2))):
            names: list[str] = []
            file.visit(names.append)
            if names:
                rng.choice(_HDF5_EDITS)(rng, file, rng.choice(sorted(names)))
    return buffer.getvalue()


def _remove(rng: random.Random, file: Any, name: str) -> None:
    del file[name]


def _claim(rng: random.Random, file: Any, name: str) -> None:
    del file[name]
    shape = rng.choice(_SHAPES)
    chunks = tuple(min(size, 2) or 1 for size in shape) if shape and 0 not in shape else None
    file.create_dataset(
        name, shape=shape, dtype=rng.choice(_DTYPES), chunks=chunks, compression="gzip" if chunks else None
    )


def _claim_elsewhere(rng: random.Random, file: Any, name: str) -> None:
    del file[name]
    file.create_dataset(name, shape=(3, 7), dtype="<f8", external=[(rng.choice(TARGETS), 0, 168)])


def _link(rng: random.Random, file: Any, name: str) -> None:
    del file[name]
    target = rng.choice(TARGETS)
    file[name] = rng.choice((h5py.SoftLink("/data"), h5py.SoftLink(target), h5py.ExternalLink(target, "/data")))


def _link_round(rng: random.Random, file: Any, name: str) -> None:
    if isinstance(file[name], h5py.Group) and "again" not in file[name]:
        file[f"{name}/again"] = file[name]


def _link_tree(rng: random.Random, file: Any, name: str) -> None:
    """Few links that are many arrays to whoever follows each."""
    if isinstance(file[name], h5py.Group) and "levels" not in file:
        for level, branch in itertools.product(range(6), range(rng.choice((2, 5)))):
            file.require_group(f"levels/{level}")[str(branch)] = file.require_group(f"levels/{level + 1}")
        file["levels/6/leaf"] = np.zeros(4)
        file[f"{name}/tree"] = file["levels/0"]


def _link_often(rng: random.Random, file: Any, name: str) -> None:
    """One array under many names."""
    if isinstance(file[name], h5py.Dataset) and f"{name}_0_image" not in file:
        for index in range(rng.choice((3, 300))):
            file[f"{name}_{index}_image"] = file[name]


def _speak(rng: random.Random, file: Any, name: str) -> None:
    del file[name]
    file[name] = [text.encode("utf-8", "replace").replace(b"\0", b"") for text in rng.sample(TEXTS, 3)]


def _hold_nan(rng: random.Random, file: Any, name: str) -> None:
    if isinstance(file[name], h5py.Dataset) and file[name].dtype.kind == "f" and file[name].nbytes < 1 << 16:
        file[name][...] = rng.choice((np.nan, np.inf, 1e308, -0.0))


def _rename(rng: random.Random, file: Any, name: str) -> None:
    other = rng.choice(NAMES).encode("utf-8", "replace").decode().replace("\0", "")[:1000].strip("/.") or "x"
    if not other.startswith(name) and other not in file:
        file.move(name, other)


def _tell(rng: random.Random, file: Any, name: str) -> None:
    key = rng.choice(("env_args", "num_samples", "seed", "success", "total", "model_file"))
    value = rng.choice((*NUMBERS[:20], *TEXTS, "{", '{"env_name": ' + "[" * 3000))
    try:
        file[name].attrs[key] = value
    except (TypeError, ValueError, OverflowError, OSError, UnicodeError):
        file["data" if "data" in file else name].attrs[key] = np.float64("nan")


_HDF5_EDITS = (
    _remove,
    _claim,
    _claim,
    _claim_elsewhere,
    _link,
    _link_round,
    _link_tree,
    _link_often,
    _speak,
    _hold_nan,
    _rename,
    _tell,
)


def spoil_parquet(rng: random.Random, content: bytes) -> bytes:
    """A column of another type, width or name; rows doubled or missing; or spoiled bytes, the footer's above all."""
    if rng.random() < 0.3:
        return spoil_bytes(rng, content)
    if rng.random() < 0.4:
        length = int.from_bytes(content[-8:-4], "little")
        start = len(content) - 8 - length
        return content[:start] + spoil_bytes(rng, content[start:-8]) + content[-8:]
    table = pq.read_table(io.BytesIO(content))
    name = rng.choice(table.column_names)
    index, rows = table.column_names.index(name), table.num_rows
    edit = rng.randrange(5)
    if edit == 0:
        table = table.remove_column(index)
    elif edit == 1:
        table = rng.choice((table.slice(1), pa.concat_tables([table, table]), table.slice(0, 0), _many(table)))
    elif edit == 2:
        table = table.rename_columns([rng.choice(NAMES)[:100] if each == name else each for each in table.column_names])
    else:
        table = table.set_column(index, name, _column(rng, rows))
    sink = io.BytesIO()
    pq.write_table(table, sink, compression=rng.choice(("snappy", "zstd", "gzip", "none")))
    return sink.getvalue()


def _many(table: Any) -> Any:
    """Ten thousand rows of one, which take no room; numbered, where they have a number."""
    rows = table.take([0] * 10_000)
    if "episode_index" not in rows.column_names:
        return rows
    place = rows.column_names.index("episode_index")
    return rows.set_column(place, "episode_index", pa.array(range(rows.num_rows)))


def _column(rng: random.Random, rows: int) -> Any:
    big = [value for value in NUMBERS if isinstance(value, int) and abs(value) < 2**63]
    return rng.choice(
        (
            lambda: pa.array([rng.choice(big) for _ in range(rows)], pa.int64()),
            lambda: pa.array([float(rng.choice(big)) for _ in range(rows)]),
            lambda: pa.array([None] * rows, pa.float32()),
            lambda: pa.nulls(rows),
            lambda: pa.array([[1.0] * rng.randrange(9)] * rows),
            lambda: pa.array([[float("nan")] * foreign_sets.NUM_JOINTS] * rows),
            lambda: pa.array([[[1.0]]] * rows),
            lambda: pa.array([[1.0] * (foreign_sets.NUM_JOINTS + row % 3 - 1) for row in range(rows)]),
            lambda: pa.array(["../../etc/passwd"] * rows),
            lambda: pa.array([{"bytes": None, "path": rng.choice(TARGETS)}] * rows),
            lambda: pa.array([{"bytes": spoil_png(rng, _PNG), "path": None}] * rows),
            lambda: pa.array([b"\0" * rng.choice((0, 1, 1 << 20))] * rows),
        )
    )()


_PNG = foreign_sets.png(np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8))


def spoil_png(rng: random.Random, content: bytes) -> bytes:
    """A chunk of another kind, size or content with a right checksum, or spoiled bytes."""
    if rng.random() < 0.3:
        return spoil_bytes(rng, content)
    chunks, at = [], 8
    while at < len(content):
        length = int.from_bytes(content[at : at + 4], "big")
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += length + 12
    place = rng.randrange(len(chunks))
    kind, data = chunks[place]
    edit = rng.randrange(6)
    if edit == 0:
        sizes = rng.choice(((32, 32), (1 << 30, 1 << 30), (32, 1 << 20), (0, 32)))
        chunks[0] = (
            b"IHDR",
            struct.pack(">IIBBBBB", *sizes, *(rng.choice((0, 1, 2, 3, 4, 6, 8, 16)) for _ in range(5))),
        )
    elif edit == 1:
        chunks[place] = (kind, spoil_bytes(rng, data))
    elif edit == 2:
        chunks.insert(1, (b"zTXt", b"x\0\0" + zlib.compress(b"\0" * 10**7)))
    elif edit == 3:
        chunks.insert(1, (rng.choice((b"iCCP", b"acTL", b"fcTL", b"tRNS", b"PLTE", b"eXIf")), data))
    elif edit == 4:
        del chunks[place]
    else:
        chunks[1] = (b"IDAT", zlib.compress(b"\0" * rng.choice((0, 1, 10**7))))
    joined = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return content[:8] + joined


def _spoil_pictures(rng: random.Random, content: bytes) -> bytes:
    table = pq.read_table(io.BytesIO(content))
    rows = [dict(row) for row in table[CAMERA].to_pylist()]
    rows[rng.randrange(len(rows))]["bytes"] = spoil_png(rng, _PNG)
    sink = io.BytesIO()
    pq.write_table(table.set_column(table.column_names.index(CAMERA), CAMERA, pa.array(rows)), sink)
    return sink.getvalue()


def spoil_mp4(rng: random.Random, content: bytes) -> bytes:
    """A box of another kind or size, a playlist in place of the file, or spoiled bytes."""
    kind = rng.randrange(6)
    if kind == 0:
        lists = (b"#EXTM3U\nfile:///etc/passwd\n", b"ffconcat version 1.0\nfile /etc/passwd\n", b"")
        return rng.choice(lists)
    boxes = (b"moov", b"trak", b"stsd", b"stsz", b"stco", b"stts", b"stsc", b"avcC", b"tkhd", b"mdhd", b"dref", b"mdat")
    place = content.find(rng.choice(boxes))
    if kind < 4 and place > 4:
        start = place + rng.choice((-4, 0, 4, 8, 12, 16))
        value = rng.choice((0, 1, 7, 2**16, 2**31 - 1, 2**32 - 1))
        return content[:start] + value.to_bytes(4, "big") + content[start + 4 :]
    return spoil_bytes(rng, content)


def _spoiling(paths: dict[str, Callable[[random.Random, bytes], bytes]]) -> Callable[[random.Random, Files], Case]:
    def draw(rng: random.Random, valid: Files) -> Case:
        name = rng.choice(sorted(paths))
        return Case({name: spoil_place(rng) if rng.random() < 0.05 else paths[name](rng, valid[name])})

    return draw


def _spoil_metadata(rng: random.Random, content: bytes) -> bytes:
    """Minari's metadata, which hold spaces as JSON in JSON."""
    if rng.random() < 0.6:
        return spoil_json_file(rng, content)
    metadata = json.loads(content)
    metadata["jpeg_encoding"] = True
    metadata["observation_space"] = to_bytes(rng, spoil_json(rng, json.loads(metadata["observation_space"]))).decode(
        "utf-8", "replace"
    )
    return json.dumps(metadata).encode()


_pictures = _planted(lambda folder: foreign_sets.write_foreign_lerobot(folder / LEROBOT))
_videos = _planted(lambda folder: foreign_sets.write_foreign_lerobot(folder / LEROBOT, video=True))
_hdf5 = _planted(lambda folder: foreign_sets.write_foreign_robomimic(folder / ROBOMIMIC))
_minari = _planted(_write_minari)

FORMAT_READERS: dict[str, Reader] = {
    "hdf5": Reader(_hdf5, _spoiling({ROBOMIMIC: spoil_hdf5}), _reading(ROBOMIMIC)),
    "minari": Reader(
        _minari,
        _spoiling({f"{MINARI}/{minari.METADATA}": _spoil_metadata, f"{MINARI}/{minari.DATA}": spoil_hdf5}),
        _reading(MINARI),
    ),
    "parquet": Reader(
        _pictures,
        _spoiling({STEPS: spoil_parquet, EPISODES: spoil_parquet, INFO: spoil_json_file}),
        _reading(LEROBOT),
    ),
    "png": Reader(_pictures, _spoiling({STEPS: _spoil_pictures}), _reading(LEROBOT)),
    "mp4": Reader(_videos, _spoiling({VIDEO: spoil_mp4}), _reading(LEROBOT)),
}
