"""Environments that tests share: building one takes longer than most tests, and keeping one takes 150 MB."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

NUM_KEPT = 4


@pytest.fixture(scope="session")
def environment_of() -> Iterator[Callable[[str], Any]]:
    """Makes a task's environment, or hands out one made before; the four asked for last are kept.

    A test resets it before use and changes nothing that a reset does not.
    """
    from smidgen.envs.tasks import make_env

    made: dict[str, Any] = {}

    def environment_of(task: str) -> Any:
        made[task] = made.pop(task) if task in made else make_env(task)
        if len(made) > NUM_KEPT:
            made.pop(next(iter(made))).close()
        return made[task]

    yield environment_of
    for env in made.values():
        env.close()
