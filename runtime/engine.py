"""On what engine jobs run: worker processes of this machine, or Ray on this machine or a cluster.

The same job on the same item gives the same bytes on either engine, so the engine leaves no trace in what is written.
Ray is an extra, ``smidgen[ray]``, and imported only where it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from smidgen.runtime.errors import UserError, unknown_name
from smidgen.runtime.flat_config import later
from smidgen.runtime.workers import map_unordered

Item = TypeVar("Item")
Result = TypeVar("Result")

LOCAL, RAY = ENGINES = ("local", "ray")
AUTO = "auto"


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """Where a command's jobs run; a command's configuration inherits these keys."""

    engine: str = later(LOCAL, "local, or ray (smidgen[ray]): the same jobs, on this machine or a cluster")
    engine_address: str = later(AUTO, "engine=ray: auto joins a running cluster, else starts Ray here; or HOST:PORT")
    job_cores: float = later(1.0, "engine=ray: cores that a job reserves")
    job_gpus: float = later(0.0, "engine=ray: GPUs that a job reserves; 0.25 lets four share one")
    job_memory_gb: float = later(0.0, "engine=ray: memory that a job reserves, in GB; 0: none")

    def check_engine(self) -> None:
        """Refuses an engine that does not exist or cannot run a job.

        Raises:
            UserError: If there is no such engine, or a job needs a negative amount of something or no core at all.
        """
        if self.engine not in ENGINES:
            raise unknown_name("engine", self.engine, ENGINES)
        if not self.job_cores > 0:
            raise UserError(f"expected job_cores above 0, got {self.job_cores}")
        for name in ("job_gpus", "job_memory_gb"):
            if not getattr(self, name) >= 0:
                raise UserError(f"expected {name} of at least 0, got {getattr(self, name)}")


ENGINE_KEYS = tuple(EngineSettings.__dataclass_fields__)
ON_THIS_MACHINE = EngineSettings()


def map_on_engine(
    settings: EngineSettings,
    job: Callable[[Item], Result],
    items: Iterable[Item],
    num_workers: int,
    initializer: Callable[..., None] | None = None,
    initargs: Sequence[Any] = (),
    time_limit_s: float | None = None,
) -> Iterator[tuple[Item, Result]]:
    """Applies a job to every item, as :func:`smidgen.runtime.workers.map_unordered` does, on the chosen engine.

    Args:
        settings: The engine, and what a job needs of it.
        job: A module-level function of one item; it may run more than once on an item, so it writes atomically.
        items: Each is pulled by the next free worker.
        num_workers: Workers at most; 0 runs everything in this process, whatever the engine.
        initializer: Called once in each worker before its first item.
        initargs: Its arguments.
        time_limit_s: A worker that takes longer for an item is replaced; None for no limit.

    Yields:
        ``(item, result)`` in order of completion.

    Raises:
        UserError: If Ray is not installed, there is no cluster at the address, or no node of it can run a job.
    """
    if settings.engine == LOCAL or num_workers == 0:
        yield from map_unordered(job, items, num_workers, initializer, initargs, time_limit_s)
        return
    from smidgen.runtime.ray_engine import map_on_ray

    yield from map_on_ray(settings, job, items, num_workers, initializer, initargs, time_limit_s)
