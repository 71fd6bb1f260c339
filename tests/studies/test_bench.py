"""The benchmark's rows, records and readers; nothing here is timed."""

import dataclasses
import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from smidgen.data_collection.store import EpisodeStore
from smidgen.envs.robosuite_tasks import LIFT
from smidgen.policies.standardise import STANDARDISERS
from smidgen.policies.transforms import TRANSFORMS
from smidgen.runtime.command_line import run_command
from smidgen.runtime.errors import UserError
from smidgen.training.windows import Windows
from studies.bench import benchmarks, loading, network, peers, simulation, tables
from studies.bench import check as check_bench
from studies.bench.__main__ import bench, run_benchmarks
from studies.bench.config import BenchConfig
from studies.bench.network import train_step
from studies.bench.record import Measurement, make_measurement, read_measurements, write_measurements
from studies.bench.timing import alternate
from tests.long_form import needs_long_form

ROOT = Path(__file__).resolve().parents[2]
FIELDS = {"name", "peer", "ours", "theirs", "unit", "ratio", "machine", "commit"}
SIZES = {
    "repeats": 1,
    "least_s": 0.0,
    "threads": 1,
    "batch_size": 2,
    "image_size": 16,
    "latency_calls": 2,
    "env_steps": 2,
    "demonstrations": 3,
    "batches": 2,
    "episodes": 1,
    "stock_episodes": 1,
}


def tiny(folder: Path, **changes: object) -> BenchConfig:
    return BenchConfig(**{"out": str(folder / "bench"), "scratch": str(folder / "scratch"), **SIZES, **changes})


@pytest.fixture
def no_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    for package in peers.PEERS:
        monkeypatch.setitem(peers.PEERS, package, "smidgen_has_no_such_peer")


def require_peer(package: str) -> None:
    if not peers.has_peer(package):
        pytest.skip(f"{package} is not installed: make bench installs it")


@pytest.mark.parametrize("name", ["train_step", "growth", "latency"])
def test_a_benchmark_without_its_peers_says_how_to_install_them(name: str, no_peers: None, tmp_path: Path) -> None:
    require_told_to_install_peers(name, tmp_path)


def require_told_to_install_peers(name: str, tmp_path: Path) -> list[Measurement]:
    rows = run_benchmarks(tiny(tmp_path, name=name))
    assert all(row.ours is not None and row.ours > 0 for row in rows if "cuda" not in row.name)
    for row in rows:
        if row.peer in peers.PEERS and "cuda" not in row.name:
            assert (row.theirs, row.ratio) == (None, None)
            assert peers.INSTALL_COMMAND in row.note
            assert row.meets("ratio >= 1") is None
    assert read_measurements(tmp_path / "bench" / f"{name}.json") == rows
    return rows


def test_a_record_is_a_list_of_rows_with_machine_and_commit(no_peers: None, tmp_path: Path) -> None:
    run_benchmarks(tiny(tmp_path, name="latency"))
    content = json.loads((tmp_path / "bench" / "latency.json").read_text())
    assert isinstance(content, list)
    assert all(set(row) >= FIELDS and row["machine"] and row["commit"] for row in content)


def test_transforms_has_a_row_for_every_entry_and_standardisation(
    no_peers: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (network.TRANSFORMS, network.STANDARDISERS) == (TRANSFORMS, STANDARDISERS)
    # Of each kind one: fixed, fitted, with parameters.
    monkeypatch.setattr(network, "TRANSFORMS", ["dft3d", "zca", "patches"])
    monkeypatch.setattr(network, "STANDARDISERS", ["none", "token"])
    rows = run_benchmarks(tiny(tmp_path, name="transforms"))
    assert [row.name for row in rows] == [
        f"transforms: {transform}, standardised after: {after}"
        for transform in ("dft3d", "zca", "patches")
        for after in ("none", "token")
    ]
    assert all(row.ours > 0 for row in rows)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_row_names_the_command(no_peers: None, tmp_path: Path) -> None:
    (row,) = [row for row in train_step(tiny(tmp_path)) if "cuda" in row.name]
    assert "make bench BENCH=train_step" in row.note


def test_an_unknown_name_or_size_is_the_users_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(bench, ["name=train_stp", f"out={tmp_path}"]) == 2
    message = capsys.readouterr().err
    assert "did you mean 'train_step'" in message
    assert all(name in message for name in benchmarks.BENCHMARKS)
    assert run_command(bench, ["repeats=0"]) == 2
    assert "repeats" in capsys.readouterr().err


def test_help_lists_the_benchmarks(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(bench, ["--help"]) == 0
    help_text = capsys.readouterr().out
    assert all(name in help_text for name in benchmarks.BENCHMARKS)


def test_the_command_prints_the_table_and_writes_record_and_page(
    no_peers: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, sizes = tmp_path / "page.md", [f"{key}={value}" for key, value in SIZES.items()]
    page.write_text("before\n<!-- benchmark table: begin -->\nold\n<!-- benchmark table: end -->\nafter\n")
    out = tmp_path / "bench"
    assert run_command(bench, ["name=latency", f"out={out}", f"page={page}", *sizes]) == 0
    output = capsys.readouterr().out
    assert "latency: one observation, one thread, p99" in output
    text = page.read_text()
    assert text.startswith("before")
    assert text.endswith("after\n")
    assert "old" not in text
    assert tables.markdown_table(tables.stored_measurements(out)) in text


def test_a_page_without_markers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected a page"):
        tables.update_page(tmp_path / "none.md", tmp_path)


def test_the_committed_page_is_computed_from_the_committed_records() -> None:
    text = (ROOT / "docs" / "benchmarks.md").read_text()
    rows = tables.stored_measurements(ROOT / "results" / "bench")
    assert tables.markdown_table(rows) in text, "run: make bench"
    assert all(f"`{name}`" in text for name in benchmarks.BENCHMARKS)


def test_a_ratio_says_how_many_times_better_ours_is() -> None:
    assert make_measurement("time", "ms", 10.0, 50.0).ratio == 5.0
    assert make_measurement("rate", "/s", 50.0, 10.0, more_is_better=True).ratio == 5.0
    assert make_measurement("alone", "ms", 10.0).ratio is None


def test_conditions_are_met_or_missed_or_open() -> None:
    row = make_measurement("time", "ms", 10.0, 50.0)
    assert row.meets("ratio >= 5") is True
    assert row.meets("ours <= 9") is False
    assert row.meets("") is None
    with pytest.raises(UserError, match="condition"):
        row.meets("theirs > 3")


def test_a_file_that_holds_no_rows_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    row = make_measurement("time", "ms", 10.0)
    write_measurements(path, [row])
    assert read_measurements(path) == [row]
    path.write_text(json.dumps([{**dataclasses.asdict(row), "colour": "red"}]))
    with pytest.raises(UserError, match=r"rows\.json"):
        read_measurements(path)


def test_contestants_take_turns() -> None:
    calls: list[str] = []
    alternate({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, repeats=2, least_s=0.0)
    assert calls == ["a", "a", "b", "b", "a", "b", "a", "b"]


@pytest.mark.parametrize("finished_s", [[10.0, 11.0, 12.0, 13.0, 14.0, 15.0]])
def test_the_collection_rate_leaves_the_start_up_out(finished_s: list[float]) -> None:
    rate, startup_s = simulation.steady_rate(finished_s, workers=2, wall_s=15.0)
    assert rate == 1.0
    assert startup_s == pytest.approx(9.0)


def test_the_memory_of_a_step_is_taken_in_a_process_of_its_own(no_peers: None, tmp_path: Path) -> None:
    small = require_told_to_install_peers("train_memory", tmp_path)[0]
    large = benchmarks.BENCHMARKS["train_memory"](tiny(tmp_path, batch_size=16, image_size=64))[0]
    assert small.ours is not None
    assert large.ours is not None
    assert large.ours > small.ours + 1.0


@pytest.mark.parametrize("name", peers.NETWORKS)
def test_all_networks_predict_the_same_shape(name: str) -> None:
    if name != peers.OURS:
        require_peer(name)
    step = peers.TrainingStep(name, batch_size=2, image_size=8)
    step()
    assert step.predict().shape == (2, peers.HORIZON, peers.ACTION_FEATURES)


def test_a_check_takes_no_more_memory_for_a_longer_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_bench, "NUM_STEPS", 5)
    monkeypatch.setattr(check_bench, "NUM_EPISODES", 10)
    monkeypatch.setattr(check_bench, "LONGER", 8)
    beyond, memory = benchmarks.BENCHMARKS["check"](tiny(tmp_path))
    assert 0 < beyond.ours < 60
    assert memory.ours < 1.1


def test_install_list_holds_every_peer() -> None:
    pinned = (ROOT / "install" / "bench.txt").read_text()
    assert all(f"\n{package}==" in pinned for package in peers.PEERS)


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> BenchConfig:
    config = tiny(tmp_path_factory.mktemp("bench"))
    plain = simulation.collect
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulation, "collect", lambda config: plain(dataclasses.replace(config, workers=0)))
        simulation.demonstrations(config)
    return config


@pytest.mark.simulator
@pytest.mark.usefixtures("kept_simulators")
def test_the_hdf5_peer_reads_the_same_windows(collected: BenchConfig, tmp_path: Path) -> None:
    require_peer("h5py")
    store = EpisodeStore.open(simulation.demonstrations(collected))
    data = Windows(store, store.training_seeds, peers.NUM_FRAMES, peers.HORIZON)
    peer = loading.SequenceFile(loading.write_hdf5(store, tmp_path / "set.hdf5"), peers.NUM_FRAMES, peers.HORIZON)
    assert len(peer) == len(data)
    ours = data.gather(np.arange(len(data)))
    for index in range(len(data)):
        item = peer[index]
        np.testing.assert_array_equal(item[f"obs/{LIFT.cameras[0]}_image"], ours.frames_BTHWC[index])
        np.testing.assert_array_equal(item["actions"], ours.targets_BHA[index])


@pytest.mark.simulator
@pytest.mark.usefixtures("kept_simulators")
def test_windows_are_counted_with_and_without_the_peer(collected: BenchConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(peers.PEERS, "h5py", "smidgen_has_no_such_peer")
    warm, cold, waiting = loading.windows(collected)
    assert "h5py is not installed" in warm.note
    assert cold.ours is not None
    assert waiting.unit == "%"


# Answers as robomimic's process does, without robomimic.
FAKE_ROBOMIMIC = """#!/bin/sh
echo 0.0.1
while read line; do echo done; done
"""


@pytest.mark.simulator
@pytest.mark.usefixtures("kept_simulators")
def test_windows_are_read_by_robomimic_where_it_is(collected: BenchConfig, tmp_path: Path) -> None:
    require_peer("h5py")
    python = tmp_path / "python"
    absent = dataclasses.replace(collected, robomimic=str(python))
    rows = loading._reading_rows(absent, EpisodeStore.open(simulation.demonstrations(absent)))
    assert {row.peer for row in rows} == {loading.STAND_IN}
    assert all(f"robomimic is not in {python}" in row.note and row.theirs for row in rows)
    python.write_text(FAKE_ROBOMIMIC)
    python.chmod(0o755)
    rows = loading._reading_rows(absent, EpisodeStore.open(simulation.demonstrations(absent)))
    assert {(row.peer, row.note) for row in rows} == {("robomimic 0.0.1's SequenceDataset", "")}
    python.write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(UserError, match="robomimic's process ended"):
        loading._reading_rows(absent, EpisodeStore.open(simulation.demonstrations(absent)))


@pytest.mark.simulator
@pytest.mark.usefixtures("kept_simulators")
@pytest.mark.slow
@needs_long_form()
def test_simulation_benchmarks_give_rows(tmp_path: Path) -> None:
    """In processes of their own: that our environment steps beside the stock one in this process is tested below."""
    for name in ("env_step", "collect"):
        rows: list[Measurement] = run_benchmarks(tiny(tmp_path, name=name))
        assert all(row.ours is not None and row.ours >= 0 for row in rows)


def in_this_process() -> AbstractContextManager[Callable[..., Any]]:
    """Stands for a worker process."""
    return nullcontext(lambda function, *arguments: function(*arguments))


@pytest.mark.simulator
@pytest.mark.usefixtures("kept_simulators")
def test_steps_beside_the_stock_environment_give_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation, "worker", in_this_process)
    (row,) = run_benchmarks(tiny(tmp_path, name="env_step"))
    assert row.ours > 0
    assert row.theirs > 0


@pytest.mark.simulator
@pytest.mark.usefixtures("kept_simulators")
@pytest.mark.slow
def test_the_evaluation_runs_over_both_simulators(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, of short stock episodes."""
    plain = simulation.evaluate
    monkeypatch.setattr(simulation, "worker", in_this_process)
    monkeypatch.setattr(simulation, "evaluate", lambda config: plain(dataclasses.replace(config, workers=0)))
    monkeypatch.setattr(simulation, "FIRST_EPISODES", 1)
    for name in ("LIFT", "PICK_PLACE_CAN"):
        monkeypatch.setattr(simulation, name, dataclasses.replace(getattr(simulation, name), horizon=10))
    rows = run_benchmarks(tiny(tmp_path, name="evaluation", stock_episodes=1, image_size=32))
    assert [row.name for row in rows] == [
        f"evaluation: 200 {title} episodes of one checkpoint, extrapolated" for title in ("Lift", "PickPlaceCan")
    ]
    assert all(row.ratio is not None for row in rows)
