"""The store that an export was made from, read by plain NumPy: these files run where smidgen is not installed."""

import json
from pathlib import Path

import numpy as np

MAX_PRINTED = 3


class SourceSet:
    """Attempts and counterfactual pairs of a store."""

    def __init__(self, directory):
        self.directory = Path(directory)
        self.manifest = json.loads((self.directory / "manifest.json").read_text())
        self.rows = [row for row in self.manifest["episodes"] if row["num_steps"]]
        self.pair_rows = [row for row in self.rows if row["num_counterfactuals"]]
        self.camera = self.manifest["cameras"][0]

    def episode(self, row):
        """Frames of the first camera, and every other array by name."""
        folder = self.directory / "episodes" / f"{row['seed']:09d}"
        with np.load(folder / "arrays.npz", allow_pickle=False) as arrays:
            return {"frames": np.load(folder / "frames.npy")[:, 0], **dict(arrays)}

    def pairs(self, row):
        """The newest frame of the first camera, as recorded, with the cue moved and with it hidden, and the targets."""
        folder = self.directory / "episodes" / f"{row['seed']:09d}"
        with np.load(folder / "counterfactuals.npz", allow_pickle=False) as arrays:
            views = {view: arrays[view][:, -1, 0] for view in ("frames", "frames_moved", "frames_hidden")}
            return {**views, "target": arrays["target"], "target_moved": arrays["target_moved"]}


class Comparison:
    """Counts what was compared and lists what differs."""

    def __init__(self):
        self.counts = {"episodes": 0, "steps": 0, "frames": 0, "pairs": 0}
        self.differences = []

    def equal(self, what, got, expected):
        """Compares two arrays to the bit."""
        got, expected = np.asarray(got), np.asarray(expected)
        if got.shape != expected.shape or not np.array_equal(got, expected):
            self.differences.append(f"{what}: {got.dtype} {got.shape}, expected {expected.dtype} {expected.shape}")

    def print_record(self, library, **extra):
        """Writes one line of JSON, the last line of the output."""
        record = {**library, **self.counts, "num_differences": len(self.differences), **extra}
        print(json.dumps({**record, "differences": self.differences[:MAX_PRINTED]}))
