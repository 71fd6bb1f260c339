"""Prints the peak memory of a training step in MB: ``python -m studies.bench.memory ours 16 64 2``.

Runs in its own process, because a process's peak never falls. Arguments: contestant, batch size, image size, threads.
"""

from __future__ import annotations

import sys

import torch

from studies.bench.peers import TrainingStep
from studies.bench.timing import resident_mb

IMAGE_SIZE_OF_WARM_UP = 8


def main(contestant: str, batch_size: str, image_size: str, threads: str) -> None:
    """Builds network and batch, measures the memory, makes two steps, and prints by how much the peak exceeds it."""
    torch.set_num_threads(int(threads))
    # Whatever PyTorch loads on first use counts towards the idle process.
    TrainingStep(contestant, 1, IMAGE_SIZE_OF_WARM_UP)()
    step = TrainingStep(contestant, int(batch_size), int(image_size))
    idle_mb = resident_mb("VmRSS")
    # Adam allocates its moments in the first step, so the second step has both moments and activations.
    step()
    step()
    print(resident_mb("VmHWM") - idle_mb)


if __name__ == "__main__":
    main(*sys.argv[1:])
