"""Bundles of one row: what is checked, what is in them, and that a maintainer can verify from the bundle alone."""

import json
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fake_lift
import numpy as np
import pytest
from fake_lift import FakeLift, open_fake_collector
from test_learned_policy import save_run

from smidgen.data_collection.collect import collect
from smidgen.data_collection.config import CollectConfig
from smidgen.evaluation.config import EvalConfig
from smidgen.evaluation.evaluate import evaluate
from smidgen.evaluation.records import host_path, read_record, write_record
from smidgen.evaluation.tracks import PILOT, TRACKS
from smidgen.evaluation.verification_mark import verification_path
from smidgen.evaluation.verify import VerifyOptions, verify, verify_record
from smidgen.evaluation.videos import write_video
from smidgen.leaderboard.command import leaderboard
from smidgen.leaderboard.submission import open_submission
from smidgen.leaderboard.submit import bundle_files, submit, write_bundle, zip_bytes
from smidgen.policies.checkpoint import RUN_CHECKPOINT, load_checkpoint, save_checkpoint
from smidgen.runtime.command_line import run_command
from smidgen.runtime.errors import UserError

NUM_EPISODES = 3


class PresentLift(FakeLift):
    """Says that it is the real task's present version."""

    def fingerprint(self) -> dict[str, dict[str, Any]]:
        given = super().fingerprint()
        return {**given, "ranked": {**given["ranked"], "env_id": "smidgen/Lift-v0"}}


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three training seeds of one recipe, evaluated, with a video each, and a user's policy."""
    root = tmp_path_factory.mktemp("originals")
    config = CollectConfig(
        task="lift", out=str(root / "demos"), episodes=1, split="validation", workers=0, image_size=16
    )
    demos = collect(config, open_fake_collector).store
    policy = load_checkpoint(save_run(root / "run", demos, seeds=[0, 1, 2], horizon=20, num_executed=20))
    for seed in range(3):
        provenance = {
            "data_set_sha256": "ab" * 32,
            "data_set_seeds": [0, 1, 2],
            "training_config": {"lr": 1e-3, "seed": seed, "steps": 10},
            "step": 10,
        }
        save_checkpoint(root / f"run{seed}" / RUN_CHECKPOINT, policy, provenance)
        evaluation = {"name": f"raw-seed{seed}", "policy": str(root / f"run{seed}"), "videos": 1}
        run_evaluation(root, **evaluation)
    run_evaluation(root, policy="fake_lift:SeesCube")
    shutil.rmtree(root / "results" / ".shards")
    return root


def run_evaluation(root: Path, **changes: Any) -> Path:
    settings: dict[str, Any] = {"episodes": NUM_EPISODES, "workers": 0, "videos": 0, "image_size": 16, **changes}
    return evaluate(EvalConfig(out=str(root / "results"), **settings), PresentLift)[0]


@pytest.fixture
def root(originals: Path, tmp_path: Path) -> Path:
    shutil.copytree(originals, tmp_path / "x")
    return tmp_path / "x"


def records(root: Path) -> list[Path]:
    return [root / "results" / f"lift-raw-seed{seed}.json" for seed in range(3)]


def runs(root: Path) -> list[Path]:
    return [root / f"run{seed}" for seed in range(3)]


def edit(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    record: dict[str, Any] = dict(read_record(path))
    change(record)
    write_record(path, record)  # type: ignore[arg-type]


def test_the_bundle_holds_records_checkpoints_videos_and_card(root: Path) -> None:
    files = bundle_files(open_submission(records(root), runs(root)))
    for seed in range(3):
        assert files[f"results/lift-raw-seed{seed}.json"] == records(root)[seed].read_bytes()
        folder = f"checkpoints/lift-raw-seed{seed}"
        assert {f"{folder}/checkpoint.json", f"{folder}/model.safetensors"} <= set(files)
        assert f"results/videos/lift-raw-seed{seed}-3000000.mp4" in files
        assert json.loads(files[f"results/lift-raw-seed{seed}.host.json"]) == {"host": {"cpu": "fake"}}
    card = files["CARD.md"].decode()
    assert card.startswith("# raw on lift\n\nSuccess 0/9 = **0 %**")
    assert "Not a full entry: 3 episodes instead of 200." in card
    assert "| training seeds | 0, 1, 2 |" in card
    assert "| lr | 0.001 |" in card
    assert "smidgen-eval verify results/lift-raw-seed2.json --episodes 3" in card


def test_the_same_records_give_the_same_bytes_in_any_order_and_at_any_time(root: Path) -> None:
    first, second = root / "a.zip", root / "b.zip"
    write_bundle(open_submission(records(root), runs(root)), first)
    for path in root.rglob("*.json"):
        path.touch()
    write_bundle(open_submission(records(root)[::-1], runs(root)[::-1]), second)
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as archive:
        assert archive.testzip() is None
        assert {name.partition("/")[0] for name in archive.namelist()} == {"lift-raw"}
    assert zip_bytes({"b": b"1", "a": b"2"}, "x") == zip_bytes({"a": b"2", "b": b"1"}, "x")


def test_a_maintainer_verifies_from_the_bundle_alone(root: Path) -> None:
    out = root / "bundle"
    write_bundle(open_submission(records(root), runs(root)), out)
    for path in runs(root):
        shutil.rmtree(path)
    record = out / "results" / "lift-raw-seed1.json"
    mark, _, path = verify_record(VerifyOptions(record, workers=0), PresentLift)
    assert (mark["verdict"], mark["comparison"]) == ("verified", "bitwise")
    assert path == verification_path(record)
    write_bundle(open_submission(records(out)), out)
    assert not path.exists()


def test_a_directory_that_is_no_bundle_is_left_alone(root: Path) -> None:
    with pytest.raises(UserError, match="exists and is not a bundle"):
        write_bundle(open_submission(records(root), runs(root)), root / "results")
    assert records(root)[0].exists()


def lower_step(record: dict[str, Any]) -> None:
    record["policy"]["training"]["step"] = 5


def claim_other_seed(record: dict[str, Any]) -> None:
    record["policy"]["training"]["training_config"]["seed"] = 7


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lower_step, "field policy.training.step: expected 10, the run's last step, got 5"),
        (claim_other_seed, "policy.training: the record says"),
        (lambda r: r["policy"].update(transform="raw"), "policy.transform: the record says 'raw'"),
        (lambda r: r["policy"].update(checkpoint_sha256="0" * 64), "policy.checkpoint_sha256: the record says"),
        (lambda r: r["policy"].update(observes=["frames", "privileged"]), "it would not be ranked"),
        (lambda r: r["policy"].update(kind="baseline"), "it would not be ranked"),
        (
            lambda r: r["environment"].update(env_id="smidgen/Lift-v9"),
            "field environment.env_id: expected 'smidgen/Lift",
        ),
    ],
)
def test_what_does_not_hold_is_refused_by_name(
    root: Path, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    path = records(root)[0]
    edit(path, change)
    with pytest.raises(UserError) as refusal:
        open_submission([path], runs(root)[:1])
    assert str(refusal.value).startswith(str(path))
    assert message in str(refusal.value)


def test_an_edited_file_of_a_checkpoint_is_refused(root: Path) -> None:
    model = runs(root)[0] / RUN_CHECKPOINT / "model.safetensors"
    model.write_bytes(model.read_bytes()[:-1])
    with pytest.raises(UserError, match="truncated or altered"):
        open_submission(records(root)[:1], runs(root)[:1])


def test_records_of_different_rows_are_handed_in_apart(root: Path) -> None:
    users = root / "results" / "lift-sees_cube.json"
    with pytest.raises(UserError, match=r"got 2 rows: raw-seed0 \(1\), sees_cube \(1\); submit them separately"):
        open_submission([records(root)[0], users], [runs(root)[0], root])
    edit(records(root)[1], lambda record: record["environment"].update(mujoco="3.8"))
    with pytest.raises(UserError, match="not measured under the same conditions"):
        open_submission(records(root), runs(root))


def test_one_checkpoint_is_not_three_training_seeds(root: Path) -> None:
    copies = [root / "results" / f"lift-copy-seed{seed}.json" for seed in range(2)]
    for copy in copies:
        shutil.copy(records(root)[0], copy)
    with pytest.raises(UserError, match="training seed 0 twice in the row 'raw'"):
        open_submission(copies, [runs(root)[0]] * 2)
    with pytest.raises(UserError, match="one --checkpoint for each of 3 records, got 1"):
        open_submission(records(root), runs(root)[:1])
    with pytest.raises(UserError, match="no checkpoint beside"):
        open_submission(records(root))


def test_a_record_that_changed_after_it_was_verified_is_refused(root: Path) -> None:
    path = records(root)[0]
    verify_record(VerifyOptions(path, checkpoint=runs(root)[0], workers=0), PresentLift)
    edit(path, lambda record: record["config"].update(windows=3))
    with pytest.raises(UserError, match="has changed since it was verified"):
        open_submission([path], runs(root)[:1])


def test_a_policy_of_ones_own_comes_with_its_code(root: Path, tmp_path: Path) -> None:
    users = root / "results" / "lift-sees_cube.json"
    with pytest.raises(UserError, match="add --source PATH"):
        open_submission([users])
    code = tmp_path / "code"
    (code / "__pycache__").mkdir(parents=True)
    (code / "__pycache__" / "x.pyc").write_bytes(b"")
    (code / "fake_lift.py").write_text("")
    with pytest.raises(UserError, match=r"was made with another fake_lift\.py than --source .* has"):
        open_submission([users], source=code)
    shutil.copy(Path(fake_lift.__file__), code)
    submission = open_submission([users], source=code)
    files = bundle_files(submission)
    assert [name for name in files if name.startswith("source/")] == ["source/fake_lift.py"]
    assert not [name for name in files if name.startswith("checkpoints/")]
    assert submission.commands() == [
        "PYTHONPATH=source smidgen-eval verify results/lift-sees_cube.json --episodes 3 --policy fake_lift:SeesCube"
    ]
    assert list(bundle_files(open_submission([users], source=code / "fake_lift.py"))) == list(files)
    edit(users, lambda record: record["config"].update(policy="x; rm -rf ~"))
    with pytest.raises(UserError, match=r"field config\.policy: expected their\.module:Class"):
        open_submission([users], source=code)


def test_records_of_one_file_name_do_not_replace_each_other(root: Path, tmp_path: Path) -> None:
    record = next((root / "results").glob("*-seed0.json"))
    (tmp_path / "again").mkdir()
    shutil.copy(record, tmp_path / "again")
    with pytest.raises(UserError, match="the same file name"):
        open_submission([record, tmp_path / "again" / record.name], [])


def test_a_video_too_large_for_the_page_is_refused(root: Path) -> None:
    video = root / "results" / "videos" / "lift-raw-seed0-3000000.mp4"
    video.write_bytes(video.read_bytes() + bytes(300_001))
    with pytest.raises(UserError, match="is larger than 300000 bytes"):
        bundle_files(open_submission(records(root)[:1], runs(root)[:1]))


def test_a_video_of_another_evaluation_is_refused_and_a_missing_one_is_not(root: Path) -> None:
    folder = root / "results" / "videos"
    shutil.copy(folder / "lift-raw-seed1-3000000.mp4", folder / "lift-raw-seed0-3000000.mp4")
    write_video(folder / "lift-raw-seed0-3000000.mp4", [np.zeros((16, 16, 3), dtype=np.uint8)], True, 20)
    with pytest.raises(UserError, match="shows another evaluation than"):
        bundle_files(open_submission(records(root)[:1], runs(root)[:1]))
    (folder / "lift-raw-seed0-3000000.mp4").unlink()
    files = bundle_files(open_submission(records(root)[:1], runs(root)[:1]))
    assert not [name for name in files if name.endswith(".mp4")]


def test_the_command_says_what_a_maintainer_runs(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    host_path(records(root)[0]).unlink()
    checkpoints = [argument for path in runs(root) for argument in ("--checkpoint", str(path))]
    assert run_command(leaderboard, ["submit", *map(str, records(root)), *checkpoints]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "lift-raw: success 0/9, 3 training seeds; every check passed"
    assert printed[1] == "not a full entry, and will be marked so: 3 episodes instead of 200"
    assert printed[-3:] == [f"  smidgen-eval verify results/lift-raw-seed{seed}.json --episodes 3" for seed in range(3)]
    assert (root / "lift-raw.zip").exists()
    assert run_command(submit, [str(root / "none.json")]) == 2
    assert "none.json does not exist" in capsys.readouterr().err


def test_the_page_on_submitting_names_commands_and_options_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "submitting.md").read_text()
    options = {"smidgen-eval verify": verify, "smidgen-leaderboard submit": submit}
    for command, body in options.items():
        with pytest.raises(SystemExit):
            body(["--help"])
        known = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
        used = {
            option for line in re.findall(rf"{command} .*", page) for option in re.findall(r"(?<=\s)--[a-z-]+", line)
        }
        assert used
        assert used <= known
    assert set(re.findall(r"`(--[a-z]+)", page)) <= {"--source", "--transform", "--episodes", "--salt", "--demos"}
    counts = (f"first {TRACKS[PILOT].num_episodes} test seeds", f"episodes={TRACKS[PILOT].num_episodes}")
    assert all(count in page for count in counts)
