"""Prints the seconds of a training step: ``python -m studies.bench.step 16 64 2 0.3``.

Runs in its own process, because OpenMP reads its waiting policy when it is loaded. Arguments: batch size, image size,
threads, and the shortest measurement in seconds.
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
