"""Episodes -> windows -> batches: the frames that a policy sees and the targets that it must predict, at every step.

There is a window at each control step of each episode (stride 1). Frames before the first are padded with the first,
targets after the last with the last. The windows of a batch are a pure function of (seed, training step), so a resumed
run sees exactly the same batches as an uninterrupted one.

``smidgen-train`` gathers whole batches, in an order that a resumed run repeats; :class:`WindowDataset` serves any other
PyTorch loop.

Letters: ``B`` batch, ``T`` frames, ``H W`` rows and columns (``H`` before an ``A`` is the horizon), ``C`` channels,
``A`` action coordinates, ``E`` end-effector state, ``N`` steps of all episodes.
"""

from __future__ import annotations

import operator
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from smidgen.data_collection.store import EpisodeStore
from smidgen.policies.learned_policy import cameras_to_channels
from smidgen.runtime.errors import UserError
from smidgen.runtime.spacing import evenly_spaced

# The other episodes are read. Every memory map uses a file descriptor, of which a process has about a thousand.
MAX_MAPPED_EPISODES = 256
WindowItem = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class WindowBatch:
    """A policy's inputs at B steps, and the expert's actions from there on (physical units)."""

    frames_BTHWC: UInt8[np.ndarray, "B T H W C"]
    eef_state_BE: Float[np.ndarray, "B E"]
    targets_BHA: Float[np.ndarray, "B H A"]
    step_B: Int[np.ndarray, " B"]


class Windows:
    """All windows of the given episodes of a store; frames stay on disk, memory-mapped.

    Args:
        store: The data set.
        seeds: Episodes to use, each with at least one step.
        num_frames: Frames T that a policy sees, the newest last.
        horizon: Targets H that it predicts, the first for the newest frame.
        frame_stride: Steps from one frame to the next.

    Raises:
        UserError: If there is no episode.
    """

    def __init__(
        self, store: EpisodeStore, seeds: Sequence[int], num_frames: int, horizon: int, frame_stride: int = 1
    ) -> None:
        if not seeds:
            raise UserError("no successful episodes to make windows from; collect more demonstrations")
        self._past = frame_stride * np.arange(1 - num_frames, 1)
        self._future = np.arange(horizon)
        self._cameras = store.camera_places
        self._files = [store.frames_file(seed) for seed in seeds]
        self._mapped: list[np.ndarray] | None = None
        actions, eef_states, phases = [], [], []
        for seed in seeds:
            episode = store.episode(seed)
            actions.append(episode.actions)
            eef_states.append(episode.eef_state)
            phases.append(episode.phase)
        lengths = np.array([len(episode_actions) for episode_actions in actions])
        self._first_N = np.repeat(np.cumsum(lengths) - lengths, lengths)
        self._last_N = np.repeat(np.cumsum(lengths) - 1, lengths)
        self._episode_N = np.repeat(np.arange(len(actions)), lengths)
        self.actions_NA = np.concatenate(actions)
        self.eef_state_NE = np.concatenate(eef_states)
        self._phase_N = np.concatenate(phases)

    def __len__(self) -> int:
        return len(self.actions_NA)

    def __getstate__(self) -> dict[str, Any]:
        # A copy in another process maps the frames itself; pickling a memory map would copy all of its bytes.
        return {**vars(self), "_mapped": None}

    def gather(self, indices_B: Int[np.ndarray, " B"]) -> WindowBatch:
        """The windows at the given positions in 0..len-1."""
        first_B = self._first_N[indices_B]
        frames = [self._frames(episode, past_T) for episode, past_T in self._places(indices_B)]
        return WindowBatch(
            frames_BTHWC=cameras_to_channels(np.stack(frames)),
            eef_state_BE=self.eef_state_NE[indices_B],
            targets_BHA=self.actions_NA[self.future(indices_B)],
            step_B=indices_B - first_B,
        )

    def prefetch(self, indices_B: Int[np.ndarray, " B"]) -> None:
        """Lets the kernel read from disk, meanwhile, what ``gather`` will have to read for these positions."""
        for episode, past_T in self._places(indices_B):
            if episode >= MAX_MAPPED_EPISODES:
                self._files[episode].read_ahead(past_T[0], past_T[-1] + 1)

    def _places(self, indices_B: Int[np.ndarray, " B"]) -> list[tuple[int, np.ndarray]]:
        """The episode of each window, and the steps in it that its frames show."""
        first_B1 = self._first_N[indices_B][:, None]
        past_BT = np.maximum(indices_B[:, None] + self._past, first_B1) - first_B1
        return list(zip(self._episode_N[indices_B].tolist(), past_BT, strict=True))

    def future(self, indices_B: Int[np.ndarray, " B"]) -> Int[np.ndarray, "B H"]:
        """Steps, as positions of 0..len-1, whose actions are the windows' targets."""
        return np.minimum(indices_B[:, None] + self._future, self._last_N[indices_B][:, None])

    def near_phase_change(self, within: int) -> Bool[np.ndarray, " N"]:
        """Which steps lie within so many of a step at which the expert begins another phase."""
        is_change_N = (np.diff(self._phase_N, prepend=self._phase_N[0]) != 0) & (np.arange(len(self)) != self._first_N)
        change_K = np.flatnonzero(is_change_N)
        near_KW = change_K[:, None] + np.arange(-within, within + 1)
        is_inside_KW = (near_KW >= self._first_N[change_K][:, None]) & (near_KW <= self._last_N[change_K][:, None])
        is_near_N = np.zeros(len(self), bool)
        is_near_N[near_KW[is_inside_KW]] = True
        return is_near_N

    def evenly_spaced(self, count: int) -> Int[np.ndarray, " count"]:
        """At most ``count`` positions, spread over all episodes and steps."""
        return evenly_spaced(len(self), count)

    def first_episode(self) -> Int[np.ndarray, " steps"]:
        """Positions of the first episode's windows, in time order."""
        return np.flatnonzero(self._episode_N == 0)

    def _frames(self, episode: int, past_T: np.ndarray) -> np.ndarray:
        if self._mapped is None:
            # Cameras in another order cannot be mapped. NumPy's memmap class is much slower to index than an array.
            mappable = self._files[:MAX_MAPPED_EPISODES] if isinstance(self._cameras, slice) else []
            self._mapped = [np.asarray(file.memory_mapped()[:, self._cameras]) for file in mappable]
        if episode < len(self._mapped):
            return self._mapped[episode][past_T]
        read = self._files[episode].read(past_T[0], past_T[-1] + 1)
        return read[:, self._cameras][past_T - past_T[0]]


class EpochSampler:
    """Window positions for every training step: one permutation of all windows per epoch, with batches spanning epochs.

    Args:
        num_windows: Number of windows to draw from.
        batch_size: Positions per step.
        seed: Seed and step determine the result; there is no state between calls.
    """

    def __init__(self, num_windows: int, batch_size: int, seed: int) -> None:
        self._num_windows = num_windows
        self._batch_size = batch_size
        self._seed = seed
        self._permutations: OrderedDict[int, np.ndarray] = OrderedDict()

    def indices(self, step: int) -> Int[np.ndarray, " B"]:
        """Positions of the batch of a step (counted from 0)."""
        draws_B = step * self._batch_size + np.arange(self._batch_size)
        epochs_B, places_B = np.divmod(draws_B, self._num_windows)
        return np.array([self._permutation(int(epoch))[place] for epoch, place in zip(epochs_B, places_B, strict=True)])

    def _permutation(self, epoch: int) -> np.ndarray:
        if epoch not in self._permutations:
            # A cache, not state: it depends only on (seed, epoch).
            self._permutations[epoch] = np.random.default_rng([self._seed, epoch]).permutation(self._num_windows)
            if len(self._permutations) > 2:
                self._permutations.popitem(last=False)
        return self._permutations[epoch]


class WindowDataset(Dataset[WindowItem]):
    """A window at every control step of the given episodes; frames stay on disk, memory-mapped in every worker.

        loader = DataLoader(WindowDataset("outputs/lift", num_frames=2, horizon=4), batch_size=64, shuffle=True)
        for batch in loader:
            batch["frames"], batch["actions"]  # uint8 (B, 2, H, W, C), float32 (B, 4, A)

    Frames before an episode's start are padded with its first frame, actions after its end with its last action. Item
    ``i`` is a dict of tensors in the task's units:

    - ``frames`` uint8 (T, H, W, C), the newest last; C is 3 per camera, camera by camera;
    - ``eef_state`` float32 (E,), of the newest frame;
    - ``actions`` float32 (H, A), the expert's targets, the first for the newest frame;
    - ``step`` int64 (), the control step inside the episode.

    Args:
        store: A data set, or the directory of one, which is opened and verified.
        seeds: Episodes to use; the successful ones by default.
        num_frames: Number of frames T.
        horizon: Number of actions H.

    Raises:
        UserError: If the data set is damaged, has no such episode, or the episodes have no steps.
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
        # An attempt aborted by the simulator has no steps, so no windows.
        self.seeds = tuple(seed for seed in wanted if self.store.episode(seed).num_steps)
        self._windows = Windows(self.store, self.seeds, num_frames, horizon)

    def __len__(self) -> int:
        return len(self._windows)

    def __getitem__(self, index: int) -> WindowItem:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[WindowItem]:
        """Several items; a ``DataLoader`` requests a whole batch at once.

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
