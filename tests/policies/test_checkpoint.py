from __future__ import annotations

import contextlib
import copy
import json
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from smidgen.policies.checkpoint import (
    checkpoint_sha256,
    halve_checkpoint,
    load_checkpoint,
    read_checkpoint_card,
    save_checkpoint,
)
from smidgen.policies.learned_policy import Interface, LearnedPolicy
from smidgen.policies.perceiver_policy import PerceiverPolicyConfig
from smidgen.policies.policy import is_users_policy, load_policy
from smidgen.policies.registry import LATER_SETTINGS
from smidgen.runtime.action_spec import ActionSpec
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import sha256_file

ACTION = ActionSpec(("x", "y", "z", "grip"), ("position",) * 3 + ("gripper",), (-1.0,) * 4, (1.0,) * 4)
SIZE = 8
OPTIONS = [
    {},
    {"transform": "dft3d", "standardise_after": "centre"},
    {"transform": "dft1d", "standardise_before": "global", "standardise_after": "token", "position_encoding": "one_d"},
    {"use_eef_state": True, "byte_tokens": True, "num_bands": 3},
]


def build(**options) -> LearnedPolicy:
    torch.manual_seed(1)
    config = PerceiverPolicyConfig.from_flat(num_latents=4, latent_dim=8, num_heads=2, num_layers=1, **options)
    policy = LearnedPolicy(config, Interface("dot", ACTION, ("front",), SIZE, ("x", "y", "z", "opening")))
    frames = torch.randint(0, 256, (5, 3, SIZE, SIZE, 3), dtype=torch.uint8)
    policy.fit([frames], torch.rand(20, 4), torch.rand(20, 4))
    return policy.eval()


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    save_checkpoint(tmp_path / "final", build(), {"data_set_sha256": "0" * 64, "step": 3})
    return tmp_path / "final"


def rewrite_card(checkpoint: Path, change) -> None:
    card = json.loads((checkpoint / "checkpoint.json").read_text())
    change(card)
    (checkpoint / "checkpoint.json").write_text(json.dumps(card))


@pytest.mark.parametrize("options", OPTIONS)
def test_a_loaded_policy_predicts_the_same_bits(tmp_path, options):
    policy = build(**options)
    save_checkpoint(tmp_path / "final", policy, {})
    torch.manual_seed(7)
    expected_draw = torch.rand(1)
    torch.manual_seed(7)
    loaded = load_checkpoint(tmp_path / "final")
    assert torch.equal(torch.rand(1), expected_draw), "loading must not touch the global generator"
    assert loaded.config == policy.config
    assert loaded.interface == policy.interface
    assert not loaded.training
    frames = np.random.default_rng(0).integers(0, 256, (2, 3, SIZE, SIZE, 3), dtype=np.uint8)
    state = np.zeros((2, 4))
    np.testing.assert_array_equal(loaded.predict_chunk(frames, state), policy.predict_chunk(frames, state))


def test_the_card_holds_the_contract(checkpoint):
    card = read_checkpoint_card(checkpoint)
    assert card["schema_version"] == 1
    assert (card["task"], card["cameras"], card["image_size"]) == ("dot", ["front"], SIZE)
    assert card["action_spec"] == ACTION.to_json()
    assert card["config"]["transform"] == "raw"
    assert card["provenance"] == {"data_set_sha256": "0" * 64, "step": 3}
    assert card["model_sha256"] == sha256_file(checkpoint / "model.safetensors")
    assert sorted(os.listdir(checkpoint)) == ["checkpoint.json", "model.safetensors"]


def test_equal_policies_give_equal_bytes(tmp_path):
    for name in ("one", "two"):
        save_checkpoint(tmp_path / name, build(), {"step": 1})
    assert checkpoint_sha256(tmp_path / "one") == checkpoint_sha256(tmp_path / "two")


def test_a_run_directory_stands_for_its_final_checkpoint(tmp_path):
    save_checkpoint(tmp_path / "run" / "checkpoints" / "final", build(), {})
    assert load_checkpoint(tmp_path / "run").name == "perceiver-raw"
    assert checkpoint_sha256(tmp_path / "run") == checkpoint_sha256(tmp_path / "run" / "checkpoints" / "final")


def test_nothing_is_written_over(checkpoint):
    before = checkpoint_sha256(checkpoint)
    with pytest.raises(UserError, match="already exists"):
        save_checkpoint(checkpoint, build(transform="dft3d"), {})
    assert checkpoint_sha256(checkpoint) == before


def test_a_failed_write_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        save_checkpoint(tmp_path / "final", build(), {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_another_task_is_refused(checkpoint):
    assert load_checkpoint(checkpoint, expect_task="dot").interface.task == "dot"
    with pytest.raises(UserError, match="trained on task 'dot', not 'lift'"):
        load_checkpoint(checkpoint, expect_task="lift")


def test_no_checkpoint_is_said_so(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        load_checkpoint(tmp_path / "nowhere")
    with pytest.raises(UserError, match="no checkpoint"):
        load_checkpoint(tmp_path)
    (tmp_path / "metrics.jsonl").write_text("")
    with pytest.raises(UserError, match="is unfinished"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("damage", ["truncated", "flipped", "missing", "empty", "pickle"])
def test_a_damaged_model_is_refused(checkpoint, damage):
    path = checkpoint / "model.safetensors"
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        flipped = content[:-1] + bytes([content[-1] ^ 1])
        pickled = pickle.dumps({"weights": 1})
        path.write_bytes({"truncated": content[:-7], "flipped": flipped, "empty": b"", "pickle": pickled}[damage])
    with pytest.raises(UserError, match=r"model\.safetensors is (missing|truncated or altered)"):
        load_checkpoint(checkpoint)


def forge_model(checkpoint: Path, content: bytes) -> None:
    """What a forger does: the hash fits the altered model."""
    (checkpoint / "model.safetensors").write_bytes(content)
    rewrite_card(checkpoint, lambda card: card.update(model_sha256=sha256_file(checkpoint / "model.safetensors")))


@pytest.mark.parametrize(
    "content", [b"", b"\xff" * 64, pickle.dumps(print), b"\x10" + b"\0" * 7 + b'{"a":{"dtype":0}}']
)
def test_a_forged_header_is_refused(checkpoint, content):
    forge_model(checkpoint, content)
    with pytest.raises(UserError, match=r"not a readable safetensors file"):
        load_checkpoint(checkpoint)


@pytest.mark.parametrize("change", ["missing", "unknown", "shape", "dtype", "nan"])
def test_forged_tensors_are_refused(checkpoint, change):
    tensors = load_file(checkpoint / "model.safetensors")
    name = "network.encoder.latents"
    if change == "missing":
        del tensors[name]
    elif change == "unknown":
        tensors["surplus"] = torch.zeros(1)
    elif change == "shape":
        tensors[name] = torch.zeros(4, 9)
    elif change == "dtype":
        tensors[name] = tensors[name].double()
    else:
        tensors[name][0] = torch.nan
    save_file(tensors, checkpoint / "forged.safetensors")
    forge_model(checkpoint, (checkpoint / "forged.safetensors").read_bytes())
    with pytest.raises(UserError, match=r"model\.safetensors: tensor"):
        load_checkpoint(checkpoint)


CARD_CHANGES = {
    "version": lambda card: card.update(schema_version=2),
    "version as text": lambda card: card.update(schema_version="1"),
    "missing field": lambda card: card.pop("task"),
    "unknown field": lambda card: card.update(code="import os"),
    "wrong type": lambda card: card.update(cameras="front"),
    "empty cameras": lambda card: card.update(cameras=[]),
    "camera numbers": lambda card: card.update(cameras=[1]),
    "unknown key": lambda card: card["config"].update(target="os.system"),
    "missing key": lambda card: card["config"].pop("transform"),
    "unknown transform": lambda card: card["config"].update(transform="__import__('os')"),
    "text for a number": lambda card: card["config"].update(num_latents="4"),
    "bool for a number": lambda card: card["config"].update(num_latents=True),
    "other width": lambda card: card["config"].update(latent_dim=16),
    "huge width": lambda card: card["config"].update(latent_dim=2**40, num_latents=2**40),
    "huge but allowed width": lambda card: card["config"].update(latent_dim=2**16),
    "huge depth": lambda card: card["config"].update(num_layers=2**30),
    "negative depth": lambda card: card["config"].update(num_layers=-1),
    "huge image": lambda card: card.update(image_size=2**30),
    "zero image": lambda card: card.update(image_size=0),
    "huge history": lambda card: card["config"].update(num_frames=2**16),
    "huge bands": lambda card: card["config"].update(num_bands=2**16, position_encoding="one_d", num_frames=2**15),
    "nan floor": lambda card: card["config"].update(floor_scale=float("nan")),
    "action spec": lambda card: card["action_spec"].update(kinds=["position"]),
}


@pytest.mark.parametrize("change", CARD_CHANGES)
def test_a_forged_card_is_refused_by_name(checkpoint, change):
    rewrite_card(checkpoint, CARD_CHANGES[change])
    with pytest.raises(UserError, match=r"checkpoint\.json|model\.safetensors") as caught:
        load_checkpoint(checkpoint)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000])
def test_a_card_that_is_no_object_is_refused(checkpoint, content):
    (checkpoint / "checkpoint.json").write_bytes(content)
    with pytest.raises(UserError, match=r"checkpoint\.json"):
        load_checkpoint(checkpoint)


def test_random_damage_to_the_card_is_never_more_than_a_users_error(checkpoint, tmp_path):
    content = (checkpoint / "checkpoint.json").read_bytes()
    rng = np.random.default_rng(0)
    for trial in range(60):
        damaged = bytearray(copy.copy(content))
        for position in rng.integers(0, len(damaged), 3):
            damaged[position] = rng.integers(0, 256)
        other = tmp_path / f"copy{trial}"
        shutil.copytree(checkpoint, other)
        (other / "checkpoint.json").write_bytes(bytes(damaged))
        with contextlib.suppress(UserError):
            load_checkpoint(other)


def test_a_card_from_before_a_setting_loads_as_if_the_setting_were_at_its_default(checkpoint):
    rewrite_card(checkpoint, lambda card: [card["config"].pop(key) for key in LATER_SETTINGS])
    config = load_checkpoint(checkpoint).config
    assert {key: getattr(config.network, key) for key in LATER_SETTINGS} == LATER_SETTINGS
    assert config == build().config


def test_a_halved_checkpoint_acts_alike_in_half_of_the_bytes(checkpoint, tmp_path):
    halve_checkpoint(checkpoint, tmp_path / "half")
    whole, half = load_checkpoint(checkpoint), load_checkpoint(tmp_path / "half")
    for name, tensor in whole.state_dict().items():
        assert half.state_dict()[name].dtype == tensor.dtype
        torch.testing.assert_close(half.state_dict()[name], tensor, rtol=1e-3, atol=1e-6)
    size, small = ((path / "model.safetensors").stat().st_size for path in (checkpoint, tmp_path / "half"))
    assert small < 0.8 * size, "the header of so small a network is long"
    assert checkpoint_sha256(checkpoint) != checkpoint_sha256(tmp_path / "half")
    with pytest.raises(UserError, match="already exists"):
        halve_checkpoint(checkpoint, tmp_path / "half")


def test_what_half_precision_cannot_hold_stays_whole(tmp_path):
    policy = build()
    name = "network.encoder.latents"
    policy.state_dict()[name][0, 0] = 1e6
    save_checkpoint(tmp_path / "final", policy, {})
    halve_checkpoint(tmp_path / "final", tmp_path / "half")
    assert torch.equal(load_checkpoint(tmp_path / "half").state_dict()[name], policy.state_dict()[name])


def test_a_policy_of_the_zoo_is_a_checkpoint_by_name(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr("smidgen.policies.zoo.FOLDER", tmp_path / "zoo")
    for name in ("dot/sees", "dot/sees-not", "dot"):
        with pytest.raises(UserError, match=rf"unknown policy 'zoo:{name}'; the zoo has: none is installed"):
            load_checkpoint(f"zoo:{name}")
    halve_checkpoint(checkpoint, tmp_path / "zoo" / "dot" / "sees")
    assert load_policy("zoo:dot/sees", ACTION.to_json(), expect_task="dot").name == "perceiver-raw"
    assert not is_users_policy("zoo:dot/sees")
    with pytest.raises(UserError, match="the zoo has: zoo:dot/sees"):
        load_policy("zoo:../secret", ACTION.to_json())
