"""Simulators that collections and evaluations closed, kept for the next ones: to open one takes over a second."""

from __future__ import annotations

from typing import Any

from smidgen.envs import selfcheck
from smidgen.runtime.user_modules import is_class_spec

NUM_KEPT = 2
# What opens them, by name.
OPENED_BY = tuple(
    f"smidgen.{module}.make_checked_env"
    for module in ("envs.selfcheck", "data_collection.collector", "data_collection.scenes")
)


class KeptSimulators:
    """Stands for ``make_checked_env``; the environments' ``close`` gives them back."""

    def __init__(self) -> None:
        self._make = selfcheck.make_checked_env
        self._idle: dict[tuple[Any, ...], Any] = {}

    def make(self, task: str, **settings: Any) -> Any:
        """A checked environment that nobody uses; a user's class is made anew, as its code may have changed."""
        if is_class_spec(task):
            return self._make(task, **settings)
        key = (task, *sorted(settings.items()))
        env = self._idle.pop(key) if key in self._idle else self._make(task, **settings)
        env.close = lambda: self._keep(key, env)
        return env

    def close(self) -> None:
        """Closes those that nobody uses."""
        while self._idle:
            self._close_oldest()

    def _keep(self, key: tuple[Any, ...], env: Any) -> None:
        self._idle[key] = env
        if len(self._idle) > NUM_KEPT:
            self._close_oldest()

    def _close_oldest(self) -> None:
        env = self._idle.pop(next(iter(self._idle)))
        del env.close
        env.close()
