from __future__ import annotations

import dataclasses

import pytest

from smidgen.policies.cnn import CnnConfig
from smidgen.policies.registry import TRAINED
from smidgen.runtime.errors import UserError
from smidgen.runtime.flat_config import is_later
from smidgen.training.config import KEYS_WITHOUT_INFLUENCE, PLATFORM_KEYS, command_line_schema
from smidgen.training.train import read_config

PLACES = ["demos=data", "out=run"]


def test_the_command_line_gives_a_frozen_config():
    config = read_config([*PLACES, "betas=[0.999,0.9999]", "transform=dft3d", "num_bands=7", "lr=2e-4"])
    network = config.policy.network
    assert (config.betas, network.transform, network.num_bands, config.lr) == ((0.999, 0.9999), "dft3d", 7, 2e-4)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.lr = 1.0


@pytest.mark.parametrize("kind", TRAINED)
def test_every_key_has_a_line_of_help(kind):
    for key in dataclasses.fields(command_line_schema(kind)):
        assert key.metadata.get("help"), key.name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("transform=fft", "unknown transform 'fft'; valid: auto, .*dft1d, .*dft3d.*raw"),
        ("full_spectrum=true", "option of transform 'raw' 'full'"),
        ("drop_dc=true", "option of transform 'raw' 'drop_dc'"),
        ("standardise_after=centr", "did you mean 'centre'"),
        ("standardise_before=x", "valid: centre, example, global, none, token"),
        ("position_encoding=sine", "valid: .*none, one_d, per_axis"),
        ("optimiser=sgd", "valid: adam, adamw"),
        ("schedule=cosine", "valid: constant, onecycle"),
        ("device=tpu", "valid: auto, cpu, cuda"),
        ("step=3", "unknown key 'step' .*steps"),
        ("steps=0", "steps"),
        ("steps=many", "steps"),
        ("lr=0", "positive lr"),
        ("lr=nan", "lr=nan: expected a number"),
        ("betas=[0.9]", "expected a list of 2 numbers"),
        ("betas=[0.9,1.0]", "two betas"),
        ("clip_norm=-1", "clip_norm"),
        ("validation_fraction=1", "validation_fraction"),
        ("seed=-1", "seed"),
        ("num_executed=9", "num_executed in 1..horizon"),
        ("state_dim=4", "unknown key 'state_dim'"),
    ],
)
def test_mistakes_are_the_users_and_named(change, message):
    with pytest.raises(UserError, match=message):
        read_config([*PLACES, change])


def test_demos_and_out_must_be_given():
    with pytest.raises(UserError, match=r"missing demos=\.\.\., out=\.\.\."):
        read_config([])


@pytest.mark.parametrize("kind", TRAINED)
def test_settings_hold_every_key_that_decides_the_result(kind):
    keys = {key.name for key in dataclasses.fields(command_line_schema(kind))} | {"state_dim"}
    settings = read_config([*PLACES, f"policy={kind}"]).settings()
    hidden = {*KEYS_WITHOUT_INFLUENCE, *PLATFORM_KEYS, "policy" if kind == "perceiver" else "state_dim"}
    at_default = {key.name for key in dataclasses.fields(command_line_schema(kind)) if is_later(key)}
    assert set(settings) == keys - hidden - at_default
    assert read_config([*PLACES, f"policy={kind}", "frame_stride=2"]).settings() == {**settings, "frame_stride": 2}
    assert settings.get("policy", "perceiver") == kind


def test_keys_are_those_of_the_kind_of_policy():
    with pytest.raises(UserError, match="unknown key 'num_latents'"):
        read_config([*PLACES, "policy=cnn", "num_latents=4"])
    with pytest.raises(UserError, match="unknown key 'auto_rule'"):
        read_config([*PLACES, "policy=vit", "auto_rule=coin"])
    with pytest.raises(UserError, match=r"unknown policy to train 'cn' \(did you mean 'cnn'"):
        read_config([*PLACES, "policy=cn"])
    assert read_config([*PLACES, "policy=cnn", "width=8"]).policy == CnnConfig(width=8)
    assert read_config([*PLACES, "policy=perceiver_conv_stem"]).policy.network.transform == "conv_stem"
