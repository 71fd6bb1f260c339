"""Export of a store to another project's format, and import of a data set whose format is recognised.

An export is a directory with ``demonstrations`` and, if the store has any, ``pairs``: a file or a directory each, in
the format's own layout.
"""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path

from smidgen.data_collection.formats.clip import WHOLE, ClipSet, View, is_plain_name
from smidgen.data_collection.formats.config import ExportConfig, ImportConfig
from smidgen.data_collection.formats.from_store import (
    DEMONSTRATIONS,
    PAIRS,
    counterfactual_pairs,
    demonstrations,
)
from smidgen.data_collection.formats.known import FORMATS, detect, locate
from smidgen.data_collection.formats.to_store import Written, write_store
from smidgen.data_collection.store import EpisodeStore
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import atomic_directory, remove_leftovers
from smidgen.runtime.places import require_outside


def export_store(store: EpisodeStore, config: ExportConfig) -> list[Path]:
    """Writes a store in another format, all or nothing.

    Returns:
        The sets written.

    Raises:
        UserError: If the output exists, a library is missing, or there is nothing to export.
    """
    out = _new_directory(config.out)
    sets = {DEMONSTRATIONS: demonstrations(store), PAIRS: counterfactual_pairs(store)}
    for clips in sets.values():
        if clips is not None:
            _require_plain_names(store, clips)
    write = FORMATS[config.format].write
    with atomic_directory(out) as temporary:
        written = [write(clips, temporary / name, config) for name, clips in sets.items() if clips is not None]
    return [out / path.relative_to(temporary) for path in written]


def import_set(path: Path, config: ImportConfig) -> Written:
    """Writes a store from a data set of another format, all or nothing.

    Raises:
        UserError: If the format is not recognised, the set is damaged, or it lacks what a store needs.
    """
    out = _new_directory(config.out)
    found, pairs_path = locate(path)
    format_of = detect(found)
    clips = format_of.read(found, View(config.cameras, config.image_size))
    if clips.source:
        _require_no_settings(found, config)
    pairs = format_of.read(pairs_path, WHOLE) if pairs_path is not None and clips.source else None
    with atomic_directory(out) as temporary:
        written = write_store(found, clips, pairs, config, temporary)
        EpisodeStore.open(temporary)
    return written


def _require_plain_names(store: EpisodeStore, clips: ClipSet) -> None:
    """Refuses camera names that could not be read again, before anything is written."""
    for camera in clips.image_sizes:
        if not is_plain_name(camera) or camera in clips.column_names:
            raise UserError(
                f"{store.directory}: a camera called {camera!r:.60} has no place in other formats: expected a name "
                "without slashes, '..' or a dot in front, and not that of a state"
            )


def _require_no_settings(path: Path, config: ImportConfig) -> None:
    """Refuses settings that would be ignored: what was exported from here comes back as it was."""
    given = [each.name for each in fields(config) if each.name != "out" and getattr(config, each.name) != each.default]
    given = [name for name in given if name != "cameras" or config.cameras]
    if given:
        raise UserError(
            f"{path} was exported from here and comes back as it was; remove {', '.join(f'{name}=' for name in given)}"
        )


def _new_directory(text: str) -> Path:
    out = Path(text).absolute()
    require_outside(out)
    if os.path.lexists(out):
        raise UserError(f"{out} already exists; choose another out=")
    # Of a run that was killed.
    remove_leftovers(out.parent, of=out.name)
    return out
