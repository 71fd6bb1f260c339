"""Windows of an episode store for any PyTorch loop: what a policy sees at a moment, and what the expert does next.

    store = EpisodeStore.open("outputs/lift")
    loader = DataLoader(WindowDataset(store, num_frames=2, horizon=4), batch_size=64, shuffle=True, num_workers=2)
    for batch in loader:
        batch["frames"], batch["actions"]           # uint8 (B, 2, H, W, C), float32 (B, 4, A)

``smidgen-train`` does not go through it: it gathers whole batches, in an order that a resumed run repeats.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from smidgen.data_collection.store import EpisodeStore
from smidgen.runtime.errors import UserError
from smidgen.training.windows import Windows

WindowItem = dict[str, Tensor]


class WindowDataset(Dataset[WindowItem]):
    """A window at every control step of some episodes; frames stay on disk, memory-mapped, in every worker.

    Frames before an episode's first are padded with the first, actions after its last with the last. Item ``i`` is a
    dict of tensors in units of the task:

    - ``frames`` uint8 (T, H, W, C), the newest last; C is 3 per camera, camera by camera;
    - ``eef_state`` float32 (E,), of the newest frame;
    - ``actions`` float32 (H, A), the expert's targets, the first for the newest frame;
    - ``step`` int64 (), the control step inside the episode.

    Args:
        store: A data set, or the directory of one, which is opened and verified.
        seeds: Its episodes to take; the successful ones by default.
        num_frames: Frames T that are seen.
        horizon: Actions H that are asked for.

    Raises:
        UserError: If the data set is damaged, has no such episode, or there is no step to take.
    """

    def __init__(
        self,
        store: EpisodeStore | Path | str,
        seeds: Sequence[int] | None = None,
        *,
        num_frames: int = 1,
        horizon: int = 1,
    ) -> None:
        for name, value in {"num_frames": num_frames, "horizon": horizon}.items():
            if value < 1:
                raise UserError(f"expected {name} of at least 1, got {value}")
        self.store = store if isinstance(store, EpisodeStore) else EpisodeStore.open(store)
        wanted = self.store.training_seeds if seeds is None else seeds
        # An attempt that the simulator broke off has no step, and so no window.
        self.seeds = tuple(seed for seed in wanted if self.store.episode(seed).num_steps)
        self._windows = Windows(self.store, self.seeds, num_frames, horizon)

    def __len__(self) -> int:
        return len(self._windows)

    def __getitem__(self, index: int) -> WindowItem:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[WindowItem]:
        """Several items; a ``DataLoader`` asks for a batch's at once.

        Raises:
            IndexError: If there is no such item.
        """
        positions_B = np.array([self._position(index) for index in indices], dtype=np.int64)
        batch = self._windows.gather(positions_B)
        columns = {
            "frames": torch.from_numpy(batch.frames_BTHWC),
            "eef_state": torch.from_numpy(batch.eef_state_BE).float(),
            "actions": torch.from_numpy(batch.targets_BHA).float(),
            "step": torch.from_numpy(batch.step_B),
        }
        return [{name: column[row] for name, column in columns.items()} for row in range(len(positions_B))]

    def _position(self, index: int) -> int:
        position = operator.index(index)
        if not -len(self) <= position < len(self):
            raise IndexError(f"expected an index below {len(self)}, got {position}")
        return position % len(self)
