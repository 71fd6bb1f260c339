"""Prints the peak memory of a training step in MB: ``python -m studies.bench.memory ours 16 64 2``.

A process of its own, because a process's peak never falls: contestant, batch size, image size and threads.
"""

from __future__ import annotations

import sys

import torch

from studies.bench.peers import TrainingStep
from studies.bench.timing import resident_mb

IMAGE_SIZE_OF_WARM_UP = 8


def main(contestant: str, batch_size: str, image_size: str, threads: str) -> None:
    """Builds network and batch, notes its memory, makes two steps, and prints how far the peak lies above."""
    torch.set_num_threads(int(threads))
    # What PyTorch loads and starts on first use belongs to the idle process.
    TrainingStep(contestant, 1, IMAGE_SIZE_OF_WARM_UP)()
    step = TrainingStep(contestant, int(batch_size), int(image_size))
    idle_mb = resident_mb("VmRSS")
    # Adam's moments come with the first step, and stand beside the second's activations.
    step()
    step()
    print(resident_mb("VmHWM") - idle_mb)


if __name__ == "__main__":
    main(*sys.argv[1:])
