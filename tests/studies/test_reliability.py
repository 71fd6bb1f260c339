"""The page on reliability: every test that it names exists, and its figures are those of the records."""

import ast
import json
import re
from pathlib import Path

import pytest

from smidgen.envs.pixel_watch import max_unseen_move_m
from smidgen.envs.tasks import TASKS
from smidgen.runtime.errors import UserError
from smidgen.runtime.schemas import to_json
from studies.reliability.__main__ import BLOCKS, main, page_with_figures
from studies.reliability.kills import CommandRecord, Count, FaultsRecord
from studies.reliability.pixel_faults import FAULTS
from studies.reliability.pixels import InjectedFault, PixelsConfig
from studies.reliability.record import Cost, Noticed, PixelsRecord, Viewed, Watched, read_pixels_record
from tests.fuzz.campaign import Tally

ROOT = Path(__file__).parents[2]
PAGE, RECORDS = ROOT / "docs" / "reliability.md", ROOT / "results" / "reliability"
TEXT = PAGE.read_text(encoding="utf-8")
NAMED_TESTS = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", TEXT)


def test_every_test_that_the_page_names_exists() -> None:
    assert len(NAMED_TESTS) > 50
    missing = []
    for path, name in NAMED_TESTS:
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8")) if (ROOT / path).is_file() else ast.Module([], [])
        if name not in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}:
            missing.append(f"{path}::{name}")
    assert not missing


def test_every_row_of_promises_names_a_test() -> None:
    rows = [line for line in TEXT.splitlines() if line.startswith("| ") and "`tests/" not in line]
    sections = re.split(r"<!-- \w+:begin -->.*?<!-- \w+:end -->", TEXT, flags=re.DOTALL)
    promised = [line for part in sections for line in part.splitlines() if line in rows]
    assert set(promised) == {"| promise | tests |", "| --- | --- |"}


def test_the_figures_are_those_of_the_records() -> None:
    assert page_with_figures(str(PAGE), str(RECORDS)) == TEXT


def test_a_record_that_is_missing_is_said_so_with_its_command(tmp_path: Path) -> None:
    text = page_with_figures(str(PAGE), str(tmp_path))
    assert text.count("Not run yet") == len(BLOCKS)
    for _, _, command in BLOCKS.values():
        assert f"the command is `{command}`" in text
        assert command in TEXT


def test_a_page_that_drifted_is_named_and_a_record_changes_it(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    page, records = tmp_path / "page.md", tmp_path / "records"
    records.mkdir()
    page.write_text(TEXT)
    record = PixelsRecord(
        version=1,
        machine="abacus",
        commit="c0ffee",
        image_size=64,
        limit_m=0.01,
        tasks={"lift": Watched({"expert": 2, "noop": 1}, 222, 1, 0.00123)},
        views=(Viewed("lift", ("front", "back"), 32, 0.02, Watched({"expert": 1}, 9, 0, 0.004)),),
        faults={"gone": Noticed(3, 2, 0, 7)},
        cost=Cost(watch_us=10.0, confirm_ms=7.0, step_ms=8.0, steps=100, episodes=1),
    )
    (records / "pixels.json").write_text(json.dumps(to_json(record)))
    assert read_pixels_record(str(records / "pixels.json")) == record
    assert main([f"page={page}", f"records={records}", "check=true"]) == 2
    assert "out of date with the records" in capsys.readouterr().err
    assert page.read_text() == TEXT
    assert main([f"page={page}", f"records={records}"]) == 0
    written = page.read_text()
    assert "**1 false alarms in 3 sound episodes** (222 frames" in written
    assert "| `lift`: `front`, `back` | 32 x 32 | 1 | 0 | 4.00 mm | 20 mm |" in written
    assert "| gone | 3 | 2 | 7 | 0 | 1 |" in written
    assert "The watch takes 0.1% of a control step (10 µs of 8.0 ms, frame included)" in written
    assert "as long as 0.9 steps" in written
    assert "`c0ffee` on abacus" in written
    assert main([f"page={page}", f"records={records}", "check=true"]) == 0


def test_kills_and_hostile_input_are_counted_by_command_and_reader(tmp_path: Path) -> None:
    blows = (Count(signal="SIGKILL", target="parent", count=3, before_output=1),)
    collect = CommandRecord(
        kills=3,
        stops=1,
        replaced=1,
        starts=5,
        runs_with_undisturbed_bytes=2,
        files_compared=17,
        workers_left_behind=0,
        undisturbed_wall_s=9.0,
        blows=blows,
    )
    kills = FaultsRecord(
        version=1,
        form="long",
        seed=4,
        machine="abacus",
        commit="c0ffee",
        kills=3,
        stops=1,
        commands={"collect": collect},
    )
    tally = Tally(
        inputs=10_000, refused=9_000, accepted=999, slowest_ms=12.3, memory_growth_mib=4, faults=((7, "hung"),)
    )
    fuzz = {"form": "long", "complete": False, "machine": "abacus", "readers": {"manifest": tally.to_json()}}
    (tmp_path / "kills.json").write_text(json.dumps(to_json(kills)))
    (tmp_path / "fuzz.json").write_text(json.dumps(fuzz))
    text = page_with_figures(str(PAGE), str(tmp_path))
    assert "| `collect` | 3 | 1 | 1 | 5 | 2 | 17 | 0 |" in text
    assert "3 kills and 1 hangs, `form=long seed=4`. Measured: `c0ffee` on abacus." in text
    assert "**Not complete**: 10,000 inputs, `form=long` so far" in text
    assert "| manifest | 10,000 | 9,000 | 999 | 1 | 12 ms | 4 MiB |" in text


def test_damaged_records_and_pages_are_named(tmp_path: Path) -> None:
    (tmp_path / "pixels.json").write_text('{"version": 7}')
    with pytest.raises(UserError, match=r"pixels\.json: field version: expected 1"):
        page_with_figures(str(PAGE), str(tmp_path))
    with pytest.raises(UserError, match="run from the repository's root"):
        page_with_figures(str(tmp_path / "none.md"), str(RECORDS))


def test_the_watch_is_calibrated() -> None:
    record = read_pixels_record(str(RECORDS / "pixels.json"))
    assert set(record.tasks) == set(TASKS)
    assert set(record.faults) == set(FAULTS)
    assert record.limit_m == max_unseen_move_m((record.image_size, record.image_size))
    for name, task in record.tasks.items():
        assert task.alarms == 0, name
        assert {"expert", "noop", "creep"} <= {policy for policy, count in task.episodes.items() if count}, name
        assert task.largest_unseen_move_m < record.limit_m / 2, name
    assert {view.image_size for view in record.views} >= {1, 16, 32, 128}
    for view in record.views:
        assert view.watched.alarms == 0, view
        assert view.limit_m is None or view.watched.largest_unseen_move_m < view.limit_m / 2, view
    for name, fault in record.faults.items():
        assert fault.injected >= 3, name
        assert fault.by_the_watch + fault.at_the_end == fault.injected, name
    assert record.cost.watch_share < 0.01


def test_a_fault_that_nobody_notices_is_counted_as_kept() -> None:
    class Env:
        """Draws whatever happens."""

        frames = 0

        @property
        def unwrapped(self) -> "Env":
            return self

        def render_frames(self) -> None:
            self.frames += 1

    env, broken = Env(), []
    fault = InjectedFault(broken.append)
    for _ in range(10):
        fault.capture(env)
    assert broken == [env]
    assert (fault.num_wrong, fault.was_stopped, env.frames) == (4, False, 10)


def test_settings_are_checked() -> None:
    with pytest.raises(UserError, match="unknown part 'task'"):
        PixelsConfig(parts=("task",))
    with pytest.raises(UserError, match="unknown task"):
        PixelsConfig(fault_task="juggle")
