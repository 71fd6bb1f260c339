import itertools

import pytest

from smidgen.envs.seeds import SEED_RANGES, seeds
from smidgen.runtime.errors import UserError


def test_splits_are_disjoint() -> None:
    for first, second in itertools.combinations(SEED_RANGES.values(), 2):
        assert max(first.start, second.start) >= min(first.stop, second.stop)


def test_seeds_stay_in_their_split() -> None:
    for name in SEED_RANGES:
        assert set(seeds(name, 5, 3)) <= set(SEED_RANGES[name])


@pytest.mark.parametrize(("split", "start", "count"), [("test", -1, 1), ("test", 0, 0), ("test", 999_999, 2)])
def test_seeds_outside_of_a_split_are_refused(split: str, start: int, count: int) -> None:
    with pytest.raises(UserError, match="offsets"):
        seeds(split, start, count)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UserError, match="valid: checkpoint, demonstrations, test, validation"):
        seeds("tset", 0, 1)
