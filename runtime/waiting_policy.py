"""How PyTorch's threads wait for one another: asleep, so that another process may use the core meanwhile.

By default OpenMP's threads spin. On a machine with nothing else to do that saves a few microseconds; beside other
processes each spinning thread takes the core from the one that it waits for, and a step takes many times as long.
"""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping

# GNU's OpenMP, which PyTorch's wheels bring, reads either; Intel's and LLVM's read the first and the last.
USERS_CHOICE = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def wait_passively(environment: MutableMapping[str, str] = os.environ) -> None:
    """Sets ``OMP_WAIT_POLICY=passive`` unless the user has chosen; must come before PyTorch is imported.

    Args:
        environment: This process's variables, which its children inherit.
    """
    if not any(name in environment for name in USERS_CHOICE):
        environment["OMP_WAIT_POLICY"] = "passive"


def wait_passively_in_modules() -> None:
    """Does so where ``python -m smidgen...`` runs one of our commands, and not in a user's own program."""
    # So Python calls itself while it looks for the module.
    if sys.argv[:1] == ["-m"]:
        wait_passively()
