from __future__ import annotations

import dataclasses

import pytest

from smidgen.policies.perceiver_policy import PerceiverPolicyConfig
from smidgen.runtime.command_line import compose_config
from smidgen.runtime.errors import UserError
from smidgen.training.config import KEYS_WITHOUT_INFLUENCE, PLATFORM_KEYS, TrainConfig

PLACES = ["demos=data", "out=run"]


def test_the_command_line_gives_a_frozen_config():
    config = compose_config(TrainConfig, [*PLACES, "betas=[0.999,0.9999]", "transform=dft3d", "num_bands=7", "lr=2e-4"])
    assert (config.betas, config.transform, config.num_bands, config.lr) == ((0.999, 0.9999), "dft3d", 7, 2e-4)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.lr = 1.0


def test_every_key_has_a_line_of_help():
    for key in dataclasses.fields(TrainConfig):
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
        ("state_dim=4", "use_eef_state"),
    ],
)
def test_mistakes_are_the_users_and_named(change, message):
    with pytest.raises(UserError, match=message):
        compose_config(TrainConfig, [*PLACES, change])


def test_demos_and_out_must_be_given():
    with pytest.raises(UserError, match=r"missing demos=\.\.\., out=\.\.\."):
        compose_config(TrainConfig, [])


def test_settings_hold_every_key_that_decides_the_result():
    config = TrainConfig(demos="data", out="run")
    names = {key.name for key in dataclasses.fields(TrainConfig)}
    assert set(config.settings()) == names - set(KEYS_WITHOUT_INFLUENCE) - set(PLATFORM_KEYS)
    assert isinstance(config.policy(), PerceiverPolicyConfig)
    assert not isinstance(config.policy(), TrainConfig)
