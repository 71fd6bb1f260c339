from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from smidgen.policies.checkpoint import load_checkpoint, read_checkpoint_card
from smidgen.policies.choose_transform import OUR_RULE, RULES, InputChoice, choose_transform
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import sha256_file
from smidgen.training.loop import Trainer, train
from smidgen.training.preparation import prepare
from smidgen.training.train import read_config

AUTO = {"transform": "auto", "auto_candidates": ("raw", "dft1d/token", "dft3d")}


@pytest.fixture(scope="module")
def auto_run(tmp_path_factory, tiny_config):
    out = tmp_path_factory.mktemp("auto") / "run"
    train(tiny_config(out, **AUTO))
    return out


def test_the_choice_is_the_rules_on_training_windows(tmp_path, tiny_config):
    """Once more by hand: frames as tokens in [0, 1], the first future action as label."""
    prepared = prepare(tiny_config(tmp_path, **AUTO))
    windows, policy = prepared.windows, prepared.policy
    prepared.fit()
    batch = windows.gather(windows.evenly_spaced(128))
    x_BNC = policy.network.tokens(torch.from_numpy(batch.frames_BTHWC))
    y_BA = policy.normaliser.encode(torch.from_numpy(batch.targets_BHA))[:, 0]
    candidates = [InputChoice("raw", "centre"), InputChoice("dft1d", "token"), InputChoice("dft3d", "centre")]
    assert prepared.choice == choose_transform(OUR_RULE, x_BNC, y_BA, candidates, grid=(3, 8, 8))


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_chooses_from_bytes_too(tmp_path, tiny_config, rule):
    choice = prepare(tiny_config(tmp_path / "run", **AUTO, auto_rule=rule, byte_tokens=True)).choice
    assert choice.rule == rule
    assert all(np.isfinite(choice.scores))


def test_a_run_tells_what_it_measured_and_trains_with_what_it_chose(auto_run):
    config = json.loads((auto_run / "config.json").read_text())
    card = read_checkpoint_card(auto_run)
    measured = card["provenance"]["auto"]
    assert config["auto"] == measured
    assert measured["rule"] == OUR_RULE
    assert [row["transform"] for row in measured["candidates"]] == ["raw", "dft1d", "dft3d"]
    assert [row["standardise_after"] for row in measured["candidates"]] == ["centre", "token", "centre"]
    best = max(measured["candidates"], key=lambda row: row["score"])
    chosen = InputChoice(best["transform"], best["standardise_after"])
    assert measured["chosen"] == config["settings"]["auto_chosen"] == chosen.name
    assert config["settings"]["transform"] == card["provenance"]["training_config"]["transform"] == "auto"
    assert (card["config"]["transform"], card["config"]["standardise_after"]) == (chosen.transform, "centre")
    policy = load_checkpoint(auto_run)
    assert policy.name == f"perceiver-{chosen.transform}"
    assert policy.predict_chunk(np.zeros((1, 3, 8, 8, 3), np.uint8)).shape == (1, 8, 4)


def test_the_run_equals_the_one_that_names_the_choice(auto_run, tmp_path, tiny_config):
    chosen = InputChoice.parse(read_checkpoint_card(auto_run)["provenance"]["auto"]["chosen"])
    named = {"transform": chosen.transform, "standardise_after": chosen.standardise_after}
    train(tiny_config(tmp_path / "named", **named))
    for name in ("metrics.jsonl", "checkpoints/final/model.safetensors"):
        assert sha256_file(auto_run / name) == sha256_file(tmp_path / "named" / name)
    assert "auto" not in read_checkpoint_card(tmp_path / "named")["provenance"]
    assert "auto" not in json.loads((tmp_path / "named" / "config.json").read_text())


def test_a_resumed_run_repeats_the_choice_and_its_table(auto_run, tmp_path, tiny_config, monkeypatch, capsys):
    config = tiny_config(tmp_path / "run", **AUTO)
    take_step = Trainer._take_step

    def take_step_or_die(self, *rest):
        if self.step == 7:
            raise KeyboardInterrupt
        return take_step(self, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_take_step", take_step_or_die)
        with pytest.raises(KeyboardInterrupt):
            train(config)
    printed = capsys.readouterr().out
    assert printed.startswith(f"auto by {OUR_RULE}")
    assert [line.split()[0] for line in printed.splitlines()[1:4]] == ["raw/centre", "dft1d/token", "dft3d/centre"]
    assert printed.count("<- chosen") == 1
    train(config)
    assert capsys.readouterr().out.splitlines()[:4] == printed.splitlines()[:4]
    for name in ("metrics.jsonl", "checkpoints/final/model.safetensors", "checkpoints/final/checkpoint.json"):
        assert sha256_file(tmp_path / "run" / name) == sha256_file(auto_run / name)


def test_another_choice_is_another_run(auto_run, tiny_config, monkeypatch):
    """Should the same data ever give another choice, the directory is refused instead of mixed."""
    monkeypatch.setattr("smidgen.policies.choose_transform.Choice.index", 1)
    chosen = read_checkpoint_card(auto_run)["provenance"]["auto"]["chosen"]
    assert chosen != "dft1d/token"
    with pytest.raises(UserError, match=f"auto_chosen \\(there '{chosen}', requested 'dft1d/token'\\)"):
        train(tiny_config(auto_run, **AUTO))


def test_held_out_episodes_do_not_enter(tmp_path, tiny_config, write_data_set):
    """Two data sets that share their training episodes, with other episodes held out."""
    demos = write_data_set(tmp_path / "demos", num_episodes=6)
    choices = []
    for first_seed in (100, 200):
        held_out = write_data_set(tmp_path / f"held-out-{first_seed}", num_episodes=2, first_seed=first_seed)
        config = tiny_config(tmp_path / "run", **AUTO, demos=str(demos), validation=str(held_out))
        choices.append(prepare(config).choice)
    assert choices[0] == choices[1]


def test_the_default_is_raw_against_the_originators_dft():
    config = read_config(["demos=data", "out=run", "transform=auto", "standardise_after=token"])
    assert config.candidates() == [InputChoice("raw", "token"), InputChoice("dft1d", "token")]
    config = read_config(["demos=data", "out=run", "auto_candidates=[raw/none,dct/token]"])
    assert [candidate.name for candidate in config.candidates()] == ["raw/none", "dct/token"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("auto_rule=variance", "unknown rule 'variance'; valid: between_token_variance"),
        ("auto_candidates=[raw,dft]", "unknown transform 'dft'"),
        ("auto_candidates=[raw/tokn]", "unknown standardisation 'tokn' .did you mean 'token'"),
        ("auto_candidates=[]", "expected at least one of auto_candidates"),
        ("transform=automatic", "unknown transform 'automatic' .did you mean 'auto'"),
    ],
)
def test_mistakes_are_the_users_and_named(change, message):
    with pytest.raises(UserError, match=message):
        read_config(["demos=data", "out=run", change])
