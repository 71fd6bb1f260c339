"""A record is of one policy: code, weights, demonstrations that change are noticed before, during and after a run."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_lift import FakeLift, open_fake_collector
from test_learned_policy import save_run

from smidgen.data_collection.collect import collect
from smidgen.data_collection.config import CollectConfig
from smidgen.evaluation.config import EvalConfig
from smidgen.evaluation.evaluate import evaluate
from smidgen.evaluation.provenance import BROKEN
from smidgen.evaluation.records import Record, read_record, write_record
from smidgen.evaluation.verify import VerifyOptions, verify_record
from smidgen.leaderboard.rows import policy_id
from smidgen.policies.checkpoint import RUN_CHECKPOINT, load_checkpoint, save_checkpoint
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import sha256_file

POLICY = """
from pathlib import Path
import numpy as np
from reaching_part import HEIGHT_M

class Reaching:
    name, observes, files = "reaching", (), ("weights.txt",)

    def reset(self, num_episodes=1, seed=0):
        self.num_episodes, self.seed = num_episodes, seed

    def act(self, observations):
        weight = float(Path(__file__).with_name("weights.txt").read_text())
        import reaching_late
        reaching_late.late(self.seed)
        return np.tile([weight, 0.0, HEIGHT_M, -1.0], (self.num_episodes, 1))
"""
PARTS = {
    "reaching.py": POLICY,
    "reaching_part.py": "HEIGHT_M = 0.90",
    "reaching_late.py": "def late(seed): pass",
    "weights.txt": "0.10",
}


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A user's policy of three modules and a file of weights."""
    folder = tmp_path / "code"
    folder.mkdir()
    for name, text in PARTS.items():
        (folder / name).write_text(text)
    monkeypatch.syspath_prepend(str(folder))
    # What is imported in the midst of an episode is the user's own affair: Python takes its bytecode for that of any
    # source of the same size and second.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield folder
    for name in [name for name in sys.modules if name.startswith("reaching")]:
        del sys.modules[name]


def config(tmp_path: Path, **changes: Any) -> EvalConfig:
    settings = {"policy": "reaching:Reaching", "episodes": 2, "workers": 0, "videos": 0, "image_size": 16, **changes}
    # One of the changes is a bug, whose episodes count.
    return EvalConfig(out=str(tmp_path / "results"), keep_going=True, **settings)


def run(tmp_path: Path, **changes: Any) -> Record:
    return read_record(evaluate(config(tmp_path, **changes), FakeLift)[0])


def returns_and_steps(record: Record) -> Any:
    return [(row["return"], row["num_steps"], row["label"]) for row in record["episodes"]], record["collapse"]


def test_a_record_names_all_that_ran(code: Path, tmp_path: Path) -> None:
    policy = run(tmp_path)["policy"]
    modules = [name for name in PARTS if name.endswith(".py")]
    assert policy["code"] == {name: sha256_file(code / name) for name in sorted(modules)}
    assert policy["files"] == {"weights.txt": sha256_file(code / "weights.txt")}
    for reference in ("noop", "expert"):
        card = run(tmp_path, policy=reference)["policy"]
        assert card["code"] == card["files"] == {}


@pytest.mark.parametrize("name", list(PARTS))
def test_what_has_changed_is_refused_by_name_and_run_again_when_asked(name: str, code: Path, tmp_path: Path) -> None:
    first = run(tmp_path)
    assert not evaluate(config(tmp_path), FakeLift)[1]
    # The same size, within the same second.
    changed = {"reaching.py": ("[weight, 0.0,", "[weight, 0.1,"), "reaching_late.py": ("pass", "1/0 ")}
    before, after = changed.get(name, ("0", "1"))
    (code / name).write_text(PARTS[name].replace(before, after, 1))
    with pytest.raises(UserError) as refusal:
        run(tmp_path)
    path = tmp_path / "results" / "lift-reaching.json"
    assert str(refusal.value).startswith(f"{path} was made before {name} changed; overwrite=true runs every episode ")
    assert read_record(path) == first
    beside = run(tmp_path, name="another")
    again = run(tmp_path, overwrite=True)
    assert again["policy"] == {**beside["policy"], "name": "reaching"}
    assert returns_and_steps(again) == returns_and_steps(beside) != returns_and_steps(first)
    (code / name).write_text(PARTS[name])
    assert run(tmp_path, overwrite=True) == first


def test_more_episodes_after_a_change_are_all_of_the_new_policy(code: Path, tmp_path: Path) -> None:
    run(tmp_path)
    (code / "reaching_part.py").write_text("HEIGHT_M = 1.00")
    with pytest.raises(UserError, match=r"was made before reaching_part\.py changed"):
        run(tmp_path, episodes=4)
    longer = run(tmp_path, episodes=4, overwrite=True)
    shutil.rmtree(tmp_path / "results")
    assert longer == run(tmp_path, episodes=4)
    (tmp_path / "results" / "lift-reaching.json").unlink()
    (code / "reaching_part.py").write_text("HEIGHT_M = 0.90")
    shorter = run(tmp_path, episodes=6)
    shutil.rmtree(tmp_path / "results")
    assert shorter == run(tmp_path, episodes=6)


def test_overwrite_runs_again_what_no_hash_tells_apart(
    code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (code / "reaching_part.py").write_text("import os\nHEIGHT_M = float(os.environ['REACHING_HEIGHT'])")
    for height in ("0.90", "1.00"):
        monkeypatch.setenv("REACHING_HEIGHT", height)
        sys.modules.pop("reaching_part", None)
        sys.modules.pop("reaching", None)
        record = run(tmp_path, overwrite=True)
        shutil.copytree(tmp_path / "results", tmp_path / "kept" / height)
        shutil.rmtree(tmp_path / "results")
        assert record == run(tmp_path)
    first, second = (read_record(tmp_path / "kept" / height / "lift-reaching.json") for height in ("0.90", "1.00"))
    assert returns_and_steps(first) != returns_and_steps(second)


def test_overwrite_leaves_no_answer_of_before(code: Path, tmp_path: Path) -> None:
    run(tmp_path)
    shards = tmp_path / "results" / ".shards" / "lift-reaching"
    for shard in shards.glob("*.json"):
        shard.write_text(shard.read_text().replace('"return": 0.0', '"return": 7.0'))
    assert run(tmp_path, overwrite=True)["episodes"][0]["return"] == 0.0


class EditsWhileItRuns(FakeLift):
    """Somebody changes a file in the middle of an episode."""

    target: Path
    text: str

    def step(self, action: Any) -> Any:
        if self.steps == 3:
            self.target.write_text(self.text)
        return super().step(action)


@pytest.mark.parametrize("name", list(PARTS))
def test_a_change_in_the_middle_of_a_run_is_refused_and_the_next_run_is_whole(
    name: str, code: Path, tmp_path: Path
) -> None:
    class Edits(EditsWhileItRuns):
        target, text = code / name, PARTS[name] + "\n"

    with pytest.raises(UserError, match=r"code or files of policy 'reaching:Reaching' changed during the evaluation"):
        evaluate(config(tmp_path), Edits)
    assert not (tmp_path / "results" / "lift-reaching.json").exists()
    assert list((tmp_path / "results" / ".shards" / "lift-reaching").glob("*.json")) == []
    assert run(tmp_path)["policy"] != {}


def test_workers_that_find_other_code_than_the_plan_are_refused(code: Path, tmp_path: Path) -> None:
    from smidgen.evaluation.env_spec import EnvSpec
    from smidgen.evaluation.items import EpisodeItem
    from smidgen.evaluation.plan import make_plan
    from smidgen.evaluation.shards import run_items

    plan = make_plan(config(tmp_path), FakeLift)
    (code / "reaching_part.py").write_text("HEIGHT_M = 1.00")
    items = {tmp_path / "x.json": EpisodeItem(plan.source, EnvSpec("lift", ("agentview",), 16, FakeLift), 3_000_000)}
    with pytest.raises(UserError, match="changed during the evaluation"):
        run_items(items, 1, "x")
    assert not (tmp_path / "x.json").exists()


def test_every_training_seed_has_weights_of_its_own_and_one_code(code: Path, tmp_path: Path) -> None:
    first = run(tmp_path, name="mine-seed0")
    (code / "weights.txt").write_text("0.20")
    second = run(tmp_path, name="mine-seed1")
    (code / "reaching_part.py").write_text("HEIGHT_M = 1.00")
    third = run(tmp_path, name="mine-seed2")
    assert policy_id(first) == policy_id(second) != policy_id(third)


def test_verify_names_the_file_that_has_changed(code: Path, tmp_path: Path) -> None:
    path = evaluate(config(tmp_path), FakeLift)[0]
    options = VerifyOptions(path, policy="reaching:Reaching", workers=0)
    assert verify_record(options, FakeLift)[0]["verdict"] == "verified"
    (code / "weights.txt").write_text("0.20")
    mark, links, _ = verify_record(options, FakeLift)
    (broken,) = [link for link in links if link.status == BROKEN]
    assert broken.detail.startswith("policy.files.weights.txt: the record says '")
    assert mark["verdict"] == "differs"


def test_the_command_says_it_in_one_line(code: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "smidgen.evaluation.evaluate", "policy=reaching:Reaching", "out=results"]
    run(tmp_path)
    (code / "reaching.py").write_text(POLICY + "\n")
    ended = subprocess.run(
        [*command, "episodes=2", "videos=0", "image_size=16", "workers=0"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(code)},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 2
    assert "results/lift-reaching.json was made before reaching.py changed; overwrite=true runs" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def as_version_1(record: Record) -> Record:
    first: Any = json.loads(json.dumps(record))
    first["schema_version"] = 1
    for name in ("code", "files"):
        del first["policy"][name]
    for video in first["videos"]:
        del video["frames_sha256"]
    return first


def test_a_record_of_version_1_is_kept_and_never_resumed(code: Path, tmp_path: Path) -> None:
    path = evaluate(config(tmp_path), FakeLift)[0]
    write_record(path, as_version_1(read_record(path)))
    before = path.read_bytes()
    with pytest.raises(UserError, match="is a record of schema version 1, which is read and ranked but never resumed"):
        run(tmp_path)
    assert path.read_bytes() == before
    options = VerifyOptions(path, policy="reaching:Reaching", workers=0)
    assert verify_record(options, FakeLift)[0]["verdict"] == "verified"
    assert run(tmp_path, overwrite=True)["schema_version"] == 2


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Demonstrations, and two checkpoints that were trained on them."""
    root = tmp_path_factory.mktemp("learned")
    for name, split in (("train", "demonstrations"), ("held-out", "validation"), ("other", "validation")):
        size = 2 if name != "other" else 3
        settings = {"episodes": size, "split": split, "workers": 0, "image_size": 16, "history": 4}
        collect(CollectConfig(task="lift", out=str(root / name), **settings), open_fake_collector)
    store = collect(
        CollectConfig(task="lift", out=str(root / "one"), split="validation", episodes=1, workers=0, image_size=16),
        open_fake_collector,
    ).store
    policy = load_checkpoint(save_run(root / "run", store, seeds=[0, 1], horizon=20, num_executed=20))
    save_checkpoint(root / "later" / RUN_CHECKPOINT, policy, {"data_set_seeds": [0], "step": 7})
    return root


def replace(target: Path, by: Path) -> None:
    shutil.rmtree(target)
    shutil.copytree(by, target)


@pytest.mark.parametrize(
    ("policy", "target", "by", "said"),
    [
        ("run", "run", "later", "the checkpoint of policy"),
        ("mean_action", "train", "other", "the demonstrations of policy"),
        ("noop", "held-out", "other", "held-out changed while a policy was being evaluated on it"),
    ],
)
def test_a_checkpoint_or_a_data_set_that_is_replaced_during_a_run(
    policy: str, target: str, by: str, said: str, learned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from smidgen.evaluation import run as module

    shutil.copytree(learned, tmp_path / "x")
    monkeypatch.chdir(tmp_path / "x")
    plain: Callable[..., Any] = module.run_items

    def replaced(*arguments: Any) -> Any:
        replace(Path(target), Path(by))
        return plain(*arguments)

    demos = {"demos": "held-out", "train_demos": "train"}
    monkeypatch.setattr(module, "run_items", replaced)
    with pytest.raises(UserError, match=said):
        evaluate(config(tmp_path, policy=policy, **demos), FakeLift)
    assert not list((tmp_path / "results").glob("*.json"))
