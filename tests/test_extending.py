"""docs/extending.md, run as it is written: classes of a user's own, and what is said when their code is not named."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from smidgen.data_collection.collect import main as collect
from smidgen.data_collection.config import CollectConfig
from smidgen.data_collection.store import EpisodeStore
from smidgen.envs.tasks import make_env, named_task
from smidgen.evaluation.env_spec import task_of_file
from smidgen.evaluation.evaluate import main as evaluate
from smidgen.evaluation.held_out_predictions import predict_steps
from smidgen.evaluation.policy_source import PolicySource, build_card, policy_identity
from smidgen.evaluation.records import read_record
from smidgen.leaderboard.submission import open_submission
from smidgen.leaderboard.submit import bundle_files, submit
from smidgen.policies.checkpoint import load_checkpoint
from smidgen.policies.transforms import build_transform
from smidgen.runtime.command_line import run_command
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import read_json, sha256_file
from smidgen.training.train import _body as train
from tests.fuzz.data_readers import write_data_set

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
SPEC = "my_transform:Differences"
TASK = "my_task:WideLift"
SMALL = ["steps=2", "eval_every=1", "num_latents=2", "latent_dim=8", "num_heads=1", "num_layers=1", "num_frames=2"]


def python_block(containing: str) -> str:
    (block,) = [each for each in re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL) if containing in each]
    return block


def commands(program: str) -> list[list[str]]:
    return [line.split()[1:] for line in re.findall(rf"^{program} .*$", PAGE, flags=re.MULTILINE)]


def run(program: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    script = str(Path(sys.executable).with_name(program))
    return subprocess.run([script, *arguments], cwd=cwd, capture_output=True, text=True, env=dict(os.environ))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with the page's module, a data set, and a run trained as the page says."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "my_transform.py").write_text(python_block("class Differences"), encoding="utf-8")
    write_data_set(folder / "outputs" / "lift")
    (arguments,) = (each for each in commands("smidgen-train") if f"transform={SPEC}" in each)
    done = run("smidgen-train", *arguments, *SMALL, "validation_fraction=0.5", cwd=folder)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


@pytest.fixture
def here(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield place
    for name in ("my_transform", "broken_transform"):
        sys.modules.pop(name, None)


def test_a_checkpoint_loads_where_its_transform_is_named_again(here: Path) -> None:
    run_directory = "outputs/differences"
    with pytest.raises(UserError, match=rf"trained with transform={SPEC}.* add transform={SPEC}"):
        load_checkpoint(run_directory)
    assert "my_transform" not in sys.modules, "nothing was imported"
    with pytest.raises(UserError, match=rf"trained with transform={SPEC}, got transform=my_transform:Other"):
        load_checkpoint(run_directory, transform="my_transform:Other")
    assert "my_transform" not in sys.modules
    policy = load_checkpoint(run_directory, transform=SPEC)
    assert policy.name == "perceiver-Differences"
    assert type(policy.network.input_pipeline.transform).__name__ == "Differences"


@pytest.mark.parametrize("arguments", [["episodes=1"], ["saliency"]])
def test_the_command_says_what_to_add(arguments: list[str], here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate([*arguments, "policy=outputs/differences", "out=results"]) == 2
    message = capsys.readouterr().err
    assert f"add transform={SPEC}" in message
    assert message.count("\n") == 1


def test_a_transform_belongs_to_a_checkpoint(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(["policy=noop", f"transform={SPEC}", "out=results", "episodes=1"]) == 2
    assert "policy 'noop' is not one; omit transform" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ("my_transform:Nothing", "has no 'Nothing'"),
        ("no_such_module:Mine", "no module 'no_such_module'"),
        ("my_transform:torch", "expected a class"),
        ("json:JSONDecoder", "expected a subclass of smidgen.InputTransform, got JSONDecoder"),
        ("dft4d", "valid: .*their.module:Class"),
    ],
)
def test_what_is_no_transform_is_named(spec: str, complaint: str, here: Path) -> None:
    with pytest.raises(UserError, match=complaint):
        build_transform(spec, grid=(2, 4, 4), channels=3)


def test_its_code_is_part_of_what_is_evaluated(here: Path) -> None:
    source = PolicySource("outputs/differences", "lift", transform=SPEC)
    before = build_card(source, source.build(), None)
    assert list(before["code"]) == ["my_transform.py"]
    module = here / "my_transform.py"
    text = module.read_text(encoding="utf-8")
    try:
        module.write_text(text + "\nCHANGED = True\n", encoding="utf-8")
        after = build_card(source, source.build(), None)
    finally:
        module.write_text(text, encoding="utf-8")
    assert policy_identity(source, before) != policy_identity(source, after)
    assert before["checkpoint_sha256"] == after["checkpoint_sha256"]


def test_a_run_goes_on_with_the_code_that_it_was_begun_with(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (arguments,) = (each for each in commands("smidgen-train") if f"transform={SPEC}" in each)
    arguments = [*arguments, *SMALL, "validation_fraction=0.5"]
    module = here / "my_transform.py"
    text = module.read_text(encoding="utf-8")
    assert run_command(train, arguments) == 0
    assert "is already finished" in capsys.readouterr().out
    try:
        module.write_text(text + "\nCHANGED = True\n", encoding="utf-8")
        assert run_command(train, arguments) == 2
    finally:
        module.write_text(text, encoding="utf-8")
    message = capsys.readouterr().err
    assert "holds a run with other settings: transform_code.my_transform.py (there " in message
    assert message.count("\n") == 1


@pytest.mark.parametrize(
    ("new", "complaint", "is_raised"),
    [
        ("return frames[:, 1:].flatten(1, 2)", r"expected forward to return \(2, \d+, 3\), .* set self.grid", False),
        ("return torch.ct(frames)", r"training with it failed at broken_transform.py:\d+: AttributeError", True),
        ("return x_BNC.log()", "forward returns NaN or infinity", False),
        ("return x_BNC.long()", "expected a floating-point tensor from forward, got torch.int64", False),
        ("return None", "expected a floating-point tensor from forward, got NoneType", False),
        ("raise SystemExit(3)", r"training with it failed at broken_transform.py:\d+: sys.exit\(3\)", True),
        ("return x_BNC if not self.training else 1 / 0", r"broken_transform.py:\d+: ZeroDivisionError", True),
    ],
)
def test_what_is_wrong_with_a_transform_ends_training_with_one_line(
    new: str, complaint: str, is_raised: bool, here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (here / "my_transform.py").read_text(encoding="utf-8")
    broken = text.replace("return torch.cat", f"{new}\n        return torch.cat", 1)
    (here / "broken_transform.py").write_text(broken, encoding="utf-8")
    arguments = ["demos=outputs/lift", f"out={tmp_path / 'run'}", "transform=broken_transform:Differences", *SMALL]
    assert run_command(train, [*arguments, "validation_fraction=0.5"]) == 2
    *trace, line = capsys.readouterr().err.rstrip().split("\n")
    assert re.search(f"^error: transform 'broken_transform:Differences': .*{complaint}", line), line
    assert any("broken_transform.py" in each for each in trace) == is_raised


@pytest.mark.simulator
def test_it_is_evaluated_and_handed_in_as_the_page_says(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (arguments,) = (each for each in commands("smidgen-eval") if f"transform={SPEC}" in each)
    small = ["episodes=1", "videos=0", "workers=1"]
    # The worker has to find the transform too.
    assert evaluate([*(each for each in arguments if not each.startswith("demos=")), *small]) == 0
    assert "perceiver-Differences on lift" in capsys.readouterr().out
    given = ([Path("outputs/results/lift-perceiver-Differences.json")], [Path("outputs/differences")])
    with pytest.raises(UserError, match=f"whose code would run; read it, then add --transform {SPEC}"):
        open_submission(*given)
    with pytest.raises(UserError, match="uses a transform of your own; add --source PATH"):
        open_submission(*given, transform=SPEC)
    submission = open_submission(*given, source=Path("my_transform.py"), transform=SPEC)
    assert submission.commands() == [
        f"PYTHONPATH=source smidgen-eval verify results/{given[0][0].name} --episodes 1 --transform {SPEC}"
    ]
    assert "source/my_transform.py" in bundle_files(submission)


@pytest.fixture(scope="module")
def task_place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with the page's task, and all that its commands make, smaller."""
    folder = tmp_path_factory.mktemp("task")
    (folder / "my_task.py").write_text(python_block("class WideLift"), encoding="utf-8")
    (collecting,) = (each for each in commands("smidgen-collect") if f"task={TASK}" in each)
    (training,) = (each for each in commands("smidgen-train") if "demos=outputs/wide" in each)
    learned, expert = (each for each in commands("smidgen-eval") if f"task={TASK}" in each)
    small = ["episodes=1", "videos=1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "path", [*sys.path])
        # The worker has to find the task.
        assert collect([*collecting, "episodes=2", "workers=1"]) == 0
        assert run_command(train, [*training, *SMALL, "validation_fraction=0.5"]) == 0
        for arguments in (expert, learned):
            assert evaluate([*arguments, *small, "workers=0"]) == 0
    sys.modules.pop("my_task", None)
    return folder


@pytest.fixture
def at_task(task_place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(task_place)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield task_place
    for name in ("my_task", "broken_task"):
        sys.modules.pop(name, None)


@pytest.mark.simulator
def test_a_task_is_collected_trained_and_evaluated_as_the_page_says(at_task: Path) -> None:
    manifest = read_json(at_task / "outputs" / "wide" / "manifest.json")
    hashes = {"my_task.py": sha256_file(at_task / "my_task.py")}
    assert manifest["task"] == "wide_lift"
    assert manifest["num_successes"] >= 2
    assert manifest["config"]["task"] == TASK
    assert manifest["config"]["task_code"] == manifest["environment"]["code"] == hashes
    for name in ("expert", "perceiver-raw"):
        record = read_record(at_task / "outputs" / "wide-results" / f"wide_lift-{name}.json")
        assert record["task"] == "wide_lift"
        assert record["config"]["task"] == TASK
        assert record["config"]["task_code"] == record["environment"]["code"] == hashes
        assert record["policy"]["code"] == (hashes if name == "expert" else {})
    with make_env(TASK, cameras=()) as env:
        env.reset(seed=3)
        places = [env.sample_cue_pose(np.random.default_rng(seed))[:2] for seed in range(50)]
    assert 0.07 < np.abs(places).max() < 0.08


@pytest.mark.simulator
def test_the_record_of_a_task_is_verified_where_the_task_is_named(
    at_task: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = "outputs/wide-results/wide_lift-expert.json"
    assert evaluate(["verify", record, "--workers", "0"]) == 2
    assert f"whose code would run; read it, then add --task {TASK}" in capsys.readouterr().err
    assert evaluate(["verify", record, "--workers", "0", "--task", TASK]) == 0
    assert "verified: 1 episodes gave the same outcomes" in capsys.readouterr().out


@pytest.mark.simulator
def test_a_change_of_a_tasks_code_is_noticed(at_task: Path, capsys: pytest.CaptureFixture[str]) -> None:
    module = at_task / "my_task.py"
    text = module.read_text(encoding="utf-8")
    collecting = [f"task={TASK}", "episodes=2", "out=outputs/wide", "workers=0"]
    evaluating = ["policy=expert", f"task={TASK}", "episodes=1", "videos=1", "workers=0", "out=outputs/wide-results"]
    assert collect(collecting) == evaluate(evaluating) == 0
    assert capsys.readouterr().out.count("nothing to do") == 2
    try:
        module.write_text(text.replace("-0.08, 0.08", "-0.02, 0.02"), encoding="utf-8")
        assert collect(collecting) == 2
        assert "task_code.my_task.py" in capsys.readouterr().err
        assert evaluate(evaluating) == 2
        assert "was made before my_task.py changed" in capsys.readouterr().err
    finally:
        module.write_text(text, encoding="utf-8")


@pytest.mark.simulator
@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("class WideLift(LiftEnv)", "class WideLift", "expected a subclass of smidgen.RobosuiteEnv"),
        ('name="wide_lift"', 'name="stack"', "expected task.name to differ from smidgen's tasks, got 'stack'"),
        ('name="wide_lift"', 'name="Lift"', "expected task.name to differ from smidgen's tasks, got 'Lift'"),
        ('name="wide_lift"', 'name="a:b"', "expected task.name to consist of letters"),
        ('env_id="me/WideLift-v0"', 'env_id="smidgen/Lift-v0"', "expected task.env_id to be unique"),
        ('entry_point="broken_task:WideLift"', 'entry_point="a:B"', "task.entry_point 'broken_task:WideLift', got"),
        ("summary=", "horizon=0, summary=", "expected task.horizon to be a whole number of at least 1, got 0"),
        ("    expert = LiftExpert", "", "has no expert; set expert"),
        ("    expert = LiftExpert", "    expert = LiftEnv", "expected expert to be a subclass of smidgen.Expert"),
        ("np.array([x", "np.arry([x", r"failed at broken_task.py:\d+: AttributeError"),
        (
            "    def _after_reset",
            "    def _cue_geoms(self):\n        return []\n\n    def _after_reset",
            "not show the cue",
        ),
        (
            "    def _after_reset",
            "    def _after_physics(self):\n        raise KeyError('late')\n\n    def _after_reset",
            r"failed at broken_task.py:\d+: KeyError: 'late'",
        ),
        (
            "    def _after_reset",
            "    def privileged(self):\n        return {}\n\n    def _after_reset",
            r"expected privileged\(\) to contain eef_position_m",
        ),
    ],
)
def test_what_is_wrong_with_a_task_is_one_line(
    old: str, new: str, complaint: str, at_task: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (at_task / "my_task.py").read_text(encoding="utf-8").replace("my_task:", "broken_task:")
    assert old in text
    (at_task / "broken_task.py").write_text(text.replace(old, new), encoding="utf-8")
    assert collect(["task=broken_task:WideLift", "episodes=1", f"out={tmp_path / 'out'}", "workers=0"]) == 2
    *_, line = capsys.readouterr().err.rstrip().split("\n")
    assert re.search(complaint, line), line
    assert line.startswith("error: ")


@pytest.mark.simulator
def test_a_bug_in_a_task_ends_an_evaluation(at_task: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (at_task / "my_task.py").read_text(encoding="utf-8").replace("my_task:", "broken_task:")
    # Later than the pixel check.
    bug = "\n    def _after_physics(self):\n        if self._num_steps == 20:\n            raise KeyError('late')\n"
    (at_task / "broken_task.py").write_text(text + bug, encoding="utf-8")
    assert evaluate(["policy=noop", "task=broken_task:WideLift", "episodes=1", f"out={tmp_path}", "workers=0"]) == 2
    message = capsys.readouterr().err
    assert "raise KeyError('late')" in message
    assert "error: task 'broken_task:WideLift': the episode of seed" in message
    assert not list(tmp_path.glob("*.json"))


@pytest.mark.simulator
def test_a_task_of_ones_own_is_not_handed_in(at_task: Path) -> None:
    record = at_task / "outputs" / "wide-results" / "wide_lift-perceiver-raw.json"
    with pytest.raises(UserError, match=f"uses a task of your own, {TASK}; leaderboards rank only smidgen's"):
        submit([str(record), "--checkpoint", str(at_task / "outputs" / "wide-run")])


@pytest.mark.simulator
@pytest.mark.parametrize("arguments", [["episodes=1"], ["saliency"]])
def test_the_command_asks_for_the_class_of_a_run(
    arguments: list[str], at_task: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate([*arguments, "policy=outputs/wide-run", "out=results"]) == 2
    assert "if it is yours, add task=their.module:Class" in capsys.readouterr().err
    assert evaluate([*arguments, "policy=outputs/wide-run", "task=stack", "out=results"]) == 2
    assert "got task=stack; give the class of that task" in capsys.readouterr().err


def test_nothing_is_imported_on_the_word_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_task.py").write_text("raise AssertionError('imported')", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    with pytest.raises(UserError, match=r"is not a smidgen task; if it is yours, add task=their\.module:Class"):
        task_of_file(TASK, "", "the run was trained with")
    with pytest.raises(UserError, match=r"got task=lift; give the class of that task"):
        task_of_file(TASK, "lift", "the run was trained with")
    assert "my_task" not in sys.modules


def test_a_task_of_ours_has_the_identity_that_it_had() -> None:
    assert sorted(CollectConfig(task="lift", out="x").identity()) == [
        "action_noise_m",
        "cameras",
        "counterfactuals_per_episode",
        "episodes",
        "history",
        "image_size",
        "render_profile",
        "seed_start",
        "split",
        "task",
    ]
    with pytest.raises(UserError, match=r"unknown task 'lft' \(did you mean 'lift'\?\); valid: .*their.module:Class"):
        named_task("lft")


def test_the_policy_of_the_page_is_evaluated_with_its_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_policy.py").write_text(python_block("class Reacher"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (arguments,) = (each for each in commands("smidgen-eval") if "policy=my_policy:Reacher" in each)
    write_data_set(tmp_path / "outputs" / "held-out")
    assert {each.partition("=")[0] for each in arguments} == {"policy", "demos", "out"}
    calls = PolicySource("my_policy:Reacher", "lift").open()
    assert calls.has_chunks
    store = EpisodeStore.open("outputs/held-out")
    episode = store.episode(store.seeds[0])
    actions = predict_steps(calls, episode, np.arange(episode.num_steps))
    assert actions.shape == episode.actions.shape
    sys.modules.pop("my_policy", None)
