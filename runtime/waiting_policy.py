"""How PyTorch's threads wait for one another: a moment awake, then asleep, so that others may use the core meanwhile.

By default OpenMP's threads spin for long. On a machine with nothing else to do that saves microseconds at each of many
waits; beside other processes a spinning thread takes the core from the one that it waits for, and a step takes many
times as long. Threads that sleep at once lose on the idle machine instead. docs/benchmarks.md has both, and in between.
"""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping

NUM_SPINS = 10_000
# GNU's OpenMP, which PyTorch's wheels bring, reads it.
WAITING = {"GOMP_SPINCOUNT": str(NUM_SPINS)}
# GNU's reads the first two; Intel's and LLVM's read the first and the last.
USERS_CHOICE = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def wait_briefly(environment: MutableMapping[str, str] = os.environ) -> None:
    """Lets threads spin briefly unless the user has chosen; must come before PyTorch is imported.

    Args:
        environment: This process's variables, which its children inherit.
    """
    if not any(name in environment for name in USERS_CHOICE):
        environment.update(WAITING)


def wait_briefly_in_modules() -> None:
    """Does so where ``python -m smidgen...`` runs one of our commands, and not in a user's own program."""
    # So Python calls itself while it looks for the module.
    if sys.argv[:1] == ["-m"]:
        wait_briefly()
