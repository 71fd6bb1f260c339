"""The worker pool on Ray: every worker is an actor, a process of its own on some node of the cluster.

An actor that is lost with its node costs the item that it ran: the pool runs that again on another. Actors work in the
directory of the command that started them, under the same environment, so a cluster needs that directory and the same
installation on every node. Nothing is left running: actors end with the command, and a Ray that it started stops.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import platform
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from smidgen.runtime.engine import AUTO, EngineSettings
from smidgen.runtime.errors import UserError
from smidgen.runtime.optional_libraries import LazyLibrary
from smidgen.runtime.worker_pool import ERROR, LOST, READY, RESULT, Attempt, Staff, WorkerPool, is_idle
from smidgen.runtime.workers import SINGLE_THREAD

INSTALL = 'pip install "smidgen[ray]"'
ray = LazyLibrary("ray", INSTALL)

BACKOFF_S = 1.0
ANSWER_LIMIT_S = 10.0
# What of this process's environment decides how jobs compute and where their files are.
PASSED_ON = (
    *("MUJOCO_GL", "PYOPENGL_PLATFORM", "OMP_WAIT_POLICY", "NUMBA_DISABLE_JIT"),
    *("HOME", "XDG_CACHE_HOME", "SMIDGEN_CACHE", "SMIDGEN_CACHE_GB"),
)


class JobActor:
    """Runs items in a process of its own."""

    def prepare(self, folder: str, path: list[str], environment: dict[str, str]) -> None:
        """Prepares the process for code that it has not imported yet.

        Args:
            folder: Working directory.
            path: Where modules are searched.
            environment: Variables of the command that decide how jobs compute.

        Raises:
            UserError: If the machine does not have the working directory.
        """
        # Before any import of a numerical library; a runtime_env of Ray would need an agent on every node.
        os.environ.update(environment)
        sys.path[:] = [*path, *(entry for entry in sys.path if entry not in path)]
        try:
            os.chdir(folder)
        except OSError as error:
            raise UserError(
                f"{platform.node()}: {folder}: {error.strerror}; engine=ray needs this directory on every node"
            ) from error

    def start(
        self, job: Callable[[Any], Any], initializer: Callable[..., None] | None, initargs: tuple[Any, ...]
    ) -> tuple[str, Any]:
        """Receives the job; its modules are imported now."""
        self.job = job
        if initializer is not None:
            initializer(*initargs)
        return READY, None

    def run(self, item: Any) -> tuple[str, Any]:
        """Runs the job on an item; an error takes its machine and traceback along as a note."""
        try:
            return RESULT, self.job(item)
        except Exception as error:
            trace = "".join(traceback.format_exception(error))
            error.add_note(f"On {platform.node()}, process {os.getpid()}:\n{trace}")
            raise


class _ActorWorker:
    """An actor, its pending answer, and its current item."""

    # An actor waits until the cluster has room for it, however long that takes.
    start_limit_s = float("inf")

    def __init__(self, options: dict[str, Any], *start: Any) -> None:
        self._actor = ray.remote(JobActor).options(**options).remote()
        self._prepared = self._actor.prepare.remote(os.getcwd(), list(sys.path), _environment())
        self.answer = self._actor.start.remote(*start)
        self.name = f"actor {self._actor._actor_id.hex()[:8]}"
        self.is_ready = False
        self.attempt: Attempt | None = None
        self.waited_s = 0.0

    def send(self, attempt: Attempt) -> None:
        self.attempt, self.waited_s = attempt, 0.0
        self.answer = self._actor.run.remote(attempt.item)

    def receive(self) -> tuple[str, Any] | None:
        if is_idle(self) or not ray.wait([self.answer], timeout=0)[0]:
            return None
        try:
            if not self.is_ready:
                ray.get(self._prepared)
            kind, value = ray.get(self.answer)
        except ray.exceptions.RayTaskError as error:
            # The job's own error; Ray has no cause where that could not be sent.
            return ERROR, error.cause if isinstance(error.cause, Exception) else RuntimeError(str(error))
        except ray.exceptions.RayError as error:
            return LOST, f"was lost ({type(error).__name__}: {str(error).strip().splitlines()[0]})"
        return kind, value

    def kill(self) -> None:
        with contextlib.suppress(ray.exceptions.RayError):
            ray.kill(self._actor)


def _wait(workers: Sequence[_ActorWorker], limit_s: float) -> None:
    pending = [worker.answer for worker in workers if not is_idle(worker)]
    if pending:
        ray.wait(pending, timeout=limit_s)


def _stop(workers: Sequence[_ActorWorker]) -> None:
    for worker in workers:
        worker.kill()


def map_on_ray(
    settings: EngineSettings,
    job: Callable[[Any], Any],
    items: Iterable[Any],
    num_workers: int,
    initializer: Callable[..., None] | None,
    initargs: Sequence[Any],
    time_limit_s: float | None,
) -> Iterator[tuple[Any, Any]]:
    """:func:`smidgen.runtime.engine.map_on_engine` on Ray.

    Raises:
        UserError: If there is no cluster at the address, or no node of it can run a job.
    """
    with cluster(settings.engine_address, num_workers * settings.job_cores):
        # More actors than fit would only wait.
        num_workers = min(num_workers, _most_workers(settings))
        start = functools.partial(_ActorWorker, _options(settings), job, initializer, tuple(initargs))
        yield from WorkerPool(Staff(start, _wait, _stop, BACKOFF_S), num_workers, time_limit_s).run(list(items))


@contextlib.contextmanager
def cluster(address: str, num_cores: float) -> Iterator[None]:
    """Joins a running cluster, or starts a Ray on this machine for as long as the block lasts.

    Args:
        address: ``auto``: a running cluster if there is one; or its HOST:PORT.
        num_cores: Cores of a Ray that is started here.

    Raises:
        UserError: If nothing answers at the address.
    """
    was_joined = ray.is_initialized()
    if not was_joined:
        with _sigterm_kept():
            _join_or_start(address, num_cores)
    try:
        yield
    finally:
        if not was_joined:
            ray.shutdown()


@contextlib.contextmanager
def _sigterm_kept() -> Iterator[None]:
    """Keeps this process's answer to SIGTERM: Ray's would end it with exit code 15, and nothing cleaned up.

    Ray sets its own while it starts, which takes seconds; to put ours back afterwards would be too late.
    """
    set_handler = signal.signal

    def set_others(number: Any, handler: Any) -> Any:
        return signal.getsignal(number) if number == signal.SIGTERM else set_handler(number, handler)

    signal.signal = set_others  # type: ignore[assignment]
    try:
        yield
    finally:
        signal.signal = set_handler


def _join_or_start(address: str, num_cores: float) -> None:
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "error", "configure_logging": False}
    if address != AUTO:
        _require_answer(address)
    try:
        ray.init(address=address, **quiet)
    except ConnectionError:
        if address != AUTO:
            raise
        # Jobs of more threads than this machine has cores are the user's choice, as with engine=local.
        cores = max(os.cpu_count() or 1, math.ceil(num_cores))
        # Ray's own default, 15, would let workers starve beside anything else on the machine.
        os.environ.setdefault("RAY_worker_niceness", "0")
        ray.init(address="local", num_cpus=cores, include_dashboard=False, **quiet)


def _require_answer(address: str) -> None:
    """Refuses an address at which nothing listens: Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=ANSWER_LIMIT_S).close()
    except (OSError, ValueError, OverflowError) as error:
        raise UserError(
            f"engine_address={address}: no Ray cluster answers there ({error}); start one with `ray start --head`"
        ) from error


def _most_workers(settings: EngineSettings) -> int:
    """How many jobs the cluster can run at once.

    Raises:
        UserError: If no node has what one job needs.
    """
    wanted = {"CPU": settings.job_cores, "GPU": settings.job_gpus, "memory": settings.job_memory_gb * 1e9}
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    fits = [min(node.get(name, 0.0) // need for name, need in wanted.items() if need > 0) for node in nodes]
    if not sum(fits):
        needs = ", ".join(f"{need:g} {name}" for name, need in wanted.items() if need > 0)
        raise UserError(f"none of the {len(nodes)} nodes of the Ray cluster has what a job needs: {needs}")
    return int(sum(fits))


def _environment() -> dict[str, str]:
    return SINGLE_THREAD | {name: os.environ[name] for name in PASSED_ON if name in os.environ}


def _options(settings: EngineSettings) -> dict[str, Any]:
    options: dict[str, Any] = {"num_cpus": settings.job_cores}
    if settings.job_gpus:
        options["num_gpus"] = settings.job_gpus
    if settings.job_memory_gb:
        options["memory"] = int(settings.job_memory_gb * 1e9)
    return options
