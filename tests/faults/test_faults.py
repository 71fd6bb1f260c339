"""Commands that are killed, hang, find the disk full or somebody else at work; the harness's long form in miniature."""

import contextlib
import functools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from smidgen.data_collection.collect import collect_episode
from smidgen.leaderboard.command import leaderboard
from smidgen.runtime.command_line import run_command
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import directory_lock, write_json_atomic
from smidgen.runtime.schemas import to_json
from studies.reliability.kills import read_faults_record, record_json
from tests.experiments.small_commands import COMMANDS, PROGRAM
from tests.faults.campaign import Blow, Campaign, Progress, Undisturbed
from tests.faults.commands import Command, differences, products, smidgen_commands
from tests.faults.counts import faults_record
from tests.faults.process import CommandFailed
from tests.long_form import long_form, needs_long_form

pytestmark = pytest.mark.slow
NAMES = ("collect", "train", "evaluate", "suite")


def small(name: str) -> Command:
    # One collects beside a worker that hangs; to be killed, one worker will do.
    workers = "2" if name == "collect" else "1"
    return Command(
        lambda folder: [str(PROGRAM), name, str(folder), workers], True, lambda limit_s: [f"limit={limit_s}"]
    )


@pytest.fixture(scope="module")
def campaigns(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Campaign]:
    """A campaign per command, its undisturbed run made when it is first asked for."""
    folder = tmp_path_factory.mktemp("faults")
    made: dict[str, Campaign] = {}

    class OnDemand(dict[str, Campaign]):
        def __missing__(self, name: str) -> Campaign:
            return made.setdefault(name, Campaign(name, small(name), folder / name, 1, lambda line: None))

    return OnDemand()


@pytest.fixture(scope="module")
def undisturbed_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder that a command leaves, run in this process when it is first asked for."""

    @functools.cache
    def undisturbed_of(name: str) -> Path:
        folder = tmp_path_factory.mktemp(name)
        with contextlib.chdir(folder):
            COMMANDS[name](folder / "undisturbed", workers=0)
        return folder / "undisturbed"

    return undisturbed_of


# Trainings and evaluations are killed in the tests beside them, and a suite is a grid of the others' jobs.
@pytest.mark.parametrize("name", long_form(NAMES, ("collect",)))
def test_killed_again_and_again_it_ends_in_the_undisturbed_bytes(name: str, campaigns: dict[str, Campaign]) -> None:
    progress = campaigns[name].kill(1)
    assert progress.num_kills() >= 1
    assert progress.finished >= 1
    assert len(progress.undisturbed.products) > 3
    assert not any(blow.left_behind for blow in progress.blows)


def test_a_hanging_worker_is_replaced_and_changes_no_byte(campaigns: dict[str, Campaign]) -> None:
    # A worker that is stopped with nothing left to do is not missed, so one stop may replace nobody.
    for num_stops in range(1, 6):
        progress = campaigns["collect"].stop(num_stops, limit_s=4.0)
        assert progress.num_stops() == num_stops
        if progress.replaced:
            break
    assert progress.replaced >= 1


# That each locks what it writes is tested in this process below, and beside it.
@needs_long_form()
@pytest.mark.parametrize("name", ["train", "evaluate", "suite"])
def test_two_at_once_do_the_work_once(name: str, campaigns: dict[str, Campaign], tmp_path: Path) -> None:
    undisturbed = campaigns[name].progress.undisturbed.products
    command = [sys.executable, PROGRAM, name, tmp_path / "run", "0"]
    both = [subprocess.Popen(command, cwd=campaigns[name].folder, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    complaints = [process.communicate(timeout=120)[1] for process in both]
    codes = [process.returncode for process in both]
    # Both, if one was done before the other looked.
    assert sorted(codes) in ([0, 0], [0, 2]), complaints
    for code, complaint in zip(codes, complaints, strict=True):
        if code:
            assert "error: another command is writing to" in complaint
            assert len(complaint.splitlines()) == 1
    assert differences(products(tmp_path / "run"), undisturbed) == []


def test_two_leaderboards_at_once_write_what_one_writes(undisturbed_of: Callable[[str], Path], tmp_path: Path) -> None:
    results = undisturbed_of("evaluate") / "results"
    for name in ("one", "two"):
        shutil.copytree(results, tmp_path / name / "results")
    assert run_command(leaderboard, [f"results={tmp_path / 'one' / 'results'}"]) == 0
    command = [sys.executable, "-m", "smidgen.leaderboard.command", f"results={tmp_path / 'two' / 'results'}"]
    both = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert products(tmp_path / "two") == products(tmp_path / "one")


def test_a_training_holds_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with directory_lock(tmp_path / "run"), pytest.raises(UserError, match="another command is writing to"):
        COMMANDS["train"](tmp_path / "run", workers=0)
    assert not list((tmp_path / "run").glob("*.json"))


def test_an_episode_whose_worker_died_before_it_could_say_so_is_taken_as_it_is(tmp_path: Path) -> None:
    from collection_fakes import fake_config, open_fake_collector

    config = fake_config(tmp_path)
    header, row, _ = collect_episode(1, config, open_fake_collector, None)
    before = products(tmp_path)
    assert collect_episode(1, config, open_fake_collector, None)[:2] == (header, row)
    assert products(tmp_path) == before


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of four megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "none", place]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"to mount a file system takes root's rights: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def fill(place: Path, room_bytes: int) -> Path:
    """Leaves so much room; returns the file that takes up the rest."""
    ballast = place / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    os.truncate(ballast, ballast.stat().st_size - room_bytes)
    return ballast


# As above: a suite's jobs write as the others do.
@pytest.mark.parametrize("name", long_form(NAMES, ("collect", "train", "evaluate")))
def test_a_full_disk_is_one_line_and_loses_nothing(
    name: str, undisturbed_of: Callable[[str], Path], small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full at once, after a few files, and later; each time with a little more room."""
    undisturbed = products(undisturbed_of(name))
    monkeypatch.chdir(undisturbed_of(name).parent)
    folder, complaints = small_disk / "run", []
    for room_bytes in (0, 8_192, 40_960):
        ballast = fill(small_disk, room_bytes)
        try:
            COMMANDS[name](folder, workers=0)
        except UserError as error:
            complaints.append(str(error))
        ballast.unlink()
    assert len(complaints) >= 2
    assert all("no space left on disk" in complaint for complaint in complaints)
    COMMANDS[name](folder, workers=0)
    assert differences(products(folder), undisturbed) == []


WITHOUT_RIGHTS = """
import sys
from smidgen.data_collection.collect import main as collect
from smidgen.evaluation.evaluate import main as evaluate
from smidgen.leaderboard.command import leaderboard
from smidgen.experiments.suite import suite
from smidgen.runtime.command_line import run_command
from smidgen.training.train import _body as train

folder, demos = sys.argv[1:]
small_round = "suite=tests.studies.small_round:SMALL_ROUND"
network = ["num_latents=4", "latent_dim=8", "num_heads=2", "num_layers=1"]
codes = [
    collect([f"out={folder}/set", "task=lift", "episodes=1"]),
    run_command(train, [f"out={folder}/run", f"demos={demos}", *network]),
    evaluate([f"out={folder}/results", "policy=noop", "episodes=1"]),
    run_command(suite, [small_round, f"out={folder}/suite", f"scratch={folder}/scratch"]),
    run_command(leaderboard, [f"results={folder}/there", f"csv={folder}/table.csv"]),
]
print(codes)
"""
# From the next program on, permissions bind root as they bind anybody; nobody else has these rights anyway.
GIVE_UP_ROOTS_RIGHTS = """
import ctypes, os, sys
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2
for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
    ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def test_a_directory_that_may_not_be_written_is_one_line_of_each_command(
    undisturbed_of: Callable[[str], Path], tmp_path: Path
) -> None:
    box, demos = tmp_path / "box", undisturbed_of("train").parent / "dots"
    shutil.copytree(undisturbed_of("evaluate") / "results", box / "there")
    box.chmod(0o555)
    try:
        done = subprocess.run(
            [sys.executable, "-c", GIVE_UP_ROOTS_RIGHTS, "-c", WITHOUT_RIGHTS, box, demos],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            cwd=tmp_path,
            # Where the suite is.
            env={**os.environ, "PYTHONPATH": str(PROGRAM.parents[2])},
        )
    finally:
        box.chmod(0o755)
    assert done.stdout == "[2, 2, 2, 2, 2]\n", done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 5
    assert all("cannot write" in line and "choose another directory" in line for line in lines), lines
    assert [path.name for path in box.iterdir()] == ["there"]


def fails_unless(expected: str) -> Command:
    """Writes what differs each time, or ends badly, as asked."""
    code = {
        "same": "import pathlib, sys, time; pathlib.Path(sys.argv[1], 'x').write_text(str(time.time_ns()))",
        "well": "import sys; sys.exit(3)",
    }[expected]
    return Command(lambda folder: ["-c", code, str(folder)], has_workers=False)


def test_the_harness_notices_other_bytes_and_bad_ends(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match=r"run-0 differs from the undisturbed run in x"):
        Campaign("same", fails_unless("same"), tmp_path / "same", 0, lambda line: None).kill(1)
    with pytest.raises(CommandFailed, match="exit code 3, expected 0"):
        Campaign("well", fails_unless("well"), tmp_path / "well", 0, lambda line: None)


def test_a_record_counts_what_was_done_and_can_be_read(tmp_path: Path) -> None:
    blows = (
        Blow(0, "SIGKILL", "parent", 1.0, before_output=True),
        Blow(0, "SIGKILL", "parent", 2.0, before_output=False, left_behind=1),
        Blow(1, "SIGTERM", "worker", 2.0, before_output=False),
        Blow(2, "SIGSTOP", "worker", 2.0, before_output=False),
    )
    progress = Progress(Undisturbed(3.0, 1.0, {"a": "0"}), blows, starts=4, finished=3, replaced=1)
    record = faults_record("short", 0, {"collect": progress})
    assert (record.kills, record.stops) == (3, 1)
    found = record.commands["collect"]
    assert (found.kills, found.workers_left_behind, found.runs_with_undisturbed_bytes) == (3, 1, 3)
    assert [(count.signal, count.target, count.count, count.before_output) for count in found.blows] == [
        ("SIGKILL", "parent", 2, 1),
        ("SIGSTOP", "worker", 1, 0),
        ("SIGTERM", "worker", 1, 0),
    ]
    write_json_atomic(tmp_path / "kills.json", record_json(record))
    assert read_faults_record(str(tmp_path / "kills.json")) == record
    broken = json.loads((tmp_path / "kills.json").read_text()) | {"kills": "many"}
    write_json_atomic(tmp_path / "kills.json", broken)
    with pytest.raises(UserError, match="field kills"):
        read_faults_record(str(tmp_path / "kills.json"))
    assert to_json(progress)["blows"][1]["left_behind"] == 1


def test_on_ray_every_command_asks_for_it(tmp_path: Path) -> None:
    commands = smidgen_commands(tmp_path, "ray")
    assert set(commands) == {*NAMES} - {"train"}
    assert all("engine=ray" in command.arguments(tmp_path) for command in commands.values())


def test_the_long_form_is_on_record() -> None:
    """At least a hundred kills over all four commands, every run in the undisturbed bytes, nobody left behind."""
    record = read_faults_record(str(PROGRAM.parents[2] / "results" / "reliability" / "kills.json"))
    assert record.form == "long"
    assert set(record.commands) == set(smidgen_commands(Path()))
    assert record.kills == sum(found.kills for found in record.commands.values()) >= 100
    assert record.stops > 0
    for found in record.commands.values():
        kills = sum(count.count for count in found.blows if count.signal != "SIGSTOP")
        assert found.kills == kills > 0
        assert found.runs_with_undisturbed_bytes > 0
        assert found.workers_left_behind == 0
