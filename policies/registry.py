"""``POLICIES``: every policy of ours by its name, and the settings of those that are trained as JSON.

There are two kinds of entry, distinguished by ``needs_training``: baselines, built from a task's action and the
demonstrations' means, and the configurations of trainable policies.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Annotated, Any

from typing_extensions import TypedDict

from smidgen.policies.baselines import (
    Baseline,
    DemoStatistics,
    MeanActionPolicy,
    NoopPolicy,
    PersistencePolicy,
    RandomPolicy,
    TimeMeanPolicy,
)
from smidgen.policies.cnn import CnnConfig, CnnRnnConfig
from smidgen.policies.learned_policy import LearnedPolicyConfig
from smidgen.policies.linear import LinearConfig
from smidgen.policies.nearest import NearestConfig
from smidgen.policies.perceiver_policy import ConvStemPerceiverConfig, PerceiverPolicyConfig
from smidgen.policies.vit import VitConfig
from smidgen.runtime.action_spec import ActionSpec
from smidgen.runtime.errors import UserError, unknown_name
from smidgen.runtime.flat_config import flat_fields, is_later, nested, stored_values
from smidgen.runtime.schemas import check_type, within

POLICIES: dict[str, type[Baseline] | type[LearnedPolicyConfig]] = {
    "random": RandomPolicy,
    "noop": NoopPolicy,
    "mean_action": MeanActionPolicy,
    "time_mean": TimeMeanPolicy,
    "persistence": PersistencePolicy,
    "perceiver": PerceiverPolicyConfig,
    "perceiver_conv_stem": ConvStemPerceiverConfig,
    "cnn": CnnConfig,
    "cnn_rnn": CnnRnnConfig,
    "vit": VitConfig,
    "linear": LinearConfig,
    "nearest": NearestConfig,
}
# Policies that must be trained, and those that need no training.
TRAINED = tuple(name for name, entry in POLICIES.items() if entry.needs_training)
BASELINES = tuple(name for name in POLICIES if name not in TRAINED)
DEFAULT = PerceiverPolicyConfig.kind
_KIND = "policy"
# Settings newer than the first checkpoints, with the value that older checkpoints imply.
LATER_SETTINGS: dict[str, Any] = {"drop_dc": False, "transform_seed": 0}
# In the first checkpoints but no longer a setting: the width of the state input follows from use_eef_state.
_FIXED_SETTINGS = {"state_dim": 0}


def architecture(name: str) -> type[LearnedPolicyConfig]:
    """The configuration class of a trainable policy.

    Raises:
        UserError: If there is no such policy.
    """
    entry = POLICIES.get(name)
    if entry is None or not issubclass(entry, LearnedPolicyConfig):
        raise unknown_name("policy to train", name, TRAINED)
    return entry


def plays_back_demonstrations(name: str) -> bool:
    """Whether a policy is built from the demonstrations' means."""
    return name in POLICIES and POLICIES[name].needs_statistics


def build_baseline(name: str, action_spec: Mapping[str, Any], statistics: DemoStatistics | None = None) -> Baseline:
    """Builds a policy that needs no training, by name.

    Args:
        name: One of :data:`BASELINES`.
        action_spec: The task's action as JSON: ``{"names", "low", "high", "kinds"}``.
        statistics: Statistics of the demonstrations, for the baselines that play them back.

    Raises:
        UserError: If the name is unknown, or the baseline needs statistics and there are none.
    """
    entry = POLICIES.get(name)
    if entry is None or not issubclass(entry, Baseline):
        raise unknown_name("policy", name, BASELINES)
    spec = ActionSpec.from_json(action_spec)
    if entry.needs_statistics:
        if statistics is None:
            raise UserError(f"policy {name!r} plays back the demonstrations' mean; add demos=DIR")
        if statistics.mean_action.shape != (spec.size,) or statistics.time_mean_SA.shape[1:] != (spec.size,):
            raise UserError(
                f"policy {name!r}: expected demonstrations with {spec.size} action coordinates, "
                f"got {statistics.mean_action.shape[-1]}; use a data set of the same task"
            )
    return entry(spec, statistics)


def train_first(name: str) -> UserError:
    """The error for naming a kind of trainable policy instead of a trained one."""
    command = f"smidgen-train policy={name} demos=DIR out=DIR"
    return UserError(f"policy {name!r} must be trained first: {command}, then policy=DIR")


def policy_to_json(config: LearnedPolicyConfig) -> dict[str, Any]:
    """A policy's settings, flat, as stored in checkpoints and run directories."""
    values = stored_values(config)
    if config.kind == DEFAULT:
        return values | _FIXED_SETTINGS
    return {_KIND: config.kind} | values


def stored_kind(settings: Mapping[str, Any]) -> str:
    """The kind of policy that stored settings are of."""
    return str(settings.get(_KIND, DEFAULT))


def policy_from_json(value: Mapping[str, Any], source: str = "policy", field: str = "") -> LearnedPolicyConfig:
    """Reads the output of :func:`policy_to_json`, with exact type checks.

    Args:
        value: Parsed JSON.
        source: The file's name, for the message.
        field: Its location in the file.

    Raises:
        UserError: If a setting is missing, unknown or of the wrong type; the message names source and field.
    """
    settings = dict(value)
    kind = settings.pop(_KIND, DEFAULT)
    check_type(kind, str, source, f"{field}.{_KIND}" if field else _KIND)
    config = architecture(kind)
    if kind == DEFAULT:
        settings = LATER_SETTINGS | settings
    settings = later_defaults(config) | settings
    check_type(settings, _schema(config), source, field)
    return nested(config, {name: each for name, each in settings.items() if name not in _FIXED_SETTINGS})


@functools.cache
def later_defaults(config: type[LearnedPolicyConfig]) -> dict[str, Any]:
    """Settings that a file leaves out where they are at their defaults, with these."""
    return {name: each.default for name, (_, each) in flat_fields(config).items() if is_later(each)}


@functools.cache
def _schema(config: type[LearnedPolicyConfig]) -> Any:
    """The settings of a kind of policy as a schema."""
    hints = {name: hint for name, (hint, _) in flat_fields(config).items()}
    if config.kind == DEFAULT:
        hints |= {name: Annotated[int, within(fixed, fixed)] for name, fixed in _FIXED_SETTINGS.items()}
    return TypedDict("Settings", hints)  # type: ignore[operator]
