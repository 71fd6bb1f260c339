"""The second round as a suite: workers, interruptions, how far it is, and mistakes of its user."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from smidgen.experiments.job_notes import noted
from smidgen.experiments.jobs import take_job
from smidgen.experiments.suite import SuiteConfig, suite
from smidgen.runtime.command_line import run_command
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import directory_lock
from studies.claims.jobs import open_jobs
from tests.long_form import long_form
from tests.studies.small_round import SMALL_ROUND, small_plan


def config(folder: Path, **changes: Any) -> SuiteConfig:
    places = {"out": str(folder / "out"), "scratch": str(folder / "scratch"), "workers": 0}
    return SuiteConfig("tests.studies.small_round:SMALL_ROUND", **{**places, **changes})


def files(folder: Path) -> dict[str, bytes]:
    found = (path for path in (folder / "out").rglob("*") if path.is_file() and path.name != "costs.csv")
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    SMALL_ROUND.run(config(folder))
    return folder


def test_workers_change_no_byte(finished: Path, tmp_path: Path) -> None:
    SMALL_ROUND.run(config(tmp_path, workers=long_form(2, 1)))
    assert files(tmp_path) == files(finished)


def test_the_round_says_how_far_it_is(finished: Path, tmp_path: Path) -> None:
    begun = SMALL_ROUND.snapshot(config(tmp_path))
    # The three rates of the search, and two blocks that wait for it.
    assert (begun.num_done, begun.num_left, begun.num_unknown) == (0, 5, 5)
    place = SMALL_ROUND.place(config(tmp_path))
    first = take_job(open_jobs(small_plan(), place))
    assert first is not None
    after = SMALL_ROUND.snapshot(config(tmp_path))
    assert (after.num_done, after.num_left, after.num_unknown) == (1, 4, 0)
    second = next(open_jobs(small_plan(), place))
    with directory_lock(second.scratch), noted(second.scratch, second.label):
        assert [note.label for note in SMALL_ROUND.snapshot(config(tmp_path)).running] == [second.label]
    only_slow = SMALL_ROUND.snapshot(config(tmp_path, arms=("slow",)))
    assert (only_slow.num_done, only_slow.num_left) == (1, 3)
    assert SMALL_ROUND.snapshot(config(finished)).is_over


def test_interruptions_change_no_byte(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("studies.claims.round_two.outcome_line", die)
        for _ in range(3):
            with pytest.raises(KeyboardInterrupt):
                SMALL_ROUND.run(config(tmp_path))
            # As a process that was killed leaves it; the job's next run removes it.
            (tmp_path / "out" / "runs" / "slow" / ".partial-a-0.01.json-1").write_bytes(b"half")
    assert SMALL_ROUND.status(config(tmp_path)).startswith("0 of 2 arms done")
    SMALL_ROUND.run(config(tmp_path))
    assert files(tmp_path) == files(finished)


def test_a_finished_suite_trains_nothing(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = files(finished)
    monkeypatch.delattr("studies.claims.jobs.run_block")
    SMALL_ROUND.run(config(finished))
    assert files(finished) == before


def test_status_counts_what_is_done_and_writes_nothing(finished: Path, tmp_path: Path) -> None:
    assert SMALL_ROUND.status(config(tmp_path)).startswith("0 of 2 arms done")
    assert not list(tmp_path.iterdir())
    assert SMALL_ROUND.status(config(finished)).startswith("2 of 2 arms done")
    assert "1/1 blocks  fast: rate" in SMALL_ROUND.status(config(finished))


def test_users_mistakes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    places = [f"out={tmp_path}", f"scratch={tmp_path}"]
    assert run_command(suite, ["suite=tests.studies.small_round:SMALL_ROUND", "arms=[slwo]", *places]) == 2
    assert "did you mean 'slow'" in capsys.readouterr().err
    assert run_command(suite, ["suite=claims"]) == 2
    assert "expected suite=MODULE:NAME" in capsys.readouterr().err
    with pytest.raises(UserError, match="workers"):
        config(tmp_path, workers=-1)
    assert config(tmp_path, arms=("slow", "fast", "slow")).arms == ("slow", "fast")
