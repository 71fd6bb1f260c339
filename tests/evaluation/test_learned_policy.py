"""A Perceiver's checkpoint through the whole evaluation, in the fake world."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fake_lift import FakeLift, open_fake_collector

from smidgen.data_collection.collect import collect
from smidgen.data_collection.collector import Collector
from smidgen.data_collection.config import CollectConfig
from smidgen.data_collection.experts import EXPERTS
from smidgen.data_collection.store import EpisodeStore
from smidgen.evaluation import held_out_predictions
from smidgen.evaluation.config import EvalConfig
from smidgen.evaluation.evaluate import evaluate
from smidgen.evaluation.plan import make_plan
from smidgen.evaluation.records import Record, read_record
from smidgen.evaluation.training_curve import read_curve
from smidgen.policies.checkpoint import RUN_CHECKPOINT, checkpoint_sha256, load_checkpoint, save_checkpoint
from smidgen.policies.cnn import CnnConfig
from smidgen.policies.learned_policy import Interface, LearnedPolicy, LearnedPolicyConfig, cameras_to_channels
from smidgen.policies.perceiver_policy import PerceiverPolicyConfig
from smidgen.runtime.errors import UserError
from smidgen.runtime.flat_config import flat_values

SMALL = PerceiverPolicyConfig.from_flat(
    transform="dft3d", standardise_after="centre", num_latents=2, latent_dim=8, num_layers=1, num_heads=1, horizon=3
)
CURVE = [
    {"step": 0, "split": "validation", "r2": [0.0, 0.1, None], "cue_slope": 0.0},
    {"step": 5, "split": "train", "loss": 0.5},
    {"step": 10, "split": "validation", "r2": [0.5, 0.6, None], "cue_slope": 0.7},
]


@pytest.fixture(scope="module")
def demos(tmp_path_factory: pytest.TempPathFactory) -> EpisodeStore:
    out = tmp_path_factory.mktemp("held_out") / "demos"
    config = CollectConfig(task="lift", out=str(out), episodes=4, split="validation", workers=0, image_size=16)
    return collect(config, open_fake_collector).store


def save_run(directory: Path, demos: EpisodeStore, seeds: list[int], sha256: str = "ab" * 32, **changes: Any) -> Path:
    """A training run's directory that ends with a random Perceiver's checkpoint."""
    config = PerceiverPolicyConfig.from_flat(**{**flat_values(SMALL), **changes})
    return save_run_of(config, directory, demos, seeds, sha256)


def save_run_of(
    config: LearnedPolicyConfig, directory: Path, demos: EpisodeStore, seeds: list[int], sha256: str = "ab" * 32
) -> Path:
    """A training run's directory that ends with the checkpoint of a random policy."""
    torch.manual_seed(0)
    policy = LearnedPolicy(config, Interface.from_json(demos.manifest))
    episode = demos.episode(demos.seeds[0])
    first, num_frames = cameras_to_channels(episode.frames[:1]), policy.config.num_frames
    frames = torch.from_numpy(np.repeat(first[None], num_frames, axis=1))
    policy.fit([frames], torch.from_numpy(episode.actions.copy()), torch.from_numpy(episode.eef_state.copy()))
    directory.mkdir(parents=True)
    (directory / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in CURVE))
    provenance = {"data_set_sha256": sha256, "data_set_seeds": seeds, "training_config": {"lr": 1e-3}, "step": 10}
    save_checkpoint(directory / RUN_CHECKPOINT, policy, provenance)
    return directory


@pytest.fixture(scope="module")
def run_directory(tmp_path_factory: pytest.TempPathFactory, demos: EpisodeStore) -> Path:
    return save_run(tmp_path_factory.mktemp("runs") / "dft3d", demos, seeds=[0, 1, 2])


def settings(policy: Path, out: Path, demos: EpisodeStore, **changes: Any) -> EvalConfig:
    fixed = {"episodes": 2, "workers": 0, "videos": 0, "demos": str(demos.directory), **changes}
    return EvalConfig(policy=str(policy), out=str(out / "results"), **fixed)


def run(policy: Path, out: Path, demos: EpisodeStore, **changes: Any) -> Record:
    return read_record(evaluate(settings(policy, out, demos, **changes), FakeLift)[0])


def test_the_record_holds_the_chain_of_hashes_and_the_curve(
    run_directory: Path, demos: EpisodeStore, tmp_path: Path
) -> None:
    record = run(run_directory, tmp_path, demos)
    card = record["policy"]
    assert (card["name"], card["kind"], card["observes"]) == ("perceiver-dft3d", "checkpoint", ["frames"])
    assert (card["transform"], card["standardise_before"], card["standardise_after"]) == ("dft3d", "none", "centre")
    assert card["checkpoint_sha256"] == checkpoint_sha256(run_directory)
    assert (card["data_set_sha256"], card["data_set_seeds"]) == ("ab" * 32, [0, 2])
    assert card["training"] == {"step": 10, "training_config": {"lr": 1e-3}, "num_demonstrations": 3}
    assert [row["cue_slope"] for row in record["training_curve"]] == [0.0, 0.7]
    assert all(row["split"] == "validation" for row in record["training_curve"])
    assert record["config"]["image_size"] == 16
    reasons = record["collapse"]["reasons"]
    assert {"skill_time_mean", "cue_skill"} <= set(reasons)
    assert not {"r2", "r2_by_chunk_step", "response_to_shuffling", "cue_slope", "over_time"} & set(reasons)


def test_a_policy_without_a_transform_is_evaluated_alike(demos: EpisodeStore, tmp_path: Path) -> None:
    config = CnnConfig(width=2, hidden_dim=4, horizon=3)
    record = run(save_run_of(config, tmp_path / "run", demos, seeds=[0]), tmp_path, demos)
    card = record["policy"]
    assert (card["name"], card["kind"], card["observes"]) == ("cnn", "checkpoint", ["frames"])
    assert (card["transform"], card["standardise_before"], card["standardise_after"]) == (None, None, None)
    assert [len(row) for row in record["collapse"]["r2_by_chunk_step"]] == [3] * 3


def test_each_step_of_a_chunk_is_measured(run_directory: Path, demos: EpisodeStore, tmp_path: Path) -> None:
    collapse = run(run_directory, tmp_path, demos)["collapse"]
    assert [len(row) for row in collapse["r2_by_chunk_step"]] == [3] * SMALL.horizon
    assert collapse["r2_by_chunk_step"][0] == collapse["r2"]


def test_a_twin_gives_the_cue_skill(run_directory: Path, demos: EpisodeStore, tmp_path: Path) -> None:
    twin = save_run(tmp_path / "twin", demos, seeds=[0], horizon=4)
    record = run(run_directory, tmp_path, demos, twin=str(twin))
    assert record["config"]["twin_sha256"] == checkpoint_sha256(twin)
    policy, twin_policy = load_checkpoint(run_directory), load_checkpoint(twin)
    pairs = demos.counterfactuals(demos.seeds)
    errors = [
        held_out_predictions.predict_windows(asked, pairs[name], pairs["eef_state"], 4)[:, :3] - pairs["target"][:, :3]
        for asked, name in ((policy, "frames"), (twin_policy, "frames_hidden"))
    ]
    expected = 1 - (errors[0] ** 2).sum() / (errors[1] ** 2).sum()
    assert record["collapse"]["cue_skill"] == pytest.approx(expected, rel=1e-6)


def test_a_twin_is_held_to_the_same_rules(run_directory: Path, demos: EpisodeStore, tmp_path: Path) -> None:
    leaking = save_run(tmp_path / "leak", demos, seeds=list(demos.seeds[:2]))
    with pytest.raises(UserError, match="expected held-out demonstrations"):
        make_plan(settings(run_directory, tmp_path, demos, twin=str(leaking)))
    with pytest.raises(UserError, match="expected a checkpoint as twin="):
        make_plan(settings(run_directory, tmp_path, demos, twin="noop"))


def test_run_and_checkpoint_are_one_policy(run_directory: Path, demos: EpisodeStore, tmp_path: Path) -> None:
    by_run = run(run_directory, tmp_path / "run", demos)
    assert run(run_directory / RUN_CHECKPOINT, tmp_path / "checkpoint", demos) == by_run


def test_a_checkpoint_trained_anew_at_the_same_path_is_not_the_old_one(demos: EpisodeStore, tmp_path: Path) -> None:
    first = run(save_run(tmp_path / "run", demos, seeds=[0]), tmp_path / "first", demos, episodes=1)
    shutil.rmtree(tmp_path / "run")
    second = run(save_run(tmp_path / "run", demos, seeds=[0], horizon=4), tmp_path / "second", demos, episodes=1)
    assert first["collapse"]["r2"] != second["collapse"]["r2"]


def test_windows_are_those_that_the_policy_sees_in_an_episode(run_directory: Path, demos: EpisodeStore) -> None:
    policy = load_checkpoint(run_directory)
    policy.config = dataclasses.replace(policy.config, num_executed=1)
    episode = demos.episode(demos.seeds[0])
    policy.reset()
    acted = np.concatenate([policy.act({"frames": frames[None]}) for frames in episode.frames])
    predicted = held_out_predictions.predict_steps(policy, episode, np.arange(episode.num_steps))
    np.testing.assert_allclose(predicted, acted, atol=1e-6)
    pairs = demos.counterfactuals([demos.seeds[0]])
    at_pairs = held_out_predictions.predict_windows(policy, pairs["frames"], pairs["eef_state"], 4)
    np.testing.assert_allclose(at_pairs, acted[pairs["step"]], atol=1e-6)


def test_a_longer_history_than_stored_repeats_the_first_frame(demos: EpisodeStore, tmp_path: Path) -> None:
    policy = load_checkpoint(save_run(tmp_path / "long", demos, seeds=[0], num_frames=6))
    pairs = demos.counterfactuals([demos.seeds[0]])
    padded = np.concatenate([pairs["frames"][:, :1]] * 2 + [pairs["frames"]], axis=1)
    expected = policy.predict_chunk(cameras_to_channels(padded))[:, 0]
    predicted = held_out_predictions.predict_windows(policy, pairs["frames"], pairs["eef_state"], 4)
    assert np.array_equal(predicted, expected)


def test_seeds_that_a_policy_was_trained_on_are_refused(demos: EpisodeStore, tmp_path: Path) -> None:
    trained_on_test = save_run(tmp_path / "cheat", demos, seeds=[0, 3_000_000])
    with pytest.raises(UserError, match=r"inside an evaluation.s range; refused"):
        make_plan(settings(trained_on_test, tmp_path, demos))
    trained_on_held_out = save_run(tmp_path / "leak", demos, seeds=list(demos.seeds[:2]))
    with pytest.raises(UserError, match="expected held-out demonstrations"):
        make_plan(settings(trained_on_held_out, tmp_path, demos))
    make_plan(dataclasses.replace(settings(trained_on_held_out, tmp_path, demos), demos=None))


def test_a_torn_curve_is_named(demos: EpisodeStore, tmp_path: Path) -> None:
    torn = save_run(tmp_path / "torn", demos, seeds=[0])
    (torn / "metrics.jsonl").write_text('{"step": 0}\n{"step"')
    with pytest.raises(UserError, match=r"metrics\.jsonl: line 2"):
        make_plan(settings(torn, tmp_path, demos))


def test_a_checkpoint_outside_of_a_run_has_no_curve(demos: EpisodeStore, tmp_path: Path) -> None:
    run_folder = save_run(tmp_path / "run", demos, seeds=[0])
    (tmp_path / "metrics.jsonl").write_text('{"step": 0}\n')
    shutil.copytree(run_folder / RUN_CHECKPOINT, tmp_path / "a" / "copy")
    assert read_curve(str(run_folder)) != []
    assert read_curve(str(tmp_path / "a" / "copy")) == []


def test_long_curves_are_thinned(run_directory: Path, demos: EpisodeStore, tmp_path: Path) -> None:
    long = save_run(tmp_path / "long", demos, seeds=[0])
    (long / "metrics.jsonl").write_text("".join(f'{{"step": {step}}}\n' for step in range(1000)))
    curve = make_plan(settings(long, tmp_path, demos)).fixed["training_curve"]
    assert len(curve) <= 400
    assert (curve[0]["step"], curve[-1]["step"]) == (0, 999)


class TwoEyes(FakeLift):
    """Another camera sees the same in less light."""

    def render_frames(self) -> np.ndarray:
        frames = super().render_frames()
        for index, camera in enumerate(self.cameras):
            frames[index] //= 2 if camera == "sideview" else 1
        return frames


def open_two_eyes(config: CollectConfig) -> Collector:
    env = TwoEyes(config.task, config.cameras, config.image_size)
    return Collector(env, EXPERTS[config.task](env.task.action), config)


def test_a_policy_is_measured_on_its_own_cameras_of_demonstrations_that_have_more(tmp_path: Path) -> None:
    stores = {}
    for name, cameras in {"both": ("agentview", "sideview"), "side": ("sideview",), "front": ("frontview",)}.items():
        config = {"out": str(tmp_path / name), "episodes": 3, "split": "validation", "image_size": 16, "workers": 0}
        collected = collect(CollectConfig(task="lift", cameras=cameras, **config), open_two_eyes)  # type: ignore[arg-type]
        stores[name] = collected.store
    policy = save_run_of(CnnConfig(width=2, hidden_dim=4, horizon=3), tmp_path / "run", stores["side"], seeds=[0])
    made: list[tuple[str, ...]] = []

    def make(task: str, cameras: tuple[str, ...], image_size: int) -> FakeLift:
        made.append(cameras)
        return TwoEyes(task, cameras, image_size)

    records = {
        name: read_record(evaluate(settings(policy, tmp_path / f"of_{name}", store), make)[0])
        for name, store in stores.items()
    }
    assert set(made) == {("sideview",)}
    assert records["both"]["config"]["cameras"] == ["sideview"]
    measures = {name: {**record["collapse"], "demos_sha256": ""} for name, record in records.items()}
    assert measures["both"] == measures["side"]
    assert measures["both"]["cue_slope"] is not None
    assert "rendered with (['frontview'], 16)" in records["front"]["collapse"]["reasons"]["cue_slope"]
