"""Paths of a record's videos, and which evaluation a video belongs to.

A video is identified by its frames: their hash is in the record and, as a comment, in the MP4 file, whose own bytes
differ between encoders. A saliency video contains the hash of the checkpoint that it shows. Records of version 1 have
their videos in ``../videos``, which several folders of records may share; these videos have no mark.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from smidgen.evaluation.record_schema import SCHEMA_VERSION, Record, Video

VIDEOS = "videos"
_MARK = re.compile(rb"smidgen (?:frames|checkpoint) [0-9a-f]{64}")


def video_name(task: str, policy_name: str, seed: int) -> str:
    """File name of an episode's video."""
    return f"{task}-{policy_name}-{seed}.mp4"


def video_folder(results: Path, schema_version: int = SCHEMA_VERSION) -> Path:
    """The folder of the videos of the records in a folder: inside it, or beside it for records of version 1."""
    return results / VIDEOS if schema_version > 1 else Path(os.path.normpath(results / "..")) / VIDEOS


def video_path(record_path: Path, video: Video, schema_version: int = SCHEMA_VERSION) -> Path:
    """The path of a video that a record names."""
    return video_folder(record_path.parent, schema_version) / video["file"]


def frames_mark(frames_sha256: str) -> str:
    """The mark of an episode's video."""
    return f"smidgen frames {frames_sha256}"


def checkpoint_mark(checkpoint_sha256: str) -> str:
    """The mark of a saliency video."""
    return f"smidgen checkpoint {checkpoint_sha256}"


def read_mark(file: Path) -> str | None:
    """A video's mark; None if it has none or is missing."""
    found = _MARK.search(file.read_bytes()) if file.is_file() else None
    return found[0].decode() if found else None


def is_own_video(video: Video, file: Path) -> bool:
    """Whether a file is the video that a record names: it has the frames' mark, or none for version 1."""
    frames = video.get("frames_sha256")
    return file.is_file() and read_mark(file) == (None if frames is None else frames_mark(frames))


def is_own_look(record: Record, file: Path) -> bool:
    """Whether a saliency video shows the record's checkpoint; for version 1, also one without a mark."""
    mark, checkpoint = read_mark(file), record["policy"]["checkpoint_sha256"]
    is_unmarked = mark is None and record["schema_version"] == 1
    return is_unmarked or (checkpoint is not None and mark == checkpoint_mark(checkpoint))
