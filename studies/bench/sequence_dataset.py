"""python sequence_dataset.py FILE FRAME_STACK SEQ_LENGTH BATCH_SIZE KEY [KEY ...]: robomimic's own reading of a file.

Runs in robomimic's Python, where neither smidgen nor this package is installed. For each line of its input it does what
the line says, ``open`` or ``next``, and answers with a line; the first answer is robomimic's version.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import torch
from torch.utils.data import DataLoader, RandomSampler


def import_robomimic(module: str) -> Any:
    """A module of robomimic."""
    return importlib.import_module(f"robomimic.utils.{module}")


def define_operators() -> Any:
    """Two schemas without which torchvision, and so robomimic, cannot be imported beside a CPU build of PyTorch.

    Returns:
        What keeps them defined.
    """
    library: Any = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library


def open_batches(path: str, frame_stack: int, seq_length: int, batch_size: int, keys: list[str]) -> Iterator[Any]:
    """Random batches without end, as robomimic trains on pictures: low-dimensional arrays in memory, frames on disk."""
    data: Any = import_robomimic("dataset").SequenceDataset(
        hdf5_path=path,
        obs_keys=keys,
        dataset_keys=["actions"],
        frame_stack=frame_stack,
        seq_length=seq_length,
        load_next_obs=False,
        hdf5_cache_mode="low_dim",
    )
    generator = torch.Generator().manual_seed(0)
    sampler = RandomSampler(data, replacement=True, num_samples=1 << 30, generator=generator)
    return iter(DataLoader(data, batch_size, sampler=sampler, num_workers=0))


def main(path: str, frame_stack: str, seq_length: str, batch_size: str, *keys: str) -> None:
    """Answers until its input ends."""
    # robomimic prints what it does.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    torch.set_num_threads(1)
    operators = define_operators()
    import_robomimic("obs_utils").initialize_obs_utils_with_obs_specs([{"obs": {"rgb": list(keys), "low_dim": []}}])
    print(version("robomimic"), file=answers)
    batches: Iterator[Any] = iter(())
    for line in sys.stdin:
        if line.strip() == "open":
            batches = open_batches(path, int(frame_stack), int(seq_length), int(batch_size), list(keys))
        else:
            next(batches)
        print("done", file=answers)
    del operators


if __name__ == "__main__":
    main(*sys.argv[1:])
