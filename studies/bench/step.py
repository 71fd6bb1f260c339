"""Prints the seconds of a training step: ``python -m studies.bench.step 16 64 2 0.3``.

A process of its own, because OpenMP reads how its threads wait when it is loaded: batch size, image size, threads, and
the least seconds that are measured.
"""

from __future__ import annotations

import math
import sys

import torch

from studies.bench.peers import OURS, TrainingStep
from studies.bench.timing import seconds_of


def main(batch_size: str, image_size: str, threads: str, least_s: str) -> None:
    """Warms up, then prints the mean of as many steps as fill the time."""
    torch.set_num_threads(int(threads))
    step = TrainingStep(OURS, int(batch_size), int(image_size))
    step()
    calls = max(1, math.ceil(float(least_s) / seconds_of(step)))
    print(seconds_of(step, calls) / calls)


if __name__ == "__main__":
    main(*sys.argv[1:])
