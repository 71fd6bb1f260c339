"""The saliency command in the fake world: which episodes, which files, what is in them."""

import dataclasses
import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fake_lift import HOME_M, FakeLift
from PIL import Image

from smidgen.evaluation.config import EvalConfig
from smidgen.evaluation.evaluate import evaluate, main
from smidgen.evaluation.records import read_record
from smidgen.evaluation.rollout import rollout
from smidgen.evaluation.saliency_videos import SaliencyConfig, chosen_seeds, watch
from smidgen.evaluation.videos import MAX_BYTES, OUTCOME_S
from smidgen.evaluation.watched_episode import EpisodeVideo, captioned, contact_sheet, episode_maps, overlay
from smidgen.policies.checkpoint import load_checkpoint, save_checkpoint
from smidgen.policies.learned_policy import Interface, LearnedPolicy
from smidgen.policies.perceiver_policy import PerceiverPolicyConfig
from smidgen.runtime.flat_config import flat_values
from tests.evaluation.test_videos import decode

SMALL = PerceiverPolicyConfig.from_flat(
    transform="dft3d", standardise_after="centre", num_latents=2, latent_dim=8, num_layers=1, num_heads=1, horizon=3
)
SIZE = 8


class ShortLift(FakeLift):
    """Ends after twelve steps; even seeds succeed by themselves."""

    def reset(self, *, seed: int) -> Any:
        self.rises = seed % 2 == 0
        self.task = dataclasses.replace(self.task, horizon=12)
        return super().reset(seed=seed)

    def is_success(self) -> bool:
        return self.rises and self.steps >= 1


class HopelessLift(ShortLift):
    """Nobody succeeds."""

    def is_success(self) -> bool:
        return False


def checkpoint(directory: Path, blind: bool = False, cameras: tuple[str, ...] = ("agentview",), **changes: Any) -> str:
    env = FakeLift(cameras=cameras, image_size=SIZE)
    interface = Interface("lift", env.task.action, cameras, SIZE, ("x_m", "y_m", "z_m", "opening_m"))
    torch.manual_seed(0)
    policy = LearnedPolicy(PerceiverPolicyConfig.from_flat(**{**flat_values(SMALL), **changes}), interface)
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (8, *policy.network.frame_shape), dtype=np.uint8)
    actions = np.append(HOME_M, 0.0) + rng.normal(0, 0.02, (20, 4))
    policy.fit([torch.from_numpy(frames)], torch.from_numpy(actions), torch.rand(20, 4, dtype=torch.float64))
    if blind:
        policy.network.decoder.head.weight.data.zero_()
    provenance = {"data_set_sha256": "ab" * 32, "data_set_seeds": [0, 1], "training_config": {}, "step": 1}
    save_checkpoint(directory, policy, provenance)
    return str(directory)


def config(policy: str, out: Path, **changes: Any) -> SaliencyConfig:
    return SaliencyConfig(policy=policy, out=str(out), **changes)


def test_a_success_and_a_failure_are_found_and_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    overlays = watch(config(checkpoint(tmp_path / "c"), tmp_path / "out"), ShortLift)
    stems = ["lift-perceiver-dft3d-2000000", "lift-perceiver-dft3d-2000001"]
    assert [path.name for path in overlays] == [f"{stem}-input.mp4" for stem in stems]
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {f"{stem}{end}" for stem in stems for end in (".mp4", "-input.mp4", "-input.png")}
    for stem, num_steps in zip(stems, (10, 12), strict=True):
        plain, _ = decode(tmp_path / "out" / f"{stem}.mp4")
        marked, described = decode(tmp_path / "out" / f"{stem}-input.mp4", height=322)
        assert "272x322" in described
        assert len(plain) == len(marked) == num_steps + 1 + round(OUTCOME_S * 20)
        assert all(path.stat().st_size <= MAX_BYTES for path in (tmp_path / "out").iterdir())
    success, failure = capsys.readouterr().out.splitlines()
    assert success.startswith("seed 2000000: success after 10 steps; ")
    assert failure.startswith("seed 2000001: ")
    assert "% of the saliency on the cue's 1.6% of the pixels" in success


def test_the_same_command_gives_the_same_bytes(tmp_path: Path) -> None:
    policy = checkpoint(tmp_path / "c")
    for name in ("a", "b"):
        watch(config(policy, tmp_path / name, seeds=(1,)), ShortLift)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_a_blind_policy_leaves_every_frame_grey(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy = checkpoint(tmp_path / "blind", blind=True)
    (path,) = watch(config(policy, tmp_path / "out", seeds=(1,), method="gradient"), ShortLift)
    assert "0.0% of the saliency" in capsys.readouterr().out
    sheet = np.asarray(Image.open(path.with_suffix(".png"))).astype(int)
    shown = sheet[256:512]
    assert np.ptp(shown[:, :256], axis=-1).max() == 0
    (seeing,) = watch(config(checkpoint(tmp_path / "sees"), tmp_path / "sees_out", seeds=(1,)), ShortLift)
    assert np.ptp(np.asarray(Image.open(seeing.with_suffix(".png"))).astype(int)[256:512, :256], axis=-1).max() > 50


@pytest.mark.parametrize("options", [{}, {"use_eef_state": True, "num_frames": 2}])
def test_maps_belong_to_the_frames_that_the_policy_predicted_from(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = load_checkpoint(checkpoint(tmp_path / "c", cameras=("front", "side"), num_executed=3, **options))
    predicted: list[tuple[np.ndarray, Any]] = []
    plain = policy.predict_chunk
    monkeypatch.setattr(policy, "predict_chunk", lambda *seen: predicted.append(seen[:2]) or plain(*seen))
    video = EpisodeVideo()
    rollout(HopelessLift(cameras=("front", "side"), image_size=SIZE), policy, 1, video)
    looked: list[tuple[torch.Tensor, Any]] = []

    def spy(policy: Any, frames: torch.Tensor, state: Any, method: str) -> torch.Tensor:
        looked.append((frames, state))
        return torch.full((*frames.shape[:3], 2), float(len(looked)))

    monkeypatch.setattr("smidgen.evaluation.watched_episode.policy_saliency", spy)
    maps = episode_maps(policy, video, "gradient")
    assert maps.shape == (13, 2, SIZE, SIZE)
    root = math.sqrt(policy.config.num_frames)
    np.testing.assert_allclose(maps[:, 0, 0, 0] / root, [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 4], rtol=1e-6)
    assert len(looked) == len(predicted) == 4
    for (frames, state), (seen, seen_state) in zip(looked, predicted, strict=True):
        np.testing.assert_array_equal(frames.numpy()[None], seen)
        if policy.config.use_eef_state:
            np.testing.assert_array_equal(state.numpy()[None], seen_state)
        else:
            assert state is None


def test_a_record_chooses_the_episodes_and_is_believed_about_collapse(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = checkpoint(tmp_path / "c")
    settings = EvalConfig(policy=policy, out=str(tmp_path / "results"), episodes=4, workers=0, videos=1, name="mine")
    path, _ = evaluate(settings, ShortLift)
    record = read_record(path)
    assert chosen_seeds(record) == [3_000_000, 3_000_001]
    record["episodes"][3]["label"] = "collapsed"
    assert chosen_seeds(record) == [3_000_000, 3_000_003]
    capsys.readouterr()
    overlays = watch(config(policy, tmp_path / "out", record=str(path)), ShortLift)
    assert [path.name for path in overlays] == ["lift-mine-3000000-input.mp4", "lift-mine-3000001-input.mp4"]
    plain = "lift-mine-3000000.mp4"
    assert (tmp_path / "out" / plain).read_bytes() == (tmp_path / "results" / "videos" / plain).read_bytes()
    assert "warning" not in capsys.readouterr().err
    watch(config(policy, tmp_path / "out", record=str(path)), HopelessLift)
    assert "seed 3000000 ended here with" in capsys.readouterr().err


def test_what_is_not_found_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (path,) = watch(config(checkpoint(tmp_path / "c"), tmp_path / "out", episodes=2), HopelessLift)
    assert path.name == "lift-perceiver-dft3d-2000000-input.mp4"
    assert "no success in 2 episodes; episodes=... tries more" in capsys.readouterr().err


def test_a_given_scale_is_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    watch(config(checkpoint(tmp_path / "c"), tmp_path / "out", seeds=(1,), scale=0.25), ShortLift)
    assert "full heat 0.25;" in capsys.readouterr().out


def test_mistakes_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy, other = checkpoint(tmp_path / "c"), checkpoint(tmp_path / "other", transform="conv_stem")
    settings = EvalConfig(policy=policy, out=str(tmp_path / "results"), episodes=1, workers=0, videos=0)
    record, _ = evaluate(settings, ShortLift)
    mistakes = {
        "unknown saliency method 'gaze'": [f"policy={policy}", "method=gaze"],
        "record= and seeds= both choose the episodes": [f"policy={policy}", f"record={record}", "seeds=[1]"],
        "is the record of another policy": [f"policy={other}", f"record={record}"],
        "'conv_stem' cannot be mapped to pixels": [f"policy={other}", "method=attention"],
        "expected episodes >= 1 and seeds inside 2000000..2999999": [f"policy={policy}", "seeds=[5000000]"],
        "time_mean does not exist; expected a checkpoint or a training run": ["policy=time_mean"],
        "expected scale above 0, got 0": [f"policy={policy}", "scale=0"],
    }
    for message, arguments in mistakes.items():
        assert main(["saliency", *arguments, f"out={tmp_path / 'out'}"]) == 2
        assert message in capsys.readouterr().err
    assert main(["saliency", "--help"]) == 0
    assert capsys.readouterr().out.startswith("usage: smidgen-eval saliency policy=CHECKPOINT out=DIR")
    assert main(["--help"]) == 0
    assert "saliency --help" in capsys.readouterr().out


def test_heat_glows_and_cold_stays_grey() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    heat = np.zeros((4, 6))
    heat[1, 2], heat[3, 5] = 1.0, 7.0
    shown = overlay(frame, heat)
    glowing = np.ptp(shown.astype(int), axis=-1) > 0
    assert set(zip(*np.nonzero(glowing), strict=True)) == {(1, 2), (3, 5)}
    assert np.array_equal(shown[1, 2], shown[3, 5])
    luminance = Image.fromarray(frame).convert("L")
    np.testing.assert_allclose(shown[0, :, 0].astype(int), np.asarray(luminance)[0].astype(int), atol=1)


def test_captions_and_sheets_have_their_places() -> None:
    frames = [np.full((64, 64, 3), value, dtype=np.uint8) for value in (0, 100, 200)]
    marked = [captioned(frame, ["one", "two"]) for frame in frames]
    assert {frame.shape[1] for frame in marked} == {256}
    assert marked[0].shape[0] > 256
    assert np.ptp(marked[2][256:]) > 100
    sheet = contact_sheet(frames, marked)
    assert Image.open(io.BytesIO(sheet)).width == 3 * 256 + 2 * 4
