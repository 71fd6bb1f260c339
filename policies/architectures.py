"""Every kind of policy that is trained, by the name after ``smidgen-train policy=``, and its settings as JSON."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from typing import Any

from smidgen.policies.cnn import CnnConfig, CnnRnnConfig
from smidgen.policies.learned_policy import LearnedPolicyConfig
from smidgen.policies.linear import LinearConfig
from smidgen.policies.nearest import NearestConfig
from smidgen.policies.perceiver_policy import ConvStemPerceiverConfig, PerceiverPolicyConfig
from smidgen.policies.vit import VitConfig
from smidgen.runtime.errors import UserError, unknown_name
from smidgen.runtime.flat_config import flat_fields, flat_values, nested

ARCHITECTURES: dict[str, type[LearnedPolicyConfig]] = {
    config.kind: config
    for config in (
        PerceiverPolicyConfig,
        ConvStemPerceiverConfig,
        CnnConfig,
        CnnRnnConfig,
        VitConfig,
        LinearConfig,
        NearestConfig,
    )
}
DEFAULT = PerceiverPolicyConfig.kind
_KIND = "policy"
# Settings that came after the first checkpoints, and what was done before there were any.
LATER_SETTINGS: dict[str, Any] = {"drop_dc": False, "transform_seed": 0}
# What the first checkpoints hold and nobody sets: the width of the state input follows from use_eef_state.
_FIXED_SETTINGS = {"state_dim": 0}


def architecture(kind: str) -> type[LearnedPolicyConfig]:
    """The configuration class of a kind of policy.

    Raises:
        UserError: If there is none of that name.
    """
    if kind not in ARCHITECTURES:
        raise unknown_name("policy to train", kind, ARCHITECTURES)
    return ARCHITECTURES[kind]


def needs_training(kind: str) -> str:
    """What to say where a kind of policy is named in the place of a trained one."""
    return f"policy {kind!r} must be trained first: smidgen-train policy={kind} demos=DIR out=DIR, then policy=DIR"


def policy_to_json(config: LearnedPolicyConfig) -> dict[str, Any]:
    """A policy's settings, flat, as checkpoints and run directories hold them."""
    values = flat_values(config)
    if config.kind == DEFAULT:
        return values | _FIXED_SETTINGS
    return {_KIND: config.kind} | values


def policy_from_json(value: Mapping[str, Any]) -> LearnedPolicyConfig:
    """Reads what :func:`policy_to_json` wrote; every type is checked exactly.

    Raises:
        UserError: If a setting is missing, unknown or of another type.
    """
    value = dict(value)
    kind = value.pop(_KIND, DEFAULT)
    if not isinstance(kind, str):
        raise UserError(f"config: {_KIND} should be a name, is {kind!r:.60}")
    schema = architecture(kind)
    if kind == DEFAULT:
        value = LATER_SETTINGS | value
        for name, fixed in _FIXED_SETTINGS.items():
            if type(given := value.pop(name, None)) is not int or given != fixed:
                raise UserError(f"config: {name} should be {fixed}, is {given!r:.60}")
    hints = {name: hint for name, (hint, _) in flat_fields(schema).items()}
    if set(value) != set(hints):
        raise UserError(f"config: keys missing or unknown: {', '.join(sorted(set(value) ^ set(hints))):.120}")
    for key, hint in hints.items():
        allowed = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
        # Exact types: to isinstance, True is an int. A float may have been written as 1.
        if type(value[key]) not in allowed and not (float in allowed and type(value[key]) is int):
            raise UserError(f"config: {key} should be {hint}, is {value[key]!r:.60}")
    return nested(schema, value)
