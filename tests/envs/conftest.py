"""Environments that tests share: building one takes longer than most tests."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest


@pytest.fixture(scope="session")
def environment_of() -> Iterator[Callable[[str], Any]]:
    """Makes each task's environment once; a test resets it before use and changes nothing that a reset does not."""
    from smidgen.envs.tasks import make_env

    made: dict[str, Any] = {}

    def environment_of(task: str) -> Any:
        if task not in made:
            made[task] = make_env(task)
        return made[task]

    yield environment_of
    for env in made.values():
        env.close()
