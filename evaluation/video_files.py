"""Paths of a record's films, and which evaluation a film belongs to.

A film is known by its frames: their hash stands in the record and, as a comment, in the MP4 file, whose own bytes
differ from encoder to encoder. A saliency film carries the hash of the checkpoint that it shows. Records of version 1
have their films in ``../videos``, which several folders of records may share; these films carry nothing.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from smidgen.evaluation.record_schema import SCHEMA_VERSION, Record, Video

VIDEOS = "videos"
_MARK = re.compile(rb"smidgen (?:frames|checkpoint) [0-9a-f]{64}")


def video_name(task: str, policy_name: str, seed: int) -> str:
    """File name of an episode's film."""
    return f"{task}-{policy_name}-{seed}.mp4"


def video_folder(results: Path, schema_version: int = SCHEMA_VERSION) -> Path:
    """Where the films of the records in a folder stand: in it, or beside it for records of version 1."""
    return results / VIDEOS if schema_version > 1 else Path(os.path.normpath(results / "..")) / VIDEOS


def video_path(record_path: Path, video: Video, schema_version: int = SCHEMA_VERSION) -> Path:
    """Where a film named in a record stands."""
    return video_folder(record_path.parent, schema_version) / video["file"]


def frames_mark(frames_sha256: str) -> str:
    """What an episode's film carries."""
    return f"smidgen frames {frames_sha256}"


def checkpoint_mark(checkpoint_sha256: str) -> str:
    """What a saliency film carries."""
    return f"smidgen checkpoint {checkpoint_sha256}"


def read_mark(film: Path) -> str | None:
    """What a film carries; None if it carries nothing or is not there."""
    found = _MARK.search(film.read_bytes()) if film.is_file() else None
    return found[0].decode() if found else None


def is_own_film(video: Video, film: Path) -> bool:
    """Whether a file is the film that a record names: it has the frames; of version 1, it carries nothing."""
    frames = video.get("frames_sha256")
    return film.is_file() and read_mark(film) == (None if frames is None else frames_mark(frames))


def is_own_look(record: Record, film: Path) -> bool:
    """Whether a saliency film shows the record's checkpoint; of version 1, also one that carries nothing."""
    mark, checkpoint = read_mark(film), record["policy"]["checkpoint_sha256"]
    is_unmarked = mark is None and record["schema_version"] == 1
    return is_unmarked or (checkpoint is not None and mark == checkpoint_mark(checkpoint))
