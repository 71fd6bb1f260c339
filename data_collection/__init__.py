"""Scripted experts, the episode store, and the commands that collect, verify and preview demonstrations."""

from typing import TYPE_CHECKING

from smidgen.runtime.lazy_names import lazy_names as _lazy_names

if TYPE_CHECKING:
    from smidgen.data_collection.episode import Episode
    from smidgen.data_collection.store import EpisodeStore
else:
    __getattr__, __dir__ = _lazy_names(
        __name__,
        {"Episode": "smidgen.data_collection.episode", "EpisodeStore": "smidgen.data_collection.store"},
    )

__all__ = ["Episode", "EpisodeStore"]
