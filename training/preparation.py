"""Before the first step: data verified and split into training and held-out episodes, input chosen, policy built.

Writes nothing. With ``transform=auto``, a rule inspects some training windows before the policy is built. Its choice
depends only on the training episodes and the settings, so that a resumed run makes the same choice. An exception from a
user's own transform becomes one line that names their file.
"""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor

from smidgen.data_collection.certificate import certify
from smidgen.data_collection.store import EpisodeStore
from smidgen.policies.choose_transform import AUTO, Choice
from smidgen.policies.learned_policy import Interface, LearnedPolicy, flushed_denormals
from smidgen.policies.normaliser import ActionNormaliser
from smidgen.runtime.errors import UserError
from smidgen.runtime.user_code import hash_modules
from smidgen.runtime.user_modules import is_class_spec, passed_through_module, user_code_errors
from smidgen.training.config import TrainConfig
from smidgen.training.recipe import Augmentation, Objective
from smidgen.training.validation import CuePairs, ValidationSet
from smidgen.training.windows import WindowBatch, Windows

FIT_BATCH_SIZE = 64
MAX_WINDOWS = 128


@dataclass(frozen=True, eq=False)
class Split:
    """Which episodes are for training and which are held out."""

    store: EpisodeStore
    seeds: tuple[int, ...]
    validation_store: EpisodeStore
    validation_seeds: tuple[int, ...]

    def provenance(self) -> dict[str, Any]:
        """Hashes and seeds, as JSON."""
        return {
            "data_set_sha256": self.store.sha256,
            "data_set_seeds": list(self.seeds),
            "validation_sha256": self.validation_store.sha256,
            "validation_seeds": list(self.validation_seeds),
        }


@dataclass(frozen=True, eq=False)
class Preparation:
    """Everything that the training loop needs.

    Attributes:
        config: The run's settings.
        split: The run's data.
        windows: Windows of the training episodes.
        validation: The held-out windows and pairs.
        policy: With initial weights; its statistics are not fitted yet.
        augmentation: What training changes about frames and states.
        objective: The loss.
        platform: Device, threads and versions, which affect the last bits.
        choice: What ``transform=auto`` measured and chose; None if the settings name a transform.
        transform_code: Hashes of the code of a user's transforms, as settings; {} for ours.
    """

    config: TrainConfig
    split: Split
    windows: Windows
    validation: ValidationSet
    policy: LearnedPolicy
    augmentation: Augmentation
    objective: Objective
    platform: dict[str, Any]
    choice: Choice | None = None
    transform_code: dict[str, str] = field(default_factory=dict)

    def settings(self) -> dict[str, Any]:
        """Everything that determines the result: settings without paths, hashes of data and code, auto's choice."""
        hashes = {key: value for key, value in self.split.provenance().items() if key.endswith("sha256")}
        chosen = {} if self.choice is None else {"auto_chosen": self.choice.chosen.name}
        return {**self.config.settings(), **hashes, **chosen, **self.transform_code}

    def measured(self) -> dict[str, Any]:
        """What ``transform=auto`` measured, as JSON; empty if the settings name a transform."""
        return {} if self.choice is None else {"auto": self.choice.to_json()}

    def fit(self) -> None:
        """Fits the policy's statistics on the training split."""
        windows = self.windows
        batches = _FrameBatches(windows, self.config.fit_windows, self.platform["device"])
        actions, states = torch.from_numpy(windows.actions_NA), torch.from_numpy(windows.eef_state_NE)
        self.policy.fit(batches, actions, states)
        network = self.policy.network
        if network.num_memorised:
            network.memorise(_Examples(windows, network.num_memorised, self.policy))


class _FrameBatches:
    """Training frames in batches, spread over all episodes; can be iterated repeatedly."""

    def __init__(self, windows: Windows, count: int, device: str) -> None:
        self._windows, self._count, self._device = windows, count, device

    def __iter__(self) -> Iterator[Tensor]:
        for batch in _batches(self._windows, self._count):
            yield torch.from_numpy(batch.frames_BTHWC).to(self._device)


class _Examples:
    """Training frames and the features of their chunks, in batches, spread over all episodes."""

    def __init__(self, windows: Windows, count: int, policy: LearnedPolicy) -> None:
        self._windows, self._count, self._policy = windows, count, policy

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        device = self._policy.device
        for batch in _batches(self._windows, self._count):
            features_BHF = self._policy.normaliser.encode(torch.from_numpy(batch.targets_BHA))
            yield torch.from_numpy(batch.frames_BTHWC).to(device), features_BHF.to(device)


def _batches(windows: Windows, count: int) -> Iterator[WindowBatch]:
    positions = windows.evenly_spaced(count)
    for start in range(0, len(positions), FIT_BATCH_SIZE):
        yield windows.gather(positions[start : start + FIT_BATCH_SIZE])


def prepare(config: TrainConfig) -> Preparation:
    """Reads and checks everything that a run needs.

    Raises:
        UserError: If the data is damaged or too small, the device is missing, or no policy can be built.
    """
    device = resolve_device(config.device)
    split = split_episodes(config)
    code = transform_code(config)
    interface = Interface.from_json({**split.store.manifest, "cameras": split.store.cameras})
    shape = (config.policy.num_frames, config.policy.horizon, config.policy.frame_stride)
    windows = Windows(split.store, split.seeds, *shape)
    choice = choose_input(config, windows, interface)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        chosen = config.policy if choice is None else config.policy.with_input(choice.chosen)
        policy = LearnedPolicy(chosen, interface)
    held_out = Windows(split.validation_store, split.validation_seeds, *shape)
    pairs = None
    if config.counterfactual_pairs:
        pairs = CuePairs.load(
            split.validation_store,
            split.validation_seeds,
            interface.action,
            config.policy.num_frames,
            config.counterfactual_pairs,
            config.policy.frame_stride,
        )
    statistics = split.store.statistics(split.seeds)
    objective = Objective(config.recipe, policy.normaliser, windows)
    return Preparation(
        config=config,
        split=split,
        windows=windows,
        validation=ValidationSet(held_out, config.validation_windows, pairs, statistics, config.batch_size, objective),
        policy=policy.compute_on(device),
        augmentation=Augmentation(config.recipe, config.seed, windows.eef_state_NE.mean(axis=0)),
        objective=objective,
        platform={"device": device, "num_threads": torch.get_num_threads(), "versions": versions()},
        choice=choice,
        transform_code=code,
    )


def split_episodes(config: TrainConfig) -> Split:
    """Opens, verifies and, where asked, certifies the data sets, and splits their successful episodes.

    Raises:
        UserError: If a file is damaged, there are too few episodes, a camera is missing, frames are not those of their
            states, or the two data sets are incompatible.
    """
    store = _verified(config.demos, config.certify)
    store = store.with_cameras(config.cameras or store.cameras)
    seeds = tuple(store.training_seeds)
    if config.validation:
        other = _verified(config.validation, config.certify)
        _require_same_kind(store, other)
        other = other.with_cameras(store.cameras)
        if shared := sorted(set(seeds) & set(other.training_seeds)):
            raise UserError(
                f"validation {config.validation} shares seed {shared[0]} with {config.demos}; collect other seeds"
            )
        if not seeds or not other.training_seeds:
            raise UserError(f"{config.demos} or {config.validation} has no successful episode; collect more")
        return Split(store, seeds, other, tuple(other.training_seeds))
    num_held_out = max(1, round(config.validation_fraction * len(seeds)))
    if len(seeds) <= num_held_out:
        raise UserError(
            f"{config.demos} has {len(seeds)} successful episodes, {num_held_out} of them held out; collect at least 2"
        )
    return Split(store, seeds[:-num_held_out], store, seeds[-num_held_out:])


def _verified(directory: str, certified: bool | None) -> EpisodeStore:
    store = EpisodeStore.open(directory, verify=True)
    certify(store, certified, others_only=True)
    return store


def _require_same_kind(store: EpisodeStore, other: EpisodeStore) -> None:
    for key in ("task", "action_spec", "image_size", "eef_state_names", "environment"):
        ours, theirs = _without_cameras(store.manifest[key]), _without_cameras(other.manifest[key])
        if ours != theirs:
            raise UserError(
                f"{other.directory}: {key} is {str(theirs)[:60]}, but {str(ours)[:60]} in {store.directory}; validate "
                "on a compatible data set"
            )


def _without_cameras(value: Any) -> Any:
    """A manifest's entry, an environment without its cameras: of these, only those that the policy sees matter."""
    return {name: each for name, each in value.items() if name != "cameras"} if isinstance(value, dict) else value


def resolve_device(name: str) -> str:
    """Resolves the device to compute on.

    Raises:
        UserError: If the requested one is missing.
    """
    found = [kind for kind, module in {"cuda": torch.cuda, "mps": torch.mps}.items() if module.is_available()]
    if name == "auto":
        return [*found, "cpu"][0]
    if name != "cpu" and name not in found:
        raise UserError(
            f"device={name}, but PyTorch sees no such device; use device=cpu or install a build of torch for it"
        )
    return name


def versions() -> dict[str, str]:
    """Versions of the numerical libraries."""
    return {"python": platform.python_version(), **{name: version(name) for name in ("numpy", "smidgen", "torch")}}


@contextlib.contextmanager
def reproducible_torch(num_threads: int) -> Iterator[None]:
    """Deterministic algorithms, a fixed number of threads and flushed denormals inside the block.

    Args:
        num_threads: CPU threads; 0 keeps PyTorch's choice.
    """
    # cuBLAS is deterministic only with a fixed workspace size, which it reads when CUDA starts.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    if num_threads:
        torch.set_num_threads(num_threads)
    try:
        with flushed_denormals():
            yield
    finally:
        torch.use_deterministic_algorithms(deterministic)
        torch.set_num_threads(threads)


def choose_input(config: TrainConfig, windows: Windows, interface: Interface) -> Choice | None:
    """Applies the rule of a run with ``transform=auto``; None for any other run.

    The rule's labels are the normalised actions of each window's first future step.

    Args:
        config: The run's settings.
        windows: Windows of the training episodes.
        interface: The policy's inputs and outputs.
    """
    if config.policy.transform != AUTO:
        return None
    batch = windows.gather(windows.evenly_spaced(MAX_WINDOWS))
    normaliser = ActionNormaliser(interface.action)
    normaliser.fit(torch.from_numpy(windows.actions_NA))
    labels_BF = normaliser.encode(torch.from_numpy(batch.targets_BHA[:, 0]))
    frames_BTHWC = torch.from_numpy(batch.frames_BTHWC)
    return config.policy.choose_input(config.auto.auto_rule, frames_BTHWC, labels_BF, config.candidates())


def users_transform(config: TrainConfig) -> str | None:
    """A run's input transform if it is a user's class, ``their.module:Class``; None for one of ours."""
    name = config.policy.transform
    return name if is_class_spec(name) else None


def transform_code(config: TrainConfig) -> dict[str, str]:
    """Hashes of its module and of the user's modules that it imports, as settings named ``transform_code.FILE``."""
    spec = users_transform(config)
    hashes = {} if spec is None else hash_modules(spec.partition(":")[0])
    return {f"transform_code.{file}": digest for file, digest in hashes.items()}


@contextlib.contextmanager
def running_transform(config: TrainConfig) -> Iterator[None]:
    """In training, an exception from a user's transform becomes one line that names their file, below the traceback.

    Raises:
        UserCodeError: For any exception that it raises.
    """
    spec = users_transform(config)
    try:
        yield
    except (UserError, KeyboardInterrupt):
        raise
    except BaseException as error:
        if spec is None or not passed_through_module(error, spec.partition(":")[0]):
            raise
        with user_code_errors("transform", spec, "training with it", shows_trace=True):
            raise


def require_fitting_output(config: TrainConfig, policy: LearnedPolicy, frames_BTHWC: Tensor) -> None:
    """Tries a user's transform on a few frames before the first step.

    Args:
        config: The run's settings.
        policy: The policy; its statistics are fitted.
        frames_BTHWC: Frames in the network's input format, on its device.

    Raises:
        UserCodeError: If the transform's output does not match its ``grid`` and ``channels``, is not a floating-point
            tensor, or is not finite.
    """
    if users_transform(config) is not None:
        policy.network.check_transform(frames_BTHWC)
