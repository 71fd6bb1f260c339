"""A checkpoint as a folder of the Hub, and what a refusal of the Hub looks like; `make interop` speaks to a server."""

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from fake_hub import ClientError, FakeHub, HfHubHTTPError, install
from published_checkpoints import save_tiny_run, write_evaluation

from smidgen.leaderboard import upload
from smidgen.leaderboard.command import leaderboard
from smidgen.leaderboard.hub_folder import Repository, hub_files
from smidgen.policies.checkpoint import RUN_CHECKPOINT, checkpoint_sha256, load_checkpoint
from smidgen.runtime.command_line import run_command
from smidgen.runtime.errors import UserError

REPO = "somebody/lift-raw"
NAMES = ["README.md", "checkpoint.json", "config.json", "model.safetensors"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_run(tmp_path_factory.mktemp("runs") / "run", use_eef_state=True, num_frames=2, num_executed=4)


def read_page(data: bytes) -> tuple[dict[str, Any], str]:
    """The Hub's metadata and the card."""
    _, header, card = data.decode().split("---\n", 2)
    return yaml.safe_load(header), card


def test_a_dry_run_writes_a_folder_that_is_the_checkpoint(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["upload", str(run), "--repo", REPO, "--dry-run", "--out", str(tmp_path / "out")]
    for _ in range(2):  # again changes nothing
        assert run_command(leaderboard, command) == 0
        assert "nothing was uploaded" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == NAMES
    assert checkpoint_sha256(tmp_path / "out") == checkpoint_sha256(run)
    frames = np.random.default_rng(0).integers(0, 256, (2, 2, 16, 16, 3), dtype=np.uint8)
    ours, theirs = (load_checkpoint(path).predict_chunk(frames, np.zeros((2, 4))) for path in (run, tmp_path / "out"))
    np.testing.assert_array_equal(ours, theirs)
    (tmp_path / "out" / "README.md").write_text("mine")
    assert run_command(leaderboard, command) == 2
    assert "exists and is not this folder" in capsys.readouterr().err


def test_config_has_lerobots_fields_and_loses_nothing(run: Path) -> None:
    files = hub_files(run / RUN_CHECKPOINT, Repository(REPO, private=True, license="mit"))
    config = json.loads(files["config.json"])
    assert config["type"] == "smidgen_perceiver"
    assert config["input_features"] == {
        "observation.images.agentview": {"type": "VISUAL", "shape": [3, 16, 16]},
        "observation.state": {"type": "STATE", "shape": [4]},
    }
    assert config["output_features"] == {"action": {"type": "ACTION", "shape": [4]}}
    assert (config["n_obs_steps"], config["chunk_size"], config["n_action_steps"]) == (2, 8, 4)
    assert (config["repo_id"], config["private"], config["license"]) == (REPO, True, "mit")
    assert config["smidgen"] == json.loads(files["checkpoint.json"])


def test_the_card_is_from_the_record_below_the_hubs_metadata(run: Path, tmp_path: Path) -> None:
    record = write_evaluation(tmp_path, run, "raw-seed3", 0.04, "blind")
    options = ["--license", "mit", "--dataset", "somebody/lift", "--dataset", "somebody/more"]
    command = ["upload", str(run), "--repo", REPO, "--record", str(record), *options, "--dry-run", "--out"]
    assert run_command(leaderboard, [*command, str(tmp_path / "out")]) == 0
    header, card = read_page((tmp_path / "out" / "README.md").read_bytes())
    assert header == {
        "library_name": "smidgen",
        "pipeline_tag": "robotics",
        "tags": ["robotics", "imitation-learning", "smidgen", "smidgen_perceiver", "lift"],
        "license": "mit",
        "datasets": ["somebody/lift", "somebody/more"],
    }
    assert "Success in 150 of 200 episodes = **75.0 %**" in card
    assert "**This policy is blind (cue slope 0.04).**" in card
    assert f"hf download {REPO} --local-dir lift-raw\nsmidgen-eval policy=lift-raw episodes=20 out=" in card


def test_without_a_record_nothing_is_claimed(run: Path) -> None:
    header, card = read_page(hub_files(run / RUN_CHECKPOINT, Repository(REPO))["README.md"])
    assert not {"license", "datasets"} & set(header)
    assert "nothing is known of its success" in card
    assert f"| checkpoint sha256 | {checkpoint_sha256(run)} |" in card
    assert "| num demonstrations | 3 |" in card


def test_a_policy_of_the_zoo_keeps_its_card(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smidgen.policies.zoo.FOLDER", tmp_path)
    shutil.copytree(run / RUN_CHECKPOINT, tmp_path / "lift" / "raw")
    (tmp_path / "lift" / "raw" / "README.md").write_text("# raw on lift\n")
    command = ["upload", "zoo:lift/raw", "--repo", REPO, "--dry-run", "--out", str(tmp_path / "out")]
    assert run_command(leaderboard, command) == 0
    _, card = read_page((tmp_path / "out" / "README.md").read_bytes())
    assert card.startswith("\n# raw on lift\n\n## To run it from the Hub\n")


def test_what_cannot_be_shared_is_refused(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = write_evaluation(tmp_path, run, "raw", policy={"checkpoint_sha256": "0" * 64})
    shutil.copytree(run, tmp_path / "damaged")
    (tmp_path / "damaged" / RUN_CHECKPOINT / "model.safetensors").write_bytes(b"x")
    shutil.copytree(run, tmp_path / "own")
    card = tmp_path / "own" / RUN_CHECKPOINT / "checkpoint.json"
    card.write_text(card.read_text().replace('"transform": "raw"', '"transform": "their.module:Class"'))
    out = ["--dry-run", "--out", str(tmp_path / "out")]
    refused = {
        "expected OWNER/NAME": [str(run), "--repo", "lift", *out],
        "expected OWNER/NAME, a repository on the Hub, got '../x'": [
            str(run),
            "--repo",
            REPO,
            "--dataset",
            "../x",
            *out,
        ],
        "is the record of checkpoint 000000000000": [str(run), "--repo", REPO, "--record", str(other), *out],
        "is truncated or altered": [str(tmp_path / "damaged"), "--repo", REPO, *out],
        "code of your own": [str(tmp_path / "own"), "--repo", REPO, *out],
        "go together": [str(run), "--repo", REPO, "--dry-run"],
        "does not exist": [str(tmp_path / "none"), "--repo", REPO, *out],
        "which must contain nothing else": [str(run), "--repo", REPO, *out[:2], str(run / RUN_CHECKPOINT / "x")],
    }
    for message, arguments in refused.items():
        assert run_command(upload.upload, arguments) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_is_uploaded_is_what_a_dry_run_writes(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hub = FakeHub()
    install(hub, monkeypatch)
    assert run_command(leaderboard, ["upload", str(run), "--repo", REPO, "--private"]) == 0
    assert capsys.readouterr().out.endswith(f"https://hub/{REPO}/commit/1\n")
    assert hub.files == hub_files(run / RUN_CHECKPOINT, Repository(REPO, private=True))


@pytest.mark.parametrize("error", [HfHubHTTPError("403\nForbidden"), ClientError("no route"), ValueError("malformed")])
def test_a_refusal_is_one_line(
    error: Exception, run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(FakeHub(refusal=error), monkeypatch)
    assert run_command(upload.upload, [str(run), "--repo", REPO]) == 2
    said = capsys.readouterr().err
    assert re.fullmatch(
        rf"error: {REPO} was not uploaded to https://hub: [^\n]*; check the address, the name and the token[^\n]*\n",
        said,
    )


def test_a_public_repository_is_not_mistaken_for_a_private_one(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = FakeHub(is_public=True)
    install(hub, monkeypatch)
    with pytest.raises(UserError, match="is there and public"):
        upload.upload([str(run), "--repo", REPO, "--private"])
    assert hub.files == {}


def test_a_missing_library_is_named(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r'install it: pip install "smidgen\[hub\]"'):
        upload.upload([str(run), "--repo", REPO])
