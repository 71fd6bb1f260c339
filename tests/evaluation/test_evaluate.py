import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
from fake_lift import AlreadySolved, Exploding, FakeLift, open_fake_collector

from smidgen.data_collection.collect import collect
from smidgen.data_collection.config import CollectConfig
from smidgen.envs.tasks import TASKS
from smidgen.evaluation.config import EvalConfig
from smidgen.evaluation.evaluate import evaluate, main, summary_line
from smidgen.evaluation.plan import make_plan
from smidgen.evaluation.protocol import HOLD_STEPS
from smidgen.evaluation.record_schema import FirstCollapse
from smidgen.evaluation.records import Record, find_records, host_path, read_record
from smidgen.policies.registry import BASELINES
from smidgen.runtime.errors import UserError

# Four episodes are too few for these.
TOO_FEW_PATHS = ("path_slope", "path_slope_interval", "goal_r2", "goal_information_bits")
FIRST_FIELDS = set(get_type_hints(FirstCollapse))


@pytest.fixture(scope="session")
def demos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Training and held-out demonstrations in the fake world."""
    root = tmp_path_factory.mktemp("demos")
    sets = {"train_demos": "demonstrations", "demos": "validation"}
    for name, split in sets.items():
        config = CollectConfig(
            task="lift", out=str(root / name), episodes=12, split=split, workers=0, image_size=16, history=4
        )
        collect(config, open_fake_collector)
    return {name: str(root / name) for name in sets}


def config(policy: str, out: Path, **changes: Any) -> EvalConfig:
    settings = {"episodes": 4, "workers": 0, "videos": 0, "image_size": 16, **changes}
    return EvalConfig(policy=policy, out=str(out / "results"), **settings)


def run(policy: str, out: Path, make: Any = FakeLift, **changes: Any) -> Record:
    return read_record(evaluate(config(policy, out, **changes), make)[0])


@pytest.fixture(scope="module")
def folder_of_measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("measured")


@pytest.fixture(scope="module")
def measured(folder_of_measured: Path, demos: dict[str, str]) -> Callable[[str], Record]:
    """Evaluates a policy on four episodes and the held-out demonstrations, once."""
    return functools.cache(lambda policy: run(policy, folder_of_measured, **demos))


def test_expert_is_evaluated_and_recorded(tmp_path: Path) -> None:
    record = run("expert", tmp_path, videos=2, episodes=5)
    assert record["success"]["k"] == record["success"]["n"] == 5
    assert [row["seed"] for row in record["episodes"]] == list(range(3_000_000, 3_000_005))
    assert record["collapse"]["spread_ratio"] == 1
    assert sorted(path.name for path in (tmp_path / "results" / "videos").iterdir()) == [
        video["file"] for video in record["videos"]
    ]
    assert len(record["videos"]) == 2


def test_demonstrations_at_a_url_give_the_same_record(
    measured: Callable[[str], Record], demos: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMIDGEN_CACHE", str(tmp_path / "cache"))
    at_urls = {name: f"file://{path}" for name, path in demos.items()}
    assert run("time_mean", tmp_path, **at_urls) == measured("time_mean")
    assert len(list((tmp_path / "cache" / "stores").glob("*/manifest.json"))) == 2


def test_every_baseline_gets_every_measure(measured: Callable[[str], Record], folder_of_measured: Path) -> None:
    for name in BASELINES:
        collapse = measured(name)["collapse"]
        # What no baseline can have: chunks, and a twin. The fake expert's targets stand still within a phase.
        assert set(collapse["reasons"]) <= {"r2_by_chunk_step", "cue_skill", "copycat_weight", *TOO_FEW_PATHS}, name
        assert collapse["cue_slope"] == 0, name
        assert collapse["num_counterfactuals"] == 24
    names = {path.name for path in find_records(folder_of_measured / "results")}
    assert names >= {f"lift-{name}.json" for name in BASELINES}


def test_verdicts_tell_seeing_from_blind_and_collapsed_from_lost(measured: Callable[[str], Record]) -> None:
    expected = {
        "fake_lift:SeesCube": ("sees", False),
        "mean_action": ("blind", True),
        "time_mean": ("blind", True),
        "persistence": ("blind", False),
        "random": ("blind", False),
    }
    for name, (label, is_at_the_mean) in expected.items():
        collapse = measured(name)["collapse"]
        assert (collapse["verdict"], collapse["mean_collapsed"]) == (label, is_at_the_mean), name
        low, high = collapse["verdict_interval"]
        assert low <= collapse["verdict_slope"] <= high, name
        assert collapse["verdict_source"] == "cue_slope", name


def test_paths_alone_give_a_verdict(tmp_path: Path) -> None:
    for name, label in {"expert": "sees", "noop": "blind"}.items():
        collapse = run(name, tmp_path, episodes=12)["collapse"]
        assert (collapse["verdict"], collapse["verdict_source"]) == (label, "path_slope"), name
        assert len(collapse["episode_verdicts"]) == 12
        assert set(collapse["episode_verdicts"]) <= {label, "undecided"}
    assert collapse["goal_r2"] < 0.5


def test_input_that_is_not_looked_at_changes_nothing(measured: Callable[[str], Record]) -> None:
    sees, blind = (measured(name)["collapse"] for name in ("fake_lift:SeesCube", "time_mean"))
    for name in ("response_to_shuffling", "response_to_blanking"):
        assert blind[name] == 0 < sees[name]
    assert sum(part["num_windows"] for part in sees["over_time"]) == sees["num_windows"]
    assert sum(part["num_counterfactuals"] for part in sees["over_time"]) == sees["num_counterfactuals"]
    assert all(part["cue_slope"] > 0.8 for part in sees["over_time"] if part["num_counterfactuals"])
    assert max(abs(part["skill_time_mean"]) for part in blind["over_time"]) < 1e-9


def test_a_record_of_another_detector_is_measured_again(tmp_path: Path) -> None:
    run("noop", tmp_path)
    path = tmp_path / "results" / "lift-noop.json"
    record = json.loads(path.read_text())
    record["collapse"] = {name: value for name, value in record["collapse"].items() if name in FIRST_FIELDS}
    path.write_text(json.dumps(record))
    assert "verdict" not in read_record(path)["collapse"]
    assert evaluate(config("noop", tmp_path), FakeLift)[1]
    assert "verdict" in read_record(path)["collapse"]


def test_references_have_no_skill_against_themselves(measured: Callable[[str], Record]) -> None:
    time_mean = measured("time_mean")
    assert time_mean["collapse"]["skill_time_mean"] == pytest.approx(0)
    assert measured("persistence")["collapse"]["skill_persistence"] == pytest.approx(0)
    mean_action = measured("mean_action")["collapse"]
    assert max(mean_action["r2"]) <= 1e-9
    assert mean_action["explained_variance"] == pytest.approx([0] * 3)
    assert time_mean["policy"]["data_set_seeds"] == [0, 11]
    assert time_mean["policy"]["data_set_sha256"] == time_mean["config"]["train_demos_sha256"]


def test_a_policy_that_sees_has_a_cue_slope_and_a_blind_one_no_spread(measured: Callable[[str], Record]) -> None:
    sees, blind = (measured(name)["collapse"] for name in ("fake_lift:SeesCube", "mean_action"))
    assert sees["cue_slope"] > 0.8
    assert blind["spread_ratio"] < 0.5 < sees["spread_ratio"]


def test_what_cannot_be_measured_says_why(tmp_path: Path, demos: dict[str, str]) -> None:
    bare = run("noop", tmp_path)["collapse"]
    assert bare["r2"] is None
    assert "demos=DIR" in bare["reasons"]["r2"]
    without_train = run("noop", tmp_path, name="noop-2", demos=demos["demos"])["collapse"]
    assert "train_demos=DIR" in without_train["reasons"]["skill_time_mean"]
    assert without_train["skill_persistence"] is not None
    other_size = run("fake_lift:SeesCube", tmp_path, image_size=32, **demos)["collapse"]
    assert "rendered with" in other_size["reasons"]["cue_slope"]
    privileged = run("expert", tmp_path, **demos)["collapse"]
    assert "privileged" in privileged["reasons"]["cue_slope"]
    crashing = run("fake_lift:Crasher", tmp_path, keep_going=True, **demos)["collapse"]
    assert "ZeroDivisionError" in crashing["reasons"]["r2"]
    single = run("noop", tmp_path, name="noop-3", episodes=1)["collapse"]
    assert "two episodes" in single["reasons"]["spread_ratio"]


def test_failures_of_policy_and_simulator_are_counted_apart(tmp_path: Path) -> None:
    crashed = run("fake_lift:Crasher", tmp_path, keep_going=True)
    assert crashed["errors"] == {"policy_error": 2, "simulator_error": 0}
    exploded = run("noop", tmp_path, Exploding)
    assert exploded["errors"] == {"policy_error": 0, "simulator_error": 2}
    assert exploded["success"]["n"] == 4
    host = json.loads(host_path(tmp_path / "results" / "lift-noop.json").read_text())
    assert host["errors"]["3000001"] == "RuntimeError: unstable simulation"


def test_an_episode_that_never_began_has_a_video_too(tmp_path: Path) -> None:
    class Stillborn(FakeLift):
        def reset(self, *, seed: int) -> Any:
            if seed == 3_000_000:
                raise RuntimeError("no model")
            return super().reset(seed=seed)

    record = run("noop", tmp_path, Stillborn, videos=1)
    assert record["episodes"][0]["num_steps"] == 0
    assert record["episodes"][0]["label"] == "simulator_error"
    assert (tmp_path / "results" / "videos" / record["videos"][0]["file"]).exists()
    assert not evaluate(config("noop", tmp_path, videos=1), Stillborn)[1]


def test_every_task_ends_an_episode_as_the_protocol_says() -> None:
    assert {task.hold_steps for task in TASKS.values()} == {HOLD_STEPS}


def test_a_policy_whose_name_is_no_file_name_needs_another(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="give name="):
        make_plan(config("fake_lift:Slashed", tmp_path))
    assert make_plan(config("fake_lift:Slashed", tmp_path, name="plain")).card["name"] == "plain"


@pytest.mark.slow
def test_workers_change_no_byte(tmp_path: Path, demos: dict[str, str]) -> None:
    contents = []
    for workers in (0, 2):
        out = tmp_path / str(workers)
        run("fake_lift:SeesCube", out, workers=workers, videos=1, **demos)
        contents.append((out / "results" / "lift-sees_cube.json").read_bytes())
        contents.append((out / "results" / "videos" / "lift-sees_cube-3000000.mp4").read_bytes())
    assert contents[:2] == contents[2:]


def test_a_finished_evaluation_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, was_run = evaluate(config("noop", tmp_path, videos=1), FakeLift)
    stamps = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*") if file.is_file()}
    assert was_run
    assert evaluate(config("noop", tmp_path, videos=1), FakeLift) == (path, False)
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*") if file.is_file()} == stamps
    arguments = [f"out={path.parent}", "policy=noop", "episodes=4", "videos=1", "image_size=16"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "nothing to do" in printed
    assert "noop on lift: success 0/4" in printed


def test_an_interrupted_evaluation_goes_on_where_it_was(tmp_path: Path, demos: dict[str, str]) -> None:
    whole = run("fake_lift:SeesCube", tmp_path / "whole", videos=1, **demos)
    run("fake_lift:SeesCube", tmp_path, videos=1, **demos)
    shards = sorted((tmp_path / "results" / ".shards" / "lift-sees_cube").glob("*.json"))
    for kept in shards[::2]:
        os.utime(kept, ns=(1, 1))
    for lost in shards[1::2]:
        lost.unlink()
    shards[0].write_text('{"row": ')
    (tmp_path / "results" / "lift-sees_cube.json").unlink()
    (shards[0].parent / ".partial-x.json-1").write_text("{")
    assert run("fake_lift:SeesCube", tmp_path, videos=1, **demos) == whole
    assert all(kept.stat().st_mtime_ns == 1 for kept in shards[2::2])
    assert not list(shards[0].parent.glob(".partial-*"))


def test_a_lost_video_is_made_again(tmp_path: Path) -> None:
    run("expert", tmp_path, videos=2)
    videos = sorted((tmp_path / "results" / "videos").iterdir())
    content = videos[1].read_bytes()
    videos[1].unlink()
    assert evaluate(config("expert", tmp_path, videos=2), FakeLift)[1]
    assert videos[1].read_bytes() == content


KILLED = """
import sys
sys.path.insert(0, {folder!r})
from fake_lift import SlowLift
from smidgen.evaluation.evaluate import evaluate
from smidgen.evaluation.config import EvalConfig
if __name__ == "__main__":
    evaluate(EvalConfig(policy="expert", out={out!r}, episodes=6, workers=0, videos=0, image_size=16), SlowLift)
"""


def test_killed_and_run_again_gives_the_same_bytes(tmp_path: Path) -> None:
    out, script = tmp_path / "killed" / "results", tmp_path / "killed.py"
    script.write_text(KILLED.format(folder=str(Path(__file__).parent), out=str(out)))
    process = subprocess.Popen([sys.executable, str(script)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(list(out.rglob(".shards/*/*.json"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    done = list(out.rglob(".shards/*/*.json"))
    assert 2 <= len(done) < 6
    assert find_records(out) == []
    run("expert", tmp_path / "killed", episodes=6)
    run("expert", tmp_path / "whole", episodes=6)
    name = "results/lift-expert.json"
    assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_experts_paths_are_shared_between_evaluations(tmp_path: Path) -> None:
    run("expert", tmp_path)
    shards = list((tmp_path / "results" / ".shards" / "lift-expert").glob("*.json"))
    run("noop", tmp_path)
    assert set((tmp_path / "results" / ".shards" / "lift-expert").glob("*.json")) == set(shards)


def test_the_expert_may_go_by_another_name(tmp_path: Path) -> None:
    assert run("expert", tmp_path, name="mine", videos=1)["success"]["k"] == 4


def test_another_evaluation_is_not_written_over(tmp_path: Path) -> None:
    run("noop", tmp_path)
    before = (tmp_path / "results" / "lift-noop.json").read_bytes()
    with pytest.raises(UserError, match=r"lift-noop.json is the record of another evaluation: protocol.episodes is 4"):
        run("noop", tmp_path, episodes=5)
    assert (tmp_path / "results" / "lift-noop.json").read_bytes() == before
    assert run("noop", tmp_path, episodes=5, overwrite=True)["success"]["n"] == 5
    assert run("noop", tmp_path, name="noop-4")["policy"]["name"] == "noop-4"


def test_episodes_of_another_environment_are_refused(tmp_path: Path) -> None:
    class Other(FakeLift):
        def fingerprint(self) -> dict[str, dict[str, Any]]:
            return {"ranked": {"env_id": "fake/Lift-v1"}, "host": {}}

    run("noop", tmp_path)
    (tmp_path / "results" / "lift-noop.json").unlink()
    with pytest.raises(UserError, match="another environment; delete that folder"):
        run("noop", tmp_path, Other, episodes=6)
    with pytest.raises(UserError, match=r"lift-expert contains episodes of another environment"):
        run("noop", tmp_path, Other, name="only-the-experts-are-old")


def test_two_at_once_are_refused(tmp_path: Path) -> None:
    from smidgen.runtime.files import directory_lock

    with directory_lock(tmp_path / "results" / ".shards" / "lift-noop"), pytest.raises(UserError, match="wait for it"):
        run("noop", tmp_path)


def test_seeds_are_offsets_or_absolute_and_stay_inside_the_test_range(tmp_path: Path) -> None:
    assert make_plan(config("noop", tmp_path, seed_start=7)).seeds == range(3_000_007, 3_000_011)
    assert make_plan(config("noop", tmp_path, seed_start=3_000_007)).seeds == range(3_000_007, 3_000_011)
    for seed_start in (-1, 999_998, 4_000_000):
        with pytest.raises(UserError, match="seed_start"):
            make_plan(config("noop", tmp_path, seed_start=seed_start))


def test_choosing_has_seeds_of_its_own(tmp_path: Path) -> None:
    assert make_plan(config("noop", tmp_path, split="checkpoint")).seeds == range(2_000_000, 2_000_004)
    with pytest.raises(UserError, match="valid: checkpoint, test"):
        make_plan(config("noop", tmp_path, split="demonstrations"))


def test_held_out_demonstrations_must_be_held_out(tmp_path: Path, demos: dict[str, str]) -> None:
    train = demos["train_demos"]
    with pytest.raises(UserError, match="share seeds"):
        make_plan(config("noop", tmp_path, demos=train, train_demos=train))
    with pytest.raises(UserError, match="split=validation"):
        make_plan(config("time_mean", tmp_path, demos=train, train_demos=train))


def test_success_at_reset_is_in_the_record(tmp_path: Path) -> None:
    record = run("fake_lift:Hold", tmp_path, AlreadySolved)
    assert all(row["success_at_reset"] and row["first_success_step"] == 0 for row in record["episodes"])
    assert record["success"]["k"] == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["policy=nope"], "unknown policy 'nope'; valid: expert, mean_action, noop, persistence, random, time_mean"),
        (
            ["policy=cnn"],
            "policy 'cnn' must be trained first: smidgen-train policy=cnn demos=DIR out=DIR, then policy=DIR",
        ),
        (["policy=perceiver", "task=all"], "policy 'perceiver' must be trained first"),
        (["saliency", "policy=vit"], "policy 'vit' must be trained first"),
        (["policy=noop", "task=nope"], "unknown task 'nope'; valid: "),
        (["policy=noop", "epsiodes=5"], "unknown key 'epsiodes' (did you mean 'episodes'?); valid: "),
        (["policy=noop", "episodes=many"], "many"),
        (["policy=noop", "episodes=0"], "expected episodes >= 1, got 0"),
        (["policy=noop", "name=a/b"], "expected name of letters"),
        (["policy=time_mean"], "add train_demos=DIR"),
        (["policy=noop", "demos=/nonexistent"], "/nonexistent does not exist"),
        (["policy=fake_lift:Nope"], "has no 'Nope'"),
        (["policy=no_such_module:Nope"], "no module 'no_such_module'"),
        (["policy=."], "is not a checkpoint"),
        ([], "missing policy=..."),
    ],
)
def test_mistakes_end_with_one_line_and_exit_code_2(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, f"out={tmp_path / 'results'}"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    assert message in printed.err
    assert list(tmp_path.iterdir()) == []


def test_help_fits_a_screen(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 100
    assert any("process:COMMAND, remote:HOST:PORT" in line for line in lines)


def test_summary_says_what_was_not_measured(tmp_path: Path) -> None:
    record = run("noop", tmp_path)
    line = summary_line(tmp_path / "results" / "lift-noop.json", record)
    assert line.startswith("noop on lift: success 0/4 = 0% [0%, 49%], R^2 not measured, spread ratio")


@pytest.mark.simulator
@pytest.mark.usefixtures("kept_simulators")
@pytest.mark.slow
def test_the_real_expert_lifts_and_the_same_seeds_give_the_same_bytes(tmp_path: Path) -> None:
    settings = EvalConfig(policy="expert", out=str(tmp_path / "a" / "results"), episodes=2, workers=0, videos=1)
    path, _ = evaluate(settings)
    record = read_record(path)
    assert record["success"]["k"] == 2
    assert record["environment"]["env_id"] == "smidgen/Lift-v0"
    shutil.copytree(tmp_path / "a" / "results" / ".shards", tmp_path / "b" / "results" / ".shards")
    for shard in list((tmp_path / "b").rglob("*.json"))[:1]:
        shard.unlink()
    without_videos = replace(settings, out=str(tmp_path / "b" / "results"), videos=0)
    again = read_record(evaluate(without_videos)[0])
    assert again["episodes"] == record["episodes"]
    noop = read_record(evaluate(replace(settings, policy="noop"))[0])
    assert noop["success"]["k"] == 0
    assert {row["label"] for row in noop["episodes"]} == {"stalled"}
    assert np.isfinite(noop["collapse"]["spread_ratio"])
