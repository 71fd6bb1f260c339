"""A policy is asked before the first episode counts; what strangers' policies do is borne, or refused by name."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fake_lift import FakeLift, open_fake_collector

from smidgen.data_collection.collect import collect
from smidgen.data_collection.config import CollectConfig
from smidgen.data_collection.store import EpisodeStore
from smidgen.envs.tasks import get_task
from smidgen.evaluation.config import EvalConfig
from smidgen.evaluation.dry_call import dry_call, reset_rows, stored_rows
from smidgen.evaluation.evaluate import evaluate, main
from smidgen.evaluation.policy_source import PolicySource
from smidgen.evaluation.records import Record, host_path, read_record
from smidgen.policies.registry import BASELINES
from smidgen.runtime.command_line import run_command
from smidgen.runtime.errors import UserCodeError, UserError
from tests.long_form import long_form


@pytest.fixture(scope="module")
def demos(tmp_path_factory: pytest.TempPathFactory) -> EpisodeStore:
    out = tmp_path_factory.mktemp("held_out") / "demos"
    config = CollectConfig(
        task="lift", out=str(out), episodes=12, split="validation", workers=0, image_size=16, history=4
    )
    return collect(config, open_fake_collector).store


def settings(policy: str, out: Path, demos: EpisodeStore | None = None, **changes: Any) -> EvalConfig:
    fixed = {"episodes": 3, "workers": 0, "videos": 0, "image_size": 16, **changes}
    return EvalConfig(
        policy=policy, out=str(out / "results"), demos=None if demos is None else str(demos.directory), **fixed
    )


def run(policy: str, out: Path, demos: EpisodeStore | None = None, **changes: Any) -> Record:
    return read_record(evaluate(settings(policy, out, demos, **changes), FakeLift)[0])


@pytest.fixture(scope="module")
def plain(demos: EpisodeStore, tmp_path_factory: pytest.TempPathFactory) -> Record:
    """The record of a policy that does nothing strange."""
    return run("fake_lift:SeesCube", tmp_path_factory.mktemp("plain"), demos)


@pytest.mark.parametrize("name", ["OneBuffer", "InPlace", "ChangesSettings"])
def test_what_a_policy_does_with_its_arrays_and_settings_changes_no_measure(
    name: str, plain: Record, demos: EpisodeStore, tmp_path: Path
) -> None:
    before = (np.geterr(), torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads(), os.getcwd())
    strange = run(f"foreign_policies:{name}", tmp_path / "strange", demos)
    assert strange["collapse"] == plain["collapse"]
    assert strange["episodes"] == plain["episodes"]
    after = (np.geterr(), torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads(), os.getcwd())
    assert after == before


def test_a_policy_with_chunks_is_measured_like_a_checkpoint(plain: Record, demos: EpisodeStore, tmp_path: Path) -> None:
    """Its measures are those of the same policy without chunks, and each step of a chunk has its own."""
    record = run("foreign_policies:PredictsChunks", tmp_path / "chunks", demos)
    assert record["episodes"] == plain["episodes"]
    own, others = dict(record["collapse"]), dict(plain["collapse"])
    by_step = own.pop("r2_by_chunk_step")
    assert others.pop("r2_by_chunk_step") is None
    assert others["reasons"].pop("r2_by_chunk_step") == "the policy gives one action at a time"
    assert own == others
    assert [len(row) for row in by_step] == [3] * 3
    assert by_step[0] == own["r2"]


def test_tensors_of_any_floating_point_type_are_answers(demos: EpisodeStore, tmp_path: Path) -> None:
    assert run("foreign_policies:TensorAnswers", tmp_path, demos)["collapse"]["cue_slope"] > 0.8


@pytest.mark.parametrize("has_demos", [True, False])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("OneTooMany", r"expected actions of shape \(1, 4\), got \(1, 5\)"),
        ("Flat", r"got \(4,\): return a batch"),
        ("WholeChunk", r"got \(1, 5, 4\): return the next action"),
        ("OneAtATime", r"a batch of 3: .*\(3, 4\), got \(1, 4\): return one row for every row"),
        ("FirstRowForAll", "do not match the rows"),
        ("OverTheBatch", "differently on a row alone and in a batch"),
        ("Remembers", "after the same reset"),
        ("DrawsFromTheSystem", "after the same reset"),
        ("OtherEachTime", "a second instance acts differently"),
        ("Raises", "AttributeError: .*no_such_network.*foreign_policies.py:"),
        ("BreaksReset", "TypeError.*num_episodes"),
        ("Leaves", r"sys.exit: 3 .*foreign_policies.py:"),
        ("FlatChunks", r"expected chunks of shape \(1, K, 4\), got \(1, 4\)"),
        ("ChunksOverTheBatch", "differently on a row alone and in a batch"),
    ],
)
def test_a_policy_that_cannot_be_measured_is_refused_before_the_first_episode(
    name: str, message: str, has_demos: bool, demos: EpisodeStore, tmp_path: Path
) -> None:
    with pytest.raises(UserCodeError, match=message):
        run(f"foreign_policies:{name}", tmp_path, demos if has_demos else None)
    assert not list((tmp_path / "results").rglob("*.json"))


@pytest.mark.parametrize("name", ["Raises", "OneTooMany", "Leaves"])
def test_a_row_whose_episodes_are_all_errors_has_no_verdict(
    name: str, demos: EpisodeStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = run(f"foreign_policies:{name}", tmp_path, demos, keep_going=True)
    assert record["errors"] == {"policy_error": 3, "simulator_error": 0}
    assert record["collapse"]["verdict"] is record["collapse"]["verdict_slope"] is None
    assert record["collapse"]["reasons"]["verdict"] == "every episode ended with an error"
    assert "failed a dry call" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["Remembers", "FirstRowForAll"])
def test_measures_that_would_be_untrue_are_refused_even_to_keep_going(
    name: str, demos: EpisodeStore, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="failed a dry call"):
        run(f"foreign_policies:{name}", tmp_path, demos, keep_going=True)


def test_the_first_error_shows_its_traceback_and_ends_the_evaluation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = settings("foreign_policies:RaisesLate", tmp_path)
    assert run_command(lambda _: print(evaluate(config, FakeLift)), []) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("Traceback")
    assert 'raise ValueError("a late bug")' in printed
    assert "rollout.py" not in printed
    last = printed.splitlines()[-1]
    assert "seed 3000001, at step 5: ValueError: a late bug" in last
    assert "foreign_policies.py:" in last
    assert "keep_going=true" in last
    assert not config_record(config).exists()


def test_to_keep_going_counts_errors_and_keeps_their_tracebacks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = "foreign_policies:RaisesLate"
    record = run(policy, tmp_path, keep_going=True)
    assert record["errors"] == {"policy_error": 1, "simulator_error": 0}
    assert 'raise ValueError("a late bug")' in capsys.readouterr().err
    path = config_record(settings(policy, tmp_path))
    host = json.loads(host_path(path).read_text())
    assert host["errors"]["3000001"].startswith("ValueError: a late bug")
    assert 'raise ValueError("a late bug")' in host["tracebacks"]["episode 3000001"]
    path.unlink()
    with pytest.raises(UserCodeError, match="a late bug"):
        run(policy, tmp_path)


def config_record(config: EvalConfig) -> Path:
    return Path(config.out) / "lift-raises_late.json"


@pytest.mark.parametrize("name", [*BASELINES, "expert"])
def test_our_own_policies_pass(name: str, demos: EpisodeStore) -> None:
    source, action = PolicySource(name, "lift", str(demos.directory)), get_task("lift").action
    observes = source.build().observes
    if "privileged" not in observes:
        dry_call(source, action, stored_rows(demos, observes))
    dry_call(source, action, reset_rows(FakeLift(), observes))


@pytest.mark.slow
def test_draws_from_global_generators_are_the_same_however_many_workers(demos: EpisodeStore, tmp_path: Path) -> None:
    contents = []
    for workers in (0, long_form(2, 1)):
        torch.rand(workers + 1)
        path, _ = evaluate(
            settings("foreign_policies:Unseeded", tmp_path / str(workers), demos, workers=workers), FakeLift
        )
        contents.append(path.read_bytes())
    assert contents[0] == contents[1]


def test_the_callers_own_draws_go_on_as_if_nothing_had_been_evaluated(tmp_path: Path) -> None:
    np.random.seed(5)  # noqa: NPY002
    torch.manual_seed(5)
    expected = (np.random.rand(), torch.rand(1))  # noqa: NPY002
    np.random.seed(5)  # noqa: NPY002
    torch.manual_seed(5)
    run("foreign_policies:Unseeded", tmp_path)
    assert (np.random.rand(), torch.rand(1)) == expected  # noqa: NPY002


def test_the_command_ends_with_code_2(tmp_path: Path, demos: EpisodeStore, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["policy=foreign_policies:Raises", f"out={tmp_path}", f"demos={demos.directory}", "image_size=16"]
    assert main([*arguments, "episodes=2"]) == 2
    printed = capsys.readouterr().err.splitlines()
    assert printed[0].startswith("Traceback")
    assert printed[-1].startswith("error: policy 'foreign_policies:Raises' failed a dry call, before the first episode")
