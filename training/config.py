"""All settings of a training run: the policy's, and those of data, optimisation and validation."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from smidgen.policies.choose_transform import ORIGINAL_RULE, OUR_RULE, RULES, InputChoice
from smidgen.policies.learned_policy import LearnedPolicyConfig
from smidgen.policies.registry import DEFAULT, TRAINED, architecture, policy_to_json
from smidgen.runtime.errors import UserError, unknown_name
from smidgen.runtime.flat_config import flat_fields, later, nested, part, stored_values
from smidgen.runtime.settings import PathText
from smidgen.training.optimiser import OPTIMISERS, SCHEDULES
from smidgen.training.recipe import NoRecipe, Recipe

DEVICES = ("cpu", "cuda", "mps", "auto")
FLOAT32, BFLOAT16 = PRECISIONS = ("float32", "bfloat16")
# Paths, how often a run reports or saves, and what is checked before it do not affect its result.
KEYS_WITHOUT_INFLUENCE = ("demos", "validation", "out", "save_every", "plot_every", "certify")
# These affect only the last bits; their actual values on the machine are recorded.
PLATFORM_KEYS = ("device", "num_threads")


@dataclass(frozen=True)
class AutoInput:
    """How ``transform=auto`` chooses."""

    auto_rule: str = field(
        default=OUR_RULE, metadata={"help": f"how transform=auto chooses: {OUR_RULE}, {ORIGINAL_RULE} (claim C7), ..."}
    )
    auto_candidates: tuple[str, ...] = field(
        default=("raw", "dft1d"), metadata={"help": "its candidates; raw/token: with its own standardise_after"}
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "auto_candidates", tuple(self.auto_candidates))
        _require_name("rule", self.auto_rule, RULES)
        if not self.auto_candidates:
            raise UserError("expected at least one of auto_candidates, got none; for example [raw,dft1d]")


@dataclass(frozen=True)
class NoInput:
    """Replaces :class:`AutoInput` for policies that have no transform to choose."""

    auto_rule: ClassVar[str] = ""
    auto_candidates: ClassVar[tuple[str, ...]] = ()


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A complete training run: together with the data set's hash it determines the resulting weights.

    On the command line, the keys of its parts (the policy's, and their parts') are merged with its own.
    """

    demos: PathText = field(metadata={"help": "data set to train on (made by smidgen-collect)"})
    out: PathText = field(
        metadata={"help": "directory of the run; the same command resumes it, and leaves a finished one"}
    )
    validation: PathText = field(
        default="", metadata={"help": "data set for validation; empty: the last seeds of demos"}
    )
    validation_fraction: float = field(
        default=0.1, metadata={"help": "share of demos to hold out if validation is empty"}
    )
    steps: int = field(default=1500, metadata={"help": "optimiser steps"})
    batch_size: int = field(default=16, metadata={"help": "windows per step"})
    lr: float = field(default=1e-3, metadata={"help": "(peak) learning rate"})
    betas: tuple[float, float] = field(
        default=(0.9, 0.999), metadata={"help": "Adam's betas; schedules do not change them"}
    )
    optimiser: str = field(default="adam", metadata={"help": "adam, adamw, lamb"})
    weight_decay: float = field(default=0.0, metadata={"help": "decoupled with adamw, L2 with adam"})
    schedule: str = field(default="onecycle", metadata={"help": "onecycle (rise, then fall) or constant"})
    warmup_steps: int = field(
        default=0, metadata={"help": "warm-up steps; 0: none with constant, 30 % of steps with onecycle"}
    )
    clip_norm: float = field(default=1.0, metadata={"help": "largest gradient norm; 0: no clipping"})
    fit_windows: int = field(default=1024, metadata={"help": "training windows for fitting input statistics"})
    eval_every: int = field(default=100, metadata={"help": "steps between validations"})
    validation_windows: int = field(default=128, metadata={"help": "held-out windows for validation"})
    counterfactual_pairs: int = field(default=64, metadata={"help": "held-out moved-cue pairs for the cue slope"})
    save_every: int = field(default=250, metadata={"help": "steps between resume points"})
    plot_every: int = field(default=500, metadata={"help": "steps between prediction plots"})
    seed: int = field(default=0, metadata={"help": "seed of initial weights and order of windows"})
    device: str = field(default="cpu", metadata={"help": "cpu, cuda, mps, auto: cuda or mps if it is there"})
    num_threads: int = field(default=0, metadata={"help": "CPU threads; 0: PyTorch's choice (recorded)"})
    cameras: tuple[str, ...] = later((), "cameras of the data set that the policy sees, in this order; empty: all")
    micro_batches: int = later(1, "gradient accumulation: parts that a process computes its batch in; less memory")
    precision: str = later(FLOAT32, "float32, or bfloat16: mixed; input transform, byte attention, loss in float32")
    certify: bool | None = later(
        None, "render demos' states again: true; null: only those of another simulator, and warn"
    )
    auto: AutoInput | NoInput = part(AutoInput)
    recipe: Recipe | NoRecipe = part(Recipe)
    policy: LearnedPolicyConfig = part(architecture(DEFAULT))

    def __post_init__(self) -> None:
        # Hydra passes lists; a frozen config must not contain mutable values.
        object.__setattr__(self, "betas", tuple(self.betas))
        object.__setattr__(self, "cameras", tuple(self.cameras))
        self.check()

    @classmethod
    def from_flat(cls, policy: str = DEFAULT, **values: Any) -> TrainConfig:
        """Builds a run from command-line keys.

        Args:
            policy: The kind of policy, one of ``TRAINED``; its keys are valid in addition to a run's.
            values: Any other keys.

        Raises:
            UserError: If a name is unknown or a number is out of range.
            TypeError: If a key is not valid for this kind of policy.
        """
        return nested(cls, values, **parts_of(policy))

    def check(self) -> None:
        """Refuses settings that no run can start from.

        Raises:
            UserError: If a name is unknown (the message lists the valid ones) or a number is out of range.
        """
        self.policy.check()
        self.recipe.check(use_eef_state=self.policy.use_eef_state, num_frames=self.policy.num_frames)
        self.candidates()
        _require_name("optimiser", self.optimiser, OPTIMISERS)
        _require_name("schedule", self.schedule, SCHEDULES)
        _require_name("device", self.device, DEVICES)
        _require_name("precision", self.precision, PRECISIONS)
        for key in (
            "steps",
            "batch_size",
            "micro_batches",
            "fit_windows",
            "eval_every",
            "validation_windows",
            "save_every",
            "plot_every",
        ):
            _require_range(key, getattr(self, key), 1, math.inf)
        _require_range("seed", self.seed, 0, 2**63 - 1)
        for key in ("num_threads", "warmup_steps", "counterfactual_pairs", "weight_decay", "clip_norm"):
            _require_range(key, getattr(self, key), 0, math.inf)
        if not 0 < self.lr < math.inf:
            raise UserError(f"expected a positive lr, got {self.lr}")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise UserError(f"expected two betas in [0, 1), got {list(self.betas)}")
        if not 0 < self.validation_fraction < 1:
            raise UserError(f"expected validation_fraction between 0 and 1, got {self.validation_fraction}")

    def candidates(self) -> list[InputChoice]:
        """Candidates of ``transform=auto``; empty if the policy has no transform to choose."""
        return self.policy.input_choices(self.auto.auto_candidates)

    def settings(self) -> dict[str, Any]:
        """The settings that determine the result, as JSON: all but paths and reporting."""
        dropped = {*flat_fields(type(self.policy)), *KEYS_WITHOUT_INFLUENCE, *PLATFORM_KEYS}
        own = {key: value for key, value in stored_values(self).items() if key not in dropped}
        lists = {key: list(value) for key, value in own.items() if isinstance(value, tuple)}
        return own | lists | policy_to_json(self.policy)


def parts_of(kind: str) -> dict[str, type[Any]]:
    """The parts of a run, given the kind of policy it trains.

    Raises:
        UserError: If there is no such kind.
    """
    policy = architecture(kind)
    return {
        "policy": policy,
        "auto": AutoInput if policy.has_transform else NoInput,
        "recipe": Recipe if policy.has_weights else NoRecipe,
    }


def command_line_schema(kind: str) -> type[Any]:
    """Every key that is valid on the command line for a kind of policy, as a flat dataclass.

    Raises:
        UserError: If there is no such kind.
    """
    choice = field(default=kind, metadata={"help": f"{', '.join(TRAINED)}: each has --help"})
    others = [(name, hint, each) for name, (hint, each) in flat_fields(TrainConfig, **parts_of(kind)).items()]
    rows = [("policy", str, choice), *others]
    return dataclasses.make_dataclass(TrainConfig.__name__, rows, frozen=True, kw_only=True)


def _require_name(kind: str, name: str, valid: Iterable[str]) -> None:
    if name not in valid:
        raise unknown_name(kind, name, valid)


def _require_range(key: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise UserError(f"expected {key} in {low}..{high}, got {value}")
