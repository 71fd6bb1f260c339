"""The process's global random generators: Python's, NumPy's and PyTorch's, which a policy may use without seeding."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch

# A policy may draw random numbers while it is built, and every process must build the same one.
BUILD_SEED = 0
_NUMPY_SEEDS = 2**32


def seed_generators(seed: int) -> None:
    """Seeds all three, including CUDA's, so that draws do not depend on what ran before."""
    random.seed(seed)
    np.random.seed(seed % _NUMPY_SEEDS)  # noqa: NPY002
    if torch.cuda.is_available():
        torch.manual_seed(seed)
    else:
        # The former would note for CUDA who asked, and writing down the call stack takes a hundred times as long.
        torch.default_generator.manual_seed(seed)


@contextlib.contextmanager
def generators_kept() -> Iterator[None]:
    """Restores the generators after the block, so that the caller's draws are unaffected by it."""
    pythons, numpys = random.getstate(), np.random.get_state()  # noqa: NPY002
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            random.setstate(pythons)
            np.random.set_state(numpys)  # noqa: NPY002
