"""A learned policy: the last few frames -> network -> action chunk, of which a few steps are executed.

It owns everything between a camera's bytes and an action in physical units: history, input statistics, action
normalisation, action bounds. Evaluation needs nothing else. The configuration determines the network; training and
evaluation are independent of it.

Letters: ``B`` episodes or examples, ``T`` frames, ``H W`` rows and columns (``H`` before an ``A`` or ``F`` is the
horizon), ``C`` channels (3 per camera), ``A`` action coordinates, ``F`` action features, ``E`` end-effector state.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from smidgen.policies.ensembling import ChunkEnsemble
from smidgen.policies.frame_network import FrameNetwork, NetworkShapes
from smidgen.policies.normaliser import ActionNormaliser
from smidgen.runtime.action_spec import ActionSpec
from smidgen.runtime.errors import UserError
from smidgen.runtime.flat_config import later, nested

if TYPE_CHECKING:
    from smidgen.policies.choose_transform import Choice, InputChoice

MIN_EEF_DEVIATION_M = 1e-3


@dataclass(frozen=True, kw_only=True)
class LearnedPolicyConfig(ABC):
    """What a policy sees and how it executes its chunks; a subclass adds its network's settings and builds it."""

    kind: ClassVar[str]
    needs_training: ClassVar[bool] = True
    needs_statistics: ClassVar[bool] = False
    has_transform: ClassVar[bool] = False
    has_weights: ClassVar[bool] = True
    num_frames: int = field(default=3, metadata={"help": "frames that the policy sees, the newest included"})
    horizon: int = field(default=8, metadata={"help": "future steps predicted at once"})
    num_executed: int = field(default=2, metadata={"help": "steps of a chunk executed before the next prediction"})
    use_eef_state: bool = field(default=False, metadata={"help": "also see the end-effector state (the name says so)"})
    frame_stride: int = later(1, "control steps from one of the frames that the policy sees to the next")
    temporal_ensembling: float | None = later(
        None, "act on the mean of overlapping chunks; weights exp(-VALUE i), i = 0 the oldest"
    )

    @classmethod
    def from_flat(cls, **keys: Any) -> Self:
        """Builds a policy's settings from its keys and those of its parts.

        Raises:
            TypeError: If a key is not valid.
        """
        return nested(cls, keys)

    @property
    def history(self) -> int:
        """Frames from the oldest that the policy sees to the newest, those between them included."""
        return (self.num_frames - 1) * self.frame_stride + 1

    @property
    def label(self) -> str:
        """The policy's name in tables."""
        return self.kind + ("+eef_state" if self.use_eef_state else "")

    @property
    def transform(self) -> str:
        """Name of the input transform; "" if the policy has none."""
        return ""

    def input_choices(self, names: Sequence[str]) -> list[InputChoice]:
        """Candidates of ``transform=auto``; empty if the policy has no transform.

        Raises:
            UserError: If a name is unknown.
        """
        return []

    def choose_input(
        self,
        rule: str,
        frames_BTHWC: UInt8[Tensor, "B T H W C"],
        labels_BF: Float[Tensor, "B F"],
        candidates: Sequence[InputChoice],
    ) -> Choice:
        """Chooses the input for ``transform=auto``.

        Args:
            rule: One of ``choose_transform.RULES``.
            frames_BTHWC: Training frames.
            labels_BF: The normalised actions that follow them.
            candidates: The candidates.
        """
        raise NotImplementedError(f"{self.kind} has no input transform")

    def with_input(self, choice: InputChoice) -> Self:
        """The same policy with the chosen input."""
        raise NotImplementedError(f"{self.kind} has no input transform")

    def num_position_numbers(self, axes: Sequence[int]) -> int:
        """How many numbers encode the positions of an input with the given axes; 0 without positions."""
        return 0

    @abstractmethod
    def build(self, shapes: NetworkShapes) -> FrameNetwork:
        """The network, with initial weights from PyTorch's generator.

        Raises:
            UserError: If it cannot be built.
        """

    def check(self) -> None:
        """Refuses settings that no policy can be built from.

        Raises:
            UserError: If a count is out of range.
        """
        for name in ("num_frames", "frame_stride", "horizon"):
            if getattr(self, name) < 1:
                raise UserError(f"expected {name} of at least 1, got {getattr(self, name)}")
        if not 1 <= self.num_executed <= self.horizon:
            raise UserError(f"expected num_executed in 1..horizon ({self.horizon}), got {self.num_executed}")
        if self.temporal_ensembling is not None:
            if not math.isfinite(self.temporal_ensembling):
                raise UserError(f"expected a finite temporal_ensembling or null, got {self.temporal_ensembling}")
            if self.num_executed == self.horizon:
                raise UserError(
                    f"temporal_ensembling averages chunks that overlap, and with num_executed=horizon={self.horizon} "
                    "none do; lower num_executed"
                )


@dataclass(frozen=True)
class Interface:
    """A policy's interface to its task: the task's name, its action, and the observations.

    Attributes:
        task: The task's name, e.g. ``lift``.
        action: The task's action.
        cameras: Names of the cameras, in the order of the frames' camera axis.
        image_size: Rows and columns of a frame.
        eef_state_names: Names of the end-effector state's coordinates.
    """

    task: str
    action: ActionSpec
    cameras: tuple[str, ...]
    image_size: int
    eef_state_names: tuple[str, ...]

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Interface:
        """Reads its fields from a data set's manifest or a checkpoint's card, which may have others as well."""
        return cls(
            task=value["task"],
            action=ActionSpec.from_json(value["action_spec"]),
            cameras=tuple(value["cameras"]),
            image_size=value["image_size"],
            eef_state_names=tuple(value["eef_state_names"]),
        )

    def to_json(self) -> dict[str, Any]:
        """The fields that :meth:`from_json` reads."""
        return {
            "task": self.task,
            "action_spec": self.action.to_json(),
            "cameras": list(self.cameras),
            "image_size": self.image_size,
            "eef_state_names": list(self.eef_state_names),
        }


def cameras_to_channels(frames: UInt8[np.ndarray, "*leading cameras H W 3"]) -> UInt8[np.ndarray, "*leading H W C"]:
    """Concatenates the frames of several cameras along the channel axis, camera by camera."""
    moved = np.moveaxis(frames, -4, -2)
    return moved.reshape(*moved.shape[:-2], moved.shape[-2] * moved.shape[-1])


class LearnedPolicy(nn.Module):
    """A network with its normalisation, its history and its chunk execution; implements the ``Policy`` protocol.

    Args:
        config: The policy's settings.
        interface: Its interface to the task.

    Attributes:
        name: Its name in tables; it tells whether the end-effector state is seen.
        observes: Parts of an observation that it reads.
        batched_inference: Whether parallel episodes go through the network in one batch. Off by default: a row of a
            batched product can differ in its last bits from the same row alone.

    Raises:
        UserError: If the configuration is invalid.
    """

    eef_mean_E: Tensor
    eef_deviation_E: Tensor

    def __init__(self, config: LearnedPolicyConfig, interface: Interface) -> None:
        super().__init__()
        config.check()
        self.config = config
        self.interface = interface
        self.name = config.label
        self.observes: tuple[str, ...] = ("frames", "eef_state") if config.use_eef_state else ("frames",)
        self.batched_inference = False
        self.normaliser = ActionNormaliser(interface.action)
        num_eef_coordinates = len(interface.eef_state_names)
        self.network = config.build(
            NetworkShapes(
                num_frames=config.num_frames,
                image_size=interface.image_size,
                channels=3 * len(interface.cameras),
                state_dim=num_eef_coordinates if config.use_eef_state else 0,
                horizon=config.horizon,
                action_features=self.normaliser.num_features,
            )
        )
        self.register_buffer("eef_mean_E", torch.zeros(num_eef_coordinates, dtype=torch.float64))
        self.register_buffer("eef_deviation_E", torch.ones(num_eef_coordinates, dtype=torch.float64))
        self.reset()

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        first = next(itertools.chain(self.network.parameters(), self.network.buffers()), self.eef_mean_E)
        return first.device

    def compute_on(self, device: str) -> Self:
        """Moves the network; what is computed in float64, which not every device has, stays on the CPU.

        Raises:
            UserError: If the device lacks a type of the network's numbers.
        """
        try:
            self.network.to(device)
        except TypeError as error:
            raise UserError(f"{self.name} needs float64, which device={device} lacks; use device=cpu") from error
        return self

    def fit(
        self,
        frames_batches: Iterable[UInt8[Tensor, "B T H W C"]],
        actions_NA: Float[Tensor, "N A"],
        eef_state_NE: Float[Tensor, "N E"],
    ) -> None:
        """Fits every statistic (input, action, state) on the training split.

        Args:
            frames_batches: Training frames; iterated once per fitted part.
            actions_NA: Training targets in physical units.
            eef_state_NE: End-effector states of the same steps.
        """
        self.network.fit_input(frames_batches)
        self.normaliser.fit(actions_NA)
        self.eef_mean_E.copy_(eef_state_NE.mean(dim=0))
        self.eef_deviation_E.copy_(eef_state_NE.std(dim=0, correction=0).clamp(min=MIN_EEF_DEVIATION_M))

    def forward(
        self,
        frames_BTHWC: UInt8[Tensor, "B T H W C"],
        eef_state_BE: Float[Tensor, "B E"] | None = None,
        *,
        weights: Any = None,
    ) -> Float[Tensor, "B H F"]:
        """Action features predicted by the network; a loss compares them with ``normaliser.encode``."""
        if not self.config.use_eef_state:
            return self.network(frames_BTHWC, weights=weights)
        if eef_state_BE is None:
            raise ValueError(f"policy {self.name} sees the end-effector state; pass eef_state")
        state_BE = ((eef_state_BE - self.eef_mean_E) / self.eef_deviation_E).float()
        return self.network(frames_BTHWC, state_BE.to(frames_BTHWC.device), weights=weights)

    def decode(self, features_BHF: Float[Tensor, "B H F"]) -> Float[np.ndarray, "B H A"]:
        """Features to actions in physical units, within bounds, float64."""
        return self.interface.action.clip(self.normaliser.decode(features_BHF.detach().cpu()).numpy())

    @torch.inference_mode()
    def predict_chunk(
        self,
        frames_BTHWC: UInt8[np.ndarray, "B T H W C"],
        eef_state: Float[np.ndarray, "B E"] | None = None,
        weights: Any = None,
    ) -> Float[np.ndarray, "B H A"]:
        """The next ``horizon`` actions of each example, as one batch.

        Args:
            frames_BTHWC: Frames, the newest last.
            eef_state: End-effector states, for policies that see them.
            weights: The result of ``network.weights()``, if the weights have not changed since.

        Returns:
            Actions in physical units, within bounds, float64.
        """
        return self.decode(self._features(frames_BTHWC, eef_state, weights))

    def _features(self, frames_BTHWC: np.ndarray, eef_state: Any, weights: Any) -> Tensor:
        frames = torch.from_numpy(np.ascontiguousarray(frames_BTHWC)).to(self.device)
        state = None if eef_state is None else torch.from_numpy(np.asarray(eef_state, dtype=np.float64))
        with flushed_denormals():
            features_BHF: Tensor = self(frames, state, weights=weights)
        return features_BHF

    @property
    def num_frames(self) -> int:
        """Frames of history that :meth:`chunk` receives; it sees every ``frame_stride``-th of them."""
        return self.config.history

    def chunk(self, observations: Mapping[str, Any]) -> Float[np.ndarray, "B K A"]:
        """The next ``horizon`` actions after each history of frames, as one batch; running episodes are unaffected.

        Args:
            observations: ``"frames"`` uint8 (B, T, cameras, H, W, 3), the newest last, and ``"eef_state"`` (B, E) if it
                is seen.
        """
        frames_BTNHWC = observations["frames"][:, :: self.config.frame_stride]
        return self.predict_chunk(cameras_to_channels(frames_BTNHWC), observations.get("eef_state"))

    def reset(self, num_episodes: int = 1, seed: int = 0) -> None:
        """Starts episodes: clears history and chunk, and reads the weights again at the first step.

        Deterministic, so the seed is ignored.
        """
        self._num_episodes = num_episodes
        self._weights: Any = None
        self._history_BTHWC: np.ndarray | None = None
        self._chunk_BHA: np.ndarray | None = None
        self._num_executed = 0
        rate = self.config.temporal_ensembling
        self._ensemble = None if rate is None else ChunkEnsemble(rate, self.config.num_executed)

    def act(self, observations: Mapping[str, Any]) -> Float[np.ndarray, "B A"]:
        """The next action of every episode; the network runs once every ``num_executed`` steps.

        With ``temporal_ensembling``, what is executed of a chunk is its mean with the earlier ones that overlap it.

        Args:
            observations: ``"frames"`` uint8 (B, cameras, H, W, 3), and ``"eef_state"`` (B, E) if it is seen.

        Raises:
            ValueError: If the frames' shape or dtype does not match the interface.
        """
        self._remember(np.asarray(observations["frames"]))
        if self._chunk_BHA is None or self._num_executed == self.config.num_executed:
            self._chunk_BHA = self._predict(observations.get("eef_state"))
            self._num_executed = 0
        # A copy, so that writing to it does not change the chunk.
        actions_BA = self._chunk_BHA[:, self._num_executed].copy()
        self._num_executed += 1
        return actions_BA

    def _remember(self, frames: np.ndarray) -> None:
        size = self.interface.image_size
        expected = (self._num_episodes, len(self.interface.cameras), size, size, 3)
        if frames.shape != expected or frames.dtype != np.uint8:
            raise ValueError(f"expected uint8 frames of shape {expected}, got {frames.dtype} {frames.shape}")
        newest_B1HWC = cameras_to_channels(frames)[:, None]
        if self._history_BTHWC is None:
            self._history_BTHWC = np.repeat(newest_B1HWC, self.config.history, axis=1)
        else:
            self._history_BTHWC = np.concatenate([self._history_BTHWC[:, 1:], newest_B1HWC], axis=1)

    def _predict(self, eef_state: Any) -> np.ndarray:
        assert self._history_BTHWC is not None
        seen_BTHWC = self._history_BTHWC[:, :: self.config.frame_stride]
        size = self._num_episodes if self.batched_inference else 1
        rows = [slice(start, start + size) for start in range(0, self._num_episodes, size)]
        states = [None if eef_state is None else np.asarray(eef_state)[row] for row in rows]
        with one_thread(), torch.inference_mode():
            self._weights = self.network.weights() if self._weights is None else self._weights
            inputs = [(seen_BTHWC[row], state, self._weights) for row, state in zip(rows, states, strict=True)]
            if self._ensemble is None:
                return np.concatenate([self.predict_chunk(*each) for each in inputs])
            return self.decode(self._ensemble.add(torch.cat([self._features(*each) for each in inputs])))


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """One PyTorch thread inside the block: how sums are split over threads affects their last bits."""
    before = torch.get_num_threads()
    if before != 1:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if before != 1:
            torch.set_num_threads(before)


@contextlib.contextmanager
def flushed_denormals() -> Iterator[None]:
    """Numbers below 1.2e-38 count as zero inside the block.

    The softmax of a sharp attention is full of them, and a processor takes many times as long for each. Sums with
    numbers of ordinary size do not depend on them.
    """
    # NumPy looks at the limits of its types once; it would warn if their denormals were zero.
    np.finfo(np.float32), np.finfo(np.float64)
    were_flushed = not torch.tensor(1e-40).mul(2.0).item()
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(were_flushed)
