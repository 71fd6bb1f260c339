"""The zoo: what gets in, what is refused, and that everything in it is as its records give."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from published_checkpoints import save_tiny_run, write_evaluation

import smidgen.policies.zoo
from smidgen.policies.checkpoint import RUN_CHECKPOINT, checkpoint_sha256, load_checkpoint
from smidgen.runtime.command_line import run_command
from smidgen.runtime.errors import UserError
from studies import zoo

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, its halved checkpoint, and a zoo with one policy that sees and one that is blind."""
    root = tmp_path_factory.mktemp("original")
    save_tiny_run(root / "run")
    for name, slope, verdict in (("good", 0.9, "sees"), ("blind", 0.04, "blind")):
        checkpoint = zoo.halve(settings(root, name))
        record = write_evaluation(root / "evaluated", checkpoint, name, slope, verdict)
        zoo.add(settings(root, name), checkpoint, record)
    return root


@pytest.fixture
def root(original: Path, tmp_path: Path) -> Path:
    shutil.copytree(original, tmp_path / "x")
    return tmp_path / "x"


def settings(root: Path, name: str, **changes: Any) -> zoo.ZooConfig:
    folders = {key: str(root / key) for key in ("run", "halved", "zoo", "records")}
    return zoo.ZooConfig(**{**folders, "name": f"lift/{name}", **changes})


def checked(root: Path) -> str:
    return zoo.check(root / "zoo", root / "records")


def test_what_is_installed_is_as_its_records_give() -> None:
    """With the sizes; tests/test_packaging.py finds each file in the wheel."""
    said = zoo.check(smidgen.policies.zoo.FOLDER, ROOT / "results" / "zoo")
    assert said.startswith(f"policies as their records give: {len(smidgen.policies.zoo.zoo_names())},")


def test_a_policy_of_the_zoo_has_its_checkpoint_and_a_card_from_the_record(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smidgen.policies.zoo.FOLDER", root / "zoo")
    assert checked(root).startswith("policies as their records give: 2,")
    assert checkpoint_sha256("zoo:lift/good") == checkpoint_sha256(root / "halved" / "lift" / "good")
    assert load_checkpoint("zoo:lift/good", expect_task="lift").name == "perceiver-raw"
    card = (root / "zoo" / "lift" / "good" / zoo.README).read_text()
    record = (root / "records" / "lift-good.json").read_bytes()
    assert record == (root / "evaluated" / "lift-good.json").read_bytes()
    for said in (
        "# good on lift",
        "Success in 150 of 200 episodes = **75.0 %** [69\u201380, 95 % interval over episodes].",
        "This policy sees (cue slope 0.90).",
        "Trained from 3 demonstrations for 10 steps with seed 3.",
        "smidgen-eval policy=zoo:lift/good episodes=20 out=outputs/results",
        "| cue slope | 0.90 |",
        checkpoint_sha256("zoo:lift/good"),
    ):
        assert said in card
    assert "**This policy is blind (cue slope 0.04).**" in (root / "zoo" / "lift" / "blind" / zoo.README).read_text()


def test_the_command_says_what_to_evaluate_and_then_takes_the_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    save_tiny_run(tmp_path / "run")
    arguments = ["run=run", "name=lift/good"]
    for _ in range(2):  # again changes nothing
        assert run_command(zoo.zoo, arguments) == 0
        evaluation = capsys.readouterr().out.splitlines()[-1]
        assert evaluation.startswith(
            "smidgen-eval policy=outputs/zoo/lift/good name=good track=cpu-standard-1 episodes=100"
        )
        assert evaluation.endswith(" out=results/zoo")
    record = write_evaluation(tmp_path / "results" / "zoo", tmp_path / "outputs" / "zoo" / "lift" / "good", "good")
    assert run_command(zoo.zoo, [*arguments, f"record={record}"]) == 0
    assert run_command(zoo.zoo, ["check=true"]) == 0
    assert "policies as their records give: 1," in capsys.readouterr().out
    assert run_command(zoo.zoo, ["name=lift/good"]) == 2
    assert "expected run=RUN name=TASK/NAME" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"policy": {"checkpoint_sha256": "0" * 64}}, "is the record of checkpoint 000000000000, not of"),
        ({"name": "other"}, "is of lift/other, not of lift/good"),
        ({"num_episodes": 20}, "20 episodes instead of 200"),
        (
            {"policy": {"training": {"step": 5, "training_config": {"steps": 10}}}},
            "the checkpoint of step 5 instead of",
        ),
        ({"policy": {"observes": ["privileged"]}}, "is not of test episodes"),
    ],
)
def test_a_record_of_something_else_is_refused(root: Path, changes: dict[str, Any], message: str) -> None:
    checkpoint = root / "halved" / "lift" / "good"
    before = (root / "zoo" / "lift" / "good" / zoo.README).read_bytes()
    record = write_evaluation(root / "evaluated", checkpoint, **{"name": "good", **changes})
    with pytest.raises(UserError, match=message):
        zoo.add(settings(root, "good"), checkpoint, record)
    assert (root / "zoo" / "lift" / "good" / zoo.README).read_bytes() == before


def test_the_whole_checkpoint_in_place_of_the_halved_one_is_refused(root: Path) -> None:
    record = write_evaluation(root / "evaluated", root / "run" / RUN_CHECKPOINT, "good")
    with pytest.raises(UserError, match="is the record of checkpoint"):
        zoo.add(settings(root, "good"), zoo.halve(settings(root, "good")), record)


def test_another_run_and_another_task_are_refused(root: Path) -> None:
    save_tiny_run(root / "other", transform="dft3d")
    with pytest.raises(UserError, match="is of another run than"):
        zoo.halve(settings(root, "good", run=str(root / "other")))
    with pytest.raises(UserError, match="was trained on lift; name it lift/NAME"):
        zoo.halve(dataclasses.replace(settings(root, "good"), name="door/good"))


def test_a_zoo_that_would_be_too_large_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = sum(path.stat().st_size for path in (root / "zoo").rglob("*") if path.is_file())
    record, checkpoint = root / "evaluated" / "lift-good.json", root / "halved" / "lift" / "good"
    monkeypatch.setattr(zoo, "MAX_BYTES", size)
    zoo.add(settings(root, "good"), checkpoint, record)  # in its own place: no larger
    monkeypatch.setattr(zoo, "MAX_BYTES", size - 1)
    for refused in (lambda: zoo.add(settings(root, "good"), checkpoint, record), lambda: checked(root)):
        with pytest.raises(UserError, match=rf"(has|have) {size:,} bytes, at most"):
            refused()


def edit_card(root: Path) -> None:
    path = root / "zoo" / "lift" / "good" / zoo.README
    path.write_text(path.read_text().replace("75.0 %", "99.0 %"))


def edit_record(root: Path) -> None:
    path = root / "records" / "lift-good.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "versions": {"smidgen": "9"}}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (edit_card, "differs from what its record gives"),
        (edit_record, "differs from what its record gives"),
        (lambda root: (root / "zoo" / "lift" / "good" / zoo.README).unlink(), "is missing, or does not belong"),
        (lambda root: (root / "zoo" / "lift" / "notes.txt").touch(), "is missing, or does not belong"),
        (lambda root: (root / "records" / "lift-good.json").unlink(), "is missing, or no policy of the zoo"),
        (lambda root: shutil.rmtree(root / "zoo" / "lift" / "blind"), "is missing, or no policy of the zoo"),
        (
            lambda root: (root / "zoo" / "lift" / "good" / "model.safetensors").write_bytes(b""),
            "is truncated or altered",
        ),
    ],
)
def test_what_is_not_as_the_records_give_is_found(root: Path, damage: Callable[[Path], Any], message: str) -> None:
    damage(root)
    with pytest.raises(UserError, match=message):
        checked(root)
