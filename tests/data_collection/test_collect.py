import contextlib
import dataclasses
import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from collection_fakes import STEP_SECONDS, FakeEnv, FakeExpert, fake_config, open_fake_collector, tree

import smidgen.data_collection.episode as episode_module
from smidgen.data_collection.collect import collect, main
from smidgen.data_collection.collector import Collector
from smidgen.data_collection.config import CollectConfig
from smidgen.data_collection.store import EpisodeStore
from smidgen.runtime.engine import ENGINE_KEYS
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import directory_lock

COLLECT_IN_A_PROCESS = """
import sys
from collection_fakes import fake_config, open_fake_collector
from smidgen.data_collection.collect import collect

if __name__ == "__main__":
    collect(fake_config(sys.argv[1], episodes=10, workers=int(sys.argv[2])), open_fake_collector)
"""


@pytest.fixture
def started(tmp_path):
    """Starts collections in processes of their own, and ends those that are left with their workers."""
    script = tmp_path / "collect_fake.py"
    script.write_text(COLLECT_IN_A_PROCESS)
    processes = []

    def start(out, workers, step_seconds):
        environment = {
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parent),
            STEP_SECONDS: str(step_seconds),
        }
        process = subprocess.Popen(
            [sys.executable, str(script), str(out), str(workers)],
            env=environment,
            start_new_session=True,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        kill_group(process)


def kill_group(process):
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stderr.close()


def wait_for(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_number_of_workers_changes_no_byte(finished_set, tmp_path, workers, capsys):
    collected = collect(fake_config(tmp_path / "set", episodes=10, workers=workers), open_fake_collector)
    assert " (episodes): 10/10 after " in capsys.readouterr().err
    assert tree(tmp_path / "set") == tree(finished_set)
    assert collected.num_new == 10
    assert "6/10 attempts successful (2 aborted by the simulator); 10 collected in" in collected.summary()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_killed_collection_goes_on_to_the_same_bytes(finished_set, tmp_path, started, workers):
    out = tmp_path / "set"
    for num_finished in (2, 5):
        process = started(out, workers, step_seconds=0.01)
        wait_for(lambda wanted=num_finished: len(list(out.glob("episodes/0*"))) >= wanted)
        kill_group(process)
        assert not (out / "manifest.json").exists()
    # What a kill inside a write leaves behind.
    (out / "episodes" / ".partial-000000009-ab").mkdir()
    (out / "episodes" / ".partial-000000009-ab" / "frames.npy").write_bytes(b"half")
    (out / ".partial-manifest.json-ab").write_bytes(b"{")
    num_kept = len(list(out.glob("episodes/0*")))
    collected = collect(fake_config(out, episodes=10), open_fake_collector)
    assert collected.num_new == 10 - num_kept
    assert tree(out) == tree(finished_set)


def test_finished_episodes_are_not_made_again(finished_set, tmp_path):
    out = shutil.copytree(finished_set, tmp_path / "set")
    (out / "manifest.json").unlink()
    shutil.rmtree(out / "episodes" / "000000006")
    before = (out / "episodes" / "000000005" / "frames.npy").stat().st_mtime_ns
    assert collect(fake_config(out, episodes=10), open_fake_collector).num_new == 1
    assert (out / "episodes" / "000000005" / "frames.npy").stat().st_mtime_ns == before
    assert tree(out) == tree(finished_set)


def test_a_second_run_has_nothing_to_do(finished_set):
    before = tree(finished_set)
    collected = collect(fake_config(finished_set, episodes=10), _no_collector)
    assert collected.num_new == 0
    assert collected.summary().startswith("nothing to do: 6/10 attempts successful")
    assert tree(finished_set) == before


def _no_collector(config):
    raise AssertionError("no collector is needed")


@pytest.mark.parametrize("finished", [True, False])
def test_another_configuration_is_refused_by_its_keys(finished_set, tmp_path, finished):
    out = shutil.copytree(finished_set, tmp_path / "set")
    if not finished:
        (out / "manifest.json").unlink()
    before = tree(out)
    with pytest.raises(
        UserError, match=r"episodes: 10 there, 4 requested; history: 4 there, 2 requested; choose another out="
    ):
        collect(fake_config(out, episodes=4, history=2), open_fake_collector)
    assert tree(out) == before


def test_another_environment_is_refused_when_going_on(finished_set, tmp_path, monkeypatch):
    out = shutil.copytree(finished_set, tmp_path / "set")
    (out / "manifest.json").unlink()
    shutil.rmtree(out / "episodes" / "000000006")
    before = tree(out)
    monkeypatch.setenv("FAKE_VERSION", "2")
    open_fake_collector.cache_clear()
    with pytest.raises(UserError, match=r"another environment: environment.version: '1' there, '2' requested"):
        collect(fake_config(out, episodes=10), open_fake_collector)
    open_fake_collector.cache_clear()
    assert tree(out) == before


def test_a_damaged_episode_is_named_before_anything_is_made(finished_set, tmp_path):
    out = shutil.copytree(finished_set, tmp_path / "set")
    (out / "manifest.json").unlink()
    (out / "episodes" / "000000002" / "arrays.npz").write_bytes(b"half")
    with pytest.raises(UserError, match=r"000000002/arrays\.npz is truncated or altered"):
        collect(fake_config(out, episodes=10), _no_collector)


def test_two_collections_do_not_share_a_directory(tmp_path, started):
    out = tmp_path / "set"
    first = started(out, 0, step_seconds=0.05)
    wait_for(lambda: list(out.glob("episodes/0*")))
    second = started(out, 0, step_seconds=0.0)
    assert second.wait(timeout=30) != 0
    assert "another command is writing to" in second.stderr.read()
    assert first.poll() is None


def test_a_lock_of_a_dead_process_holds_nobody_up(tmp_path):
    with directory_lock(tmp_path):
        pass
    assert (tmp_path / ".lock").exists()
    assert collect(fake_config(tmp_path, episodes=1), open_fake_collector).num_new == 1


def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(tmp_path, monkeypatch):
    write_npz, calls = episode_module.write_npz, []

    def full_after_three(path, arrays):
        calls.append(path)
        if len(calls) > 3:
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        write_npz(path, arrays)

    monkeypatch.setattr(episode_module, "write_npz", full_after_three)
    with pytest.raises(UserError, match=r"no space left on disk .*run the command again"):
        collect(fake_config(tmp_path / "set"), open_fake_collector)
    assert [path.name for path in (tmp_path / "set" / "episodes").iterdir()] == ["000000000"]
    monkeypatch.undo()
    assert collect(fake_config(tmp_path / "set"), open_fake_collector).num_new == 5


def test_a_directory_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(UserError, match=r"contains other files \('thesis\.tex'\)"):
        collect(fake_config(tmp_path), _no_collector)
    assert list(tree(tmp_path)) == ["thesis.tex"]
    with pytest.raises(UserError, match="is a file"):
        collect(fake_config(tmp_path / "thesis.tex"), _no_collector)


def test_a_set_without_the_cue_is_the_same_but_for_the_frames(tmp_path):
    seen = collect(fake_config(tmp_path / "seen", episodes=2), open_fake_collector).store
    hidden = collect(fake_config(tmp_path / "hidden", episodes=2, hide_cue=True), open_fake_collector).store
    assert "hide_cue" not in seen.manifest["config"]
    assert hidden.manifest["config"]["hide_cue"] is True
    for seed in seen.seeds:
        first, twin = seen.episode(seed), hidden.episode(seed)
        np.testing.assert_array_equal(twin.actions, first.actions)
        np.testing.assert_array_equal(twin.states, first.states)
        assert (first.frames == 255).any(axis=(1, 2, 3, 4)).all()
        assert not (twin.frames == 255).any()
    pairs, twin_pairs = seen.counterfactuals(seen.seeds), hidden.counterfactuals(seen.seeds)
    np.testing.assert_array_equal(twin_pairs["frames"], pairs["frames_hidden"])
    np.testing.assert_array_equal(twin_pairs["frames_moved"], pairs["frames_moved"])


def test_counterfactuals_show_the_cue_moved_and_hidden(tmp_path):
    config = fake_config(tmp_path, history=3, counterfactuals_per_episode=4)
    collector = Collector(FakeEnv(8, ("agentview",)), FakeExpert(), config)
    episode, pairs = collector.collect(0)
    assert len(pairs["step"]) == 4
    env = FakeEnv(8, ("agentview",))
    for index, step in enumerate(pairs["step"]):
        window = np.maximum([step - 2, step - 1, step], 0)
        for age, past in enumerate(window):
            env.set_state(episode.states[past])
            np.testing.assert_array_equal(pairs["frames"][index, age], env.render_frames())
            env.set_cue_pose(pairs["cue_pose_moved"][index])
            np.testing.assert_array_equal(pairs["frames_moved"][index, age], env.render_frames())
            with env.cue_hidden():
                np.testing.assert_array_equal(pairs["frames_hidden"][index, age], env.render_frames())
        # The expert's copy is the one of that step, asked once: its own count of steps shows in the target.
        np.testing.assert_allclose(pairs["target_moved"][index, :3], pairs["cue_pose_moved"][index])
        assert pairs["target_moved"][index, 3] == pairs["target"][index, 3] == np.tanh((step + 1) / 100)
        assert episode.phase[step] == 0


def test_a_state_that_renders_otherwise_again_stops_everything(tmp_path, monkeypatch):
    set_state = FakeEnv.set_state
    monkeypatch.setattr(FakeEnv, "set_state", lambda self, state: set_state(self, np.append(state[:-1], 77)))
    with pytest.raises(RuntimeError, match="does not render to the recorded frame"):
        Collector(FakeEnv(8, ("agentview",)), FakeExpert(), fake_config(tmp_path)).collect(0)


def test_noise_moves_what_is_executed_and_not_the_label(tmp_path):
    quiet, noisy = (
        Collector(FakeEnv(8, ("agentview",)), FakeExpert(), fake_config(tmp_path, action_noise_m=sd)).collect(1)[0]
        for sd in (0.0, 0.05)
    )
    np.testing.assert_allclose(noisy.actions[:, :3] - quiet.actions[0, :3], 0.0, atol=1e-12)
    assert np.abs(noisy.eef_state[1] - quiet.eef_state[1]).max() > 1e-3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"task": "juggle"}, "unknown task 'juggle'; valid: "),
        ({"split": "test"}, "unknown split 'test'; valid: demonstrations, validation"),
        ({"image_size": 0}, "expected image_size of at least 1, got 0"),
        ({"workers": -1}, "expected workers of at least 0, got -1"),
        ({"action_noise_m": float("nan")}, "expected action_noise_m in"),
        ({"expert_variation": 1.5}, "expected expert_variation in 0..1, got 1.5"),
        ({"episodes": 0}, "got start 0 and count 0"),
        ({"seed_start": 10**6}, "got start 1000000 and count 6"),
    ],
)
def test_impossible_settings_are_refused(tmp_path, settings, message):
    with pytest.raises(UserError, match=message):
        fake_config(tmp_path, **settings)


def test_validation_seeds_lie_apart(tmp_path):
    assert fake_config(tmp_path, split="validation", seed_start=5, episodes=2).seeds == range(1_000_005, 1_000_007)


def test_where_and_with_how_many_workers_is_no_part_of_a_set(tmp_path):
    config = fake_config(tmp_path)
    assert dataclasses.replace(config, out="elsewhere", workers=7, episode_limit_s=9).identity() == config.identity()
    elsewhere = {"out", "workers", "episode_limit_s", *ENGINE_KEYS}
    names = {field.name for field in dataclasses.fields(CollectConfig)} - elsewhere
    assert set(config.identity()) == names - {"hide_cue", "expert_variation"}
    assert set(dataclasses.replace(config, hide_cue=True, expert_variation=0.5).identity()) == names


def test_the_manifest_holds_no_host_and_no_date(finished_set):
    store = EpisodeStore.open(finished_set)
    assert "host" not in store.manifest
    assert str(finished_set) not in (finished_set / "manifest.json").read_text()
    assert (finished_set / "host.json").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--help"], 0, "counterfactuals_per_episode=2"),
        (["task=lift"], 2, "missing out=..."),
        (["task=lift", "out=x", "epsodes=3"], 2, "did you mean 'episodes'"),
        (["task=juggle", "out=x"], 2, "valid: blink"),
        (["task=lift", "out=x", "episodes=many"], 2, "many"),
    ],
)
def test_the_command_line(arguments, code, text, capsys):
    assert main(arguments) == code
    captured = capsys.readouterr()
    assert text in captured.out + captured.err
    assert len(captured.err.splitlines()) == (code == 2)
