"""Tracks: what a full entry of a leaderboard is.

The sample size is fixed in advance, so that nobody can stop when the figure looks good. Rows of different tracks are
never ranked together. A record that names no track belongs to ``pilot``, which is older than tracks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from smidgen.evaluation.protocol import TEST
from smidgen.runtime.errors import UserError, unknown_name


@dataclass(frozen=True)
class Track:
    """A full entry: so many training seeds, each with its final checkpoint on the first test seeds.

    Attributes:
        name: What records call it.
        num_training_seeds: Trainings of a recipe.
        num_episodes: Test episodes of each.
        names_demonstrations: Whether its protocol says which demonstrations there are, so that their seeds name them.
    """

    name: str
    num_training_seeds: int
    num_episodes: int
    names_demonstrations: bool = False


PILOT = "pilot"
CPU_STANDARD_1 = "cpu-standard-1"
TRACKS: dict[str, Track] = {
    track.name: track
    for track in (
        Track(PILOT, num_training_seeds=3, num_episodes=200),
        # Training seeds vary more than episodes do.
        Track(CPU_STANDARD_1, num_training_seeds=5, num_episodes=100, names_demonstrations=True),
    )
}


def track_of(record: Mapping[str, Any]) -> Track:
    """The track of a validated record."""
    return TRACKS[record["protocol"].get("track", PILOT)]


def require_whole_track(name: str, split: str, seed_start: int, episodes: int) -> None:
    """Refuses an evaluation that is not one of its track.

    Args:
        name: The track; empty: none was named, and nothing is required.
        split: Whose seeds.
        seed_start: Offset into them.
        episodes: How many.

    Raises:
        UserError: If there is no such track, or the episodes are not those of the track.
    """
    if not name:
        return
    if name not in TRACKS:
        raise unknown_name("track", name, TRACKS)
    wanted = TRACKS[name].num_episodes
    if (split, seed_start, episodes) != (TEST, 0, wanted):
        raise UserError(
            f"track {name} is measured on the first {wanted} test seeds: expected split={TEST} seed_start=0 "
            f"episodes={wanted}, got split={split} seed_start={seed_start} episodes={episodes}"
        )
