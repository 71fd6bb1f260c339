"""The first round's suite in its smoke form: records, skipping, interruption, another plan."""

import dataclasses
import json
from pathlib import Path

import pytest

from smidgen.experiments.suite import SuiteConfig, suite
from smidgen.runtime.command_line import run_command
from smidgen.runtime.errors import UserError
from studies.first_round import jobs
from studies.first_round.forms import build_form
from studies.first_round.plan_file import first_difference, settle_plan
from studies.first_round.records import read_suite
from studies.first_round.suite import jobs_of, load_form, run_suite, status

SUITE = "studies.first_round:ROUND_ONE"


def config(folder: Path, **changes: object) -> SuiteConfig:
    settings = {"out": str(folder / "out"), "scratch": str(folder / "scratch"), "workers": 0}
    return SuiteConfig(suite=SUITE, form="smoke", **{**settings, **changes})  # type: ignore[arg-type]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.json"))}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("suite")
    run_suite(config(folder))
    return folder


def test_every_arm_has_a_valid_record(finished: Path) -> None:
    form = build_form("smoke")
    read = read_suite(finished / "out")
    assert set(read.arms) == set(form.arms)
    assert read.plan == form.plan
    for record in read.arms.values():
        assert [run.seed for run in record.seeds] == list(form.plan.seeds)


def test_choices_name_the_candidates(finished: Path) -> None:
    form = build_form("smoke")
    arms = read_suite(finished / "out").arms
    for slow, fast in form.rivals.items():
        for chosen in arms[slow].choices.values():
            assert set(chosen.values()) <= {slow, fast}
    assert sum(bool(record.choices) for record in arms.values()) == len(form.rivals) > 0


def test_a_second_run_trains_nothing(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = files(finished)

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(jobs, "train_side_by_side", refuse)
    run_suite(config(finished))
    assert files(finished) == before


def test_killed_anywhere_and_resumed_gives_the_same_bytes(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dies once in the middle of each training; what a run had reached is taken up."""
    monkeypatch.setattr("studies.ladder.side_by_side.SAVE_EVERY_S", 0.0)
    deaths = _die_once_per_run(monkeypatch)
    for _ in range(100):
        try:
            run_suite(config(tmp_path))
            break
        except KeyboardInterrupt:
            continue
    assert len(deaths) == 2 * len(build_form("smoke").arms)
    assert files(tmp_path / "out") == files(finished / "out")


def _die_once_per_run(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Makes each run's save, once the state is on the disk, end the process's work the third time."""
    from studies.ladder.side_by_side import SideBySide

    saves: dict[Path, int] = {}
    deaths: list[Path] = []
    save = SideBySide.save

    def save_and_die(self: SideBySide, path: Path) -> None:
        save(self, path)
        saves[path] = saves.get(path, 0) + 1
        if saves[path] == 3:
            deaths.append(path)
            raise KeyboardInterrupt

    monkeypatch.setattr(SideBySide, "save", save_and_die)
    return deaths


def test_workers_give_the_same_bytes(finished: Path, tmp_path: Path) -> None:
    run_suite(config(tmp_path, workers=1, arms=("raw", "dft1d")))
    for name in ("raw", "dft1d"):
        record = Path("arms") / f"{name}.json"
        assert (tmp_path / "out" / record).read_bytes() == (finished / "out" / record).read_bytes()


def test_status_counts_what_is_done(finished: Path, tmp_path: Path) -> None:
    total = len(build_form("smoke").arms)
    assert status(config(finished)).startswith(f"{total} of {total} arms done")
    assert status(config(tmp_path)).startswith(f"0 of {total} arms done")
    assert not list(tmp_path.iterdir())


def test_a_plan_is_rewritten_only_while_nothing_was_run(finished: Path, tmp_path: Path) -> None:
    plan = build_form("smoke").plan
    other = dataclasses.replace(plan, seeds=(5, 6))
    assert settle_plan(other, tmp_path) == other
    assert settle_plan(plan, tmp_path) == plan
    assert json.loads((tmp_path / "plan.json").read_bytes()) == plan.to_json()
    (tmp_path / "arms").mkdir()
    (tmp_path / "arms" / "raw.json").write_bytes((finished / "out" / "arms" / "raw.json").read_bytes())
    assert settle_plan(plan, tmp_path) == plan
    with pytest.raises(UserError, match=r"differs from it in seeds: .* move .* away"):
        settle_plan(other, tmp_path)
    assert json.loads((tmp_path / "plan.json").read_bytes()) == plan.to_json()


def test_a_field_gained_since_is_no_departure_at_its_default() -> None:
    """Classes grow while a suite runs for hours; what was settled stays settled unless an arm means something else."""
    plan = build_form("smoke").plan
    raw = plan.arms["raw"]
    older = dataclasses.replace(raw, network={k: v for k, v in raw.network.items() if k != "num_bands"})
    assert first_difference(dataclasses.replace(plan, arms={**plan.arms, "raw": older}), plan) == ""
    changed = dataclasses.replace(raw, network={**raw.network, "num_bands": 3})
    now = dataclasses.replace(plan, arms={**plan.arms, "raw": changed})
    assert first_difference(dataclasses.replace(plan, arms={**plan.arms, "raw": older}), now) == "arms.raw"
    assert first_difference(plan, now) == "arms.raw"
    assert first_difference(now, plan) == "arms.raw"
    fewer = dataclasses.replace(plan, claims={})
    assert first_difference(plan, fewer) == first_difference(fewer, plan) == "claims.C1"


def test_users_mistakes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(suite, [f"suite={SUITE}", "arms=[rwa]", "form=smoke"]) == 2
    assert "did you mean 'raw'" in capsys.readouterr().err
    assert run_command(suite, [f"suite={SUITE}", "form=smoky"]) == 2
    assert "did you mean 'smoke'" in capsys.readouterr().err
    assert run_command(suite, ["suite=claims"]) == 2
    assert "expected suite=MODULE:NAME" in capsys.readouterr().err
    with pytest.raises(UserError, match="workers"):
        config(tmp_path, workers=-1)


def test_an_arm_named_twice_runs_once() -> None:
    assert SuiteConfig(suite=SUITE, arms=("raw", "dft1d", "raw")).arms == ("raw", "dft1d")


def test_cheap_arms_come_first() -> None:
    form = load_form(SuiteConfig(suite=SUITE))
    jobs_in_order = jobs_of(form, form.plan, SuiteConfig(suite=SUITE))
    lengths = [job.arm.data.num_tokens for job in jobs_in_order]
    assert lengths[0] == 256
    assert lengths[-1] == 49_152
