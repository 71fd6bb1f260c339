"""What every test shares: one thread a process, the usual signals, property tests that a slow machine cannot fail."""

import gc
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Read when PyTorch and the BLAS libraries load, so it stands before any import of them. One thread makes sums
# reproducible and leaves the second core to the other test process.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

# Whoever starts the tests in the background may have had them ignored, and our commands leave ignored signals alone.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)

import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

from tests.long_form import RECORD, write_record  # noqa: E402

STARTED_S = time.monotonic()

# No machine loses power during a test, and thousands of waits for the disk are a good part of the whole time.
os.fsync = lambda descriptor: None

# Where modules stand that tests of several folders share; worker processes inherit sys.path.
SHARED = (
    ".",
    *("data_collection", "data_collection/formats"),
    *("evaluation", "leaderboard", "experiments", "training", "studies/first_round"),
)
sys.path[:0] = [str(Path(__file__).parent / folder) for folder in SHARED]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first: one that comes last leaves the other test process idle."""
    first: dict[Path, int] = {}
    for item in items:
        rank = 0 if item.get_closest_marker("slow") else 1 if item.get_closest_marker("simulator") else 2
        first[item.path] = min(rank, first.get(item.path, rank))
    items.sort(key=lambda item: first[item.path])


def pytest_collection_finish() -> None:
    """What was imported stays: the garbage collector need not look at PyTorch and the simulator again and again."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """In the long form, writes what came of it."""
    if RECORD:
        outcomes = ("passed", "skipped", "failed", "error")
        counts = {outcome: len(terminalreporter.stats.get(outcome, ())) for outcome in outcomes}
        write_record(counts, time.monotonic() - STARTED_S)


@pytest.fixture(scope="session")
def simulators() -> Iterator[Any]:
    """See :mod:`tests.kept_simulators`; imported on use, as it imports the simulator."""
    from tests.kept_simulators import KeptSimulators

    kept = KeptSimulators()
    yield kept
    kept.close()


@pytest.fixture(scope="module")
def kept_simulators(simulators: Any) -> Iterator[None]:
    """Collections and evaluations of a module's tests, in this process, use the same simulators again."""
    from tests.kept_simulators import OPENED_BY

    with pytest.MonkeyPatch.context() as patch:
        for name in OPENED_BY:
            patch.setattr(name, simulators.make)
        yield


settings.register_profile("smidgen", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("smidgen")
