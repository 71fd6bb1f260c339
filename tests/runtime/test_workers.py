import os

import pytest

from smidgen.runtime.workers import map_unordered

_STATE: dict[str, int] = {}


def set_up(value: int) -> None:
    _STATE["value"] = value


def square(item: int) -> tuple[int, str]:
    return item * item + _STATE.get("value", 0), os.environ.get("OMP_NUM_THREADS", "")


def fail_on_three(item: int) -> int:
    if item == 3:
        raise ValueError("three")
    return item


def die_on_three(item: int) -> int:
    if item == 3:
        os._exit(9)
    return item


@pytest.mark.parametrize("num_workers", [0, 1, 2])
def test_every_item_comes_back_with_its_result(num_workers: int) -> None:
    results = dict(map_unordered(square, range(6), num_workers, set_up, (1,)))
    assert {item: value for item, (value, _) in results.items()} == {item: item * item + 1 for item in range(6)}
    if num_workers:
        assert {threads for _, threads in results.values()} == {"1"}


def test_no_items_no_work() -> None:
    assert list(map_unordered(square, [], 2)) == []


def test_a_jobs_error_is_raised() -> None:
    with pytest.raises(ValueError, match="three"):
        list(map_unordered(fail_on_three, range(5), 2))


def test_a_workers_death_is_named() -> None:
    with pytest.raises(RuntimeError, match=r"worker process died.*kept"):
        list(map_unordered(die_on_three, range(5), 2))
