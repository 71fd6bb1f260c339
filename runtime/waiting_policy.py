"""How PyTorch's threads wait for each other: they spin briefly, then sleep, so that others can use the core.

By default OpenMP's threads spin for a long time. On an idle machine that saves microseconds at each of many waits; next
to other processes a spinning thread takes the core from the one that it waits for, and a step takes many times as long.
Threads that sleep at once are slower on an idle machine. docs/benchmarks.md compares all three.
"""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping

NUM_SPINS = 10_000
# Read by GNU's OpenMP, which PyTorch's wheels ship.
WAITING = {"GOMP_SPINCOUNT": str(NUM_SPINS)}
# GNU's OpenMP reads the first two; Intel's and LLVM's read the first and the last.
USERS_CHOICE = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def limit_spinning(environment: MutableMapping[str, str] = os.environ) -> None:
    """Makes threads spin only briefly unless the user has set a policy; call it before PyTorch is imported.

    Args:
        environment: This process's variables, which its children inherit.
    """
    if not any(name in environment for name in USERS_CHOICE):
        environment.update(WAITING)


def limit_spinning_in_modules() -> None:
    """Does so when ``python -m smidgen...`` runs one of our commands, but not in a user's own program."""
    # Python sets argv[0] to this while it looks for the module.
    if sys.argv[:1] == ["-m"]:
        limit_spinning()
