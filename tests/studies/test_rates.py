"""How the second round searches for an arm's learning rate."""

import pytest

from studies.claims import design
from studies.claims.rates import best_rate, rates_to_search
from studies.claims.records import TUNING, BlockRecord, Run


def run(seed: int, escaped: int | None, areas: float, horizon: int = 20) -> Run:
    return Run(
        seed=seed,
        areas={str(horizon): areas},
        fvu={},
        escape_step=escaped,
        steps_run=horizon,
        diverged=False,
        curve=((0, 1.0),),
        initial={},
        final={"attention_entropy": 0.9},
    )


def searched(lr: float, *escapes: int | None, areas: float = 10.0) -> BlockRecord:
    runs = tuple(run(seed, step, areas) for seed, step in zip(design.TUNING_SEEDS, escapes, strict=True))
    return BlockRecord(arm="a", arm_sha256="", block=TUNING, lr=lr, runs=runs)


def test_a_search_grows_until_its_best_rate_lies_inside() -> None:
    found = {lr: searched(lr, *[steps] * 4) for lr, steps in ((3e-4, 18), (1e-3, 10), (3e-3, 8))}
    assert rates_to_search((3e-4, 1e-3, 3e-3), {}, 20) == (3e-4, 1e-3, 3e-3)
    assert rates_to_search((3e-4, 1e-3, 3e-3), found, 20) == (1e-2,)
    found[1e-2] = searched(1e-2, 9, 9, None, None)
    assert rates_to_search((3e-4, 1e-3, 3e-3), found, 20) == ()
    assert best_rate(found, 20) == 3e-3


def test_a_search_in_which_nothing_escapes_grows_at_both_ends_and_ends() -> None:
    start = (3e-4, 1e-3, 3e-3)
    found = {lr: searched(lr, *[None] * 4) for lr in start}
    assert rates_to_search(start, found, 20) == (1e-4, 1e-2)
    found |= {lr: searched(lr, *[None] * 4) for lr in (1e-4, 1e-2)}
    assert rates_to_search(start, found, 20) == (3e-5, 3e-2)
    found |= {lr: searched(lr, *[None] * 4) for lr in (3e-5, 3e-2)}
    assert len(found) == design.MAX_RATES
    assert rates_to_search(start, found, 20) == ()


@pytest.mark.parametrize("pick", [0, -1])
@pytest.mark.parametrize("at_once", [1, 2])
def test_a_search_has_the_same_grid_whatever_finishes_first(pick: int, at_once: int) -> None:
    start, found = (3e-4, 1e-3, 3e-3), {}
    while missing := rates_to_search(start, found, 20):
        for lr in missing[:at_once] if pick == 0 else missing[-at_once:]:
            found[lr] = searched(lr, *([5] * 4 if lr == 1e-4 else [None] * 4))
    # Nothing escapes at first, so both ends are tried; then 1e-4 is best, at an end.
    assert sorted(found) == [3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2]


def test_equal_medians_are_told_apart_by_area() -> None:
    found = {1e-3: searched(1e-3, *[None] * 4, areas=19.0), 3e-3: searched(3e-3, *[None] * 4, areas=18.0)}
    assert best_rate(found, 20) == 3e-3
