"""python -I minari_child.py SPECIFICATION

Runs under an interpreter that has Minari, which smidgen's own cannot have (NumPy 2), and imports nothing of smidgen. It
reads the name of an ``.npz`` file per line, adds the episode in it to a Minari data set, and answers each with a line.
"""

import importlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import numpy as np


def main() -> None:
    """Writes the data set that the specification describes."""
    # Not a dependency of smidgen, and absent where its types are checked.
    minari, gymnasium = importlib.import_module("minari"), importlib.import_module("gymnasium")
    specification = json.loads(Path(sys.argv[1]).read_text())
    answers = os.fdopen(os.dup(1), "w")
    # Whatever the libraries print is not an answer.
    os.dup2(2, 1)
    minari.create_dataset_from_buffers(
        buffer=_episodes(answers),
        observation_space=gymnasium.spaces.Dict(
            {name: _box(gymnasium, box) for name, box in specification.pop("observations").items()}
        ),
        action_space=_box(gymnasium, specification.pop("actions")),
        data_format="hdf5",
        jpeg_encoding=False,
        **specification,
    )


def _box(gymnasium: Any, box: dict[str, Any]) -> Any:
    if box["dtype"] == "uint8":
        return gymnasium.spaces.Box(0, 255, tuple(box["shape"]), np.uint8)
    low = np.asarray(box.get("low") or np.full(box["shape"], -np.inf))
    high = np.asarray(box.get("high") or np.full(box["shape"], np.inf))
    return gymnasium.spaces.Box(low, high, dtype=np.float64)


def _episodes(answers: TextIO) -> Iterator[Any]:
    buffers = importlib.import_module("minari.data_collector.episode_buffer")
    for line in sys.stdin:
        with np.load(line.strip(), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        yield buffers.EpisodeBuffer(
            seed=int(arrays["seed"][0]),
            observations=_below("observations", arrays),
            actions=arrays["actions"],
            rewards=arrays["rewards"],
            terminations=arrays["terminations"],
            truncations=arrays["truncations"],
            infos=_below("infos", arrays),
        )
        # Asked for the next one: this one is in the file.
        print("written", file=answers, flush=True)


def _below(prefix: str, arrays: dict[str, Any]) -> dict[str, Any]:
    return {name.removeprefix(f"{prefix}."): array for name, array in arrays.items() if name.startswith(f"{prefix}.")}


if __name__ == "__main__":
    main()
