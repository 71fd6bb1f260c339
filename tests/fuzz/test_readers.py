"""Every reader of outside files under hostile input: read as valid or refused in one line, and nothing besides.

The long form, ``python -m tests.fuzz form=long``, reads 10,000 inputs with each of the same readers.
"""

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from smidgen.runtime.errors import UserError
from tests.fuzz import campaign, watch
from tests.fuzz.__main__ import FORMS
from tests.fuzz.campaign import draw_case, require_valid_is_read, run_reader, tally_path
from tests.fuzz.command_readers import SCHEMAS
from tests.fuzz.hostile import CANARY
from tests.fuzz.reader import DIRECTORY, LINK, MISSING, PIPE, Case, Reader, Special, files_below, plant
from tests.fuzz.registry import READERS
from tests.fuzz.watch import read_case

# The long form, whose record is checked below, reads 10,000 of each.
# Those that compute a page or verdicts, or compose a configuration, take tens of milliseconds for an input.
# Those that import a data set write it, too.
_FORMATS = dict.fromkeys(("hdf5", "minari", "parquet", "png", "mp4"), 10)
NUM_INPUTS = _FORMATS | {"record": 10, "claims plan": 10, "arm record": 15, "command lines": 15, "overrides": 25}
MANY = 50
RECORD = Path(__file__).parent.parent.parent / "results" / "reliability" / "fuzz.json"


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[Path, dict[str, bytes]]]]:
    """For each reader a folder with its valid files, which it has read; made when first asked for."""
    made: dict[str, tuple[Path, dict[str, bytes]]] = {}

    class Planted(dict[str, tuple[Path, dict[str, bytes]]]):
        def __missing__(self, name: str) -> tuple[Path, dict[str, bytes]]:
            folder, valid = tmp_path_factory.mktemp("fuzz") / "folder", dict(READERS[name].files())
            require_valid_is_read(name, READERS[name], folder, valid)
            self[name] = (folder, valid)
            return self[name]

    return Planted(made)


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_hostile_input_is_read_or_refused(name: str, planted: dict[str, tuple[Path, dict[str, bytes]]]) -> None:
    folder, valid = planted[name]

    @settings(
        max_examples=NUM_INPUTS.get(name, MANY),
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(seed=st.integers(0, 2**64))
    def read(seed: int) -> None:
        outcome = read_case(READERS[name], folder, valid, READERS[name].spoil(random.Random(seed), valid))
        assert outcome.fault == "", f"{name}, seed {seed}: {outcome.fault}"

    read()
    assert files_below(folder).items() >= valid.items()


def test_an_input_is_the_same_anywhere() -> None:
    program = (
        "from tests.fuzz.registry import READERS\n"
        "from tests.fuzz.campaign import draw_case\n"
        "print([draw_case('sidecar', READERS['sidecar'], READERS['sidecar'].files(), index) for index in range(9)])"
    )
    valid = READERS["sidecar"].files()
    here = [draw_case("sidecar", READERS["sidecar"], valid, index) for index in range(9)]
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    there = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert there.stdout.strip() == str(here)


def hostile(read: object, **options: object) -> Reader:
    return Reader(lambda: {"file": b"valid"}, lambda rng, valid: Case({"file": b"x"}), read, **options)  # type: ignore[arg-type]


def allocate(folder: Path, words: tuple[str, ...]) -> None:
    np.empty(10**12, np.uint8)


def touch(folder: Path, words: tuple[str, ...]) -> None:
    time.sleep(0)
    (folder.parent / "escaped").write_text("")


def unpickle(folder: Path, words: tuple[str, ...]) -> None:
    __import__("pickle").loads(f"c{CANARY}\nPolicy\n.".encode())


def wait_for_pipe(folder: Path, words: tuple[str, ...]) -> None:
    os.mkfifo(folder / "pipe")
    (folder / "pipe").read_bytes()


def forget_the_file(folder: Path, words: tuple[str, ...]) -> None:
    raise UserError("something is wrong")


def start_process(folder: Path, words: tuple[str, ...]) -> None:
    subprocess.run(["true"], check=True)


@pytest.mark.parametrize(
    ("read", "fault"),
    [
        (allocate, "MemoryError"),
        (touch, "opened to write"),
        (unpickle, f"imported {CANARY}"),
        (wait_for_pipe, "no end after"),
        (forget_the_file, "the message names no file"),
        (start_process, "subprocess.Popen"),
        (lambda folder, words: [].pop(), "IndexError"),
        (lambda folder, words: bytearray(200 << 20).count(1), "memory grew"),
    ],
)
def test_the_watch_sees(read: object, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a reader may not do is noticed: a watch that saw nothing would pass everything."""
    monkeypatch.setattr(watch, "MAX_SECONDS", 0.3)
    monkeypatch.setattr(watch, "MAX_MEMORY_GROWTH_MIB", -1 if fault == "memory grew" else 10_000)
    folder = tmp_path / "folder"
    plant(folder, {"file": b"valid"})
    assert fault in read_case(hostile(read), folder, {"file": b"valid"}, Case({"file": b"x"})).fault


@pytest.mark.parametrize("kind", [LINK, PIPE, DIRECTORY, MISSING])
def test_what_was_planted_is_taken_away_again(kind: str, tmp_path: Path) -> None:
    valid = {"a/file": b"valid", "b": b"other"}
    plant(tmp_path, valid)
    read_case(
        hostile(lambda folder, words: None), tmp_path, valid, Case({"a/file": Special(kind, "/dev/zero"), "new": b""})
    )
    assert files_below(tmp_path) == valid


def test_a_campaign_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, path = READERS["stored answers"], tally_path(tmp_path, "stored answers")
    whole = run_reader("stored answers", reader, 30, tmp_path / "whole.json")
    run_reader("stored answers", reader, 20, path)
    monkeypatch.setattr(campaign, "draw_case", lambda name, reader, valid, index: drawn.append(index) or Case())
    drawn: list[int] = []
    resumed = run_reader("stored answers", reader, 30, path)
    assert drawn == list(range(20, 30))
    assert (resumed.inputs, whole.inputs) == (30, 30)
    assert whole.refused + whole.accepted == 30
    assert run_reader("stored answers", reader, 30, path) == resumed


def test_every_schema_of_a_command_is_fuzzed() -> None:
    """Whatever is composed from a command line in the package stands in the list."""
    package = Path(__file__).parent.parent.parent
    sources = [path for path in package.rglob("*.py") if path.relative_to(package).parts[0] in _FOLDERS]
    called = {
        line.split("compose_config(")[1].split(",")[0]
        for path in sources
        for line in path.read_text(encoding="utf-8").splitlines()
        if "compose_config(" in line and "def " not in line
    }
    assert called - set(SCHEMAS) <= {"SCHEMAS[name]", "command_line_schema(kind_of(arguments))", *MAINTAINERS}
    assert len(called) > 10


# Commands that write this repository's own records and pages, through the same function.
MAINTAINERS = (
    "FuzzConfig",
    "LadderConfig",
    "ReportConfig",
    "FaultsConfig",
    "PixelsConfig",
    "CheckPageConfig",
    "ChoiceConfig",
    "FindingsConfig",
    "PageConfig",
    "TaskPageConfig",
    "TwoLevelConfig",
)
_FOLDERS = ("data_collection", "envs", "evaluation", "experiments", "leaderboard", "studies", "training")


def test_the_record_is_of_the_long_form_and_without_fault() -> None:
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    tallies = record["readers"]
    assert record["form"] == "long"
    assert set(tallies) == set(READERS)
    assert record["complete"] == all(tally["inputs"] >= FORMS["long"] for tally in tallies.values())
    for name, tally in tallies.items():
        assert tally["inputs"] == tally["refused"] + tally["accepted"], name
        assert tally["faults"] == [], name
        assert tally["memory_growth_mib"] < watch.MAX_MEMORY_GROWTH_MIB, name
