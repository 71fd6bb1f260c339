"""The frozen, disjoint seed ranges: an episode is (task, seed), and a test seed is never trained on."""

from __future__ import annotations

from smidgen.runtime.errors import UserError, unknown_name

_RANGE_SIZE = 1_000_000

SEED_RANGES: dict[str, range] = {
    "demonstrations": range(_RANGE_SIZE),
    "validation": range(_RANGE_SIZE, 2 * _RANGE_SIZE),
    "checkpoint": range(2 * _RANGE_SIZE, 3 * _RANGE_SIZE),
    "test": range(3 * _RANGE_SIZE, 4 * _RANGE_SIZE),
}


def seeds(split: str, start: int, count: int) -> range:
    """The seeds of a split.

    Args:
        split: A name in :data:`SEED_RANGES`.
        start: Offset inside the split.
        count: Number of seeds.

    Returns:
        ``count`` consecutive seeds.

    Raises:
        UserError: For an unknown split, or seeds outside it.
    """
    if split not in SEED_RANGES:
        raise unknown_name("split", split, SEED_RANGES)
    whole = SEED_RANGES[split]
    if start < 0 or count < 1 or start + count > len(whole):
        raise UserError(f"split {split!r} has offsets 0 to {len(whole) - 1}; got start {start} and count {count}")
    return whole[start : start + count]
