"""Many inputs for one reader, in order of their numbers; what was done is on disk every few hundred."""

from __future__ import annotations

import dataclasses
import random
import re
import tempfile
from pathlib import Path

from smidgen.runtime.files import write_json_atomic
from studies.bench.record import commit
from studies.reliability.tally import Tally, read_tally
from tests.fuzz.reader import Case, Files, Reader, plant
from tests.fuzz.watch import peak_memory_mib, read_case

SAVE_EVERY = 250
MAX_FAULTS = 20


def tally_path(scratch: Path, name: str) -> Path:
    """Where a reader's tally stands."""
    return scratch / re.sub("[^a-z0-9]", "-", name) / "tally.json"


def draw_case(name: str, reader: Reader, valid: Files, index: int) -> Case:
    """The input of a number: the same on any machine."""
    return reader.spoil(random.Random(f"{name} {index}"), valid)


def run_reader(name: str, reader: Reader, num_inputs: int, path: Path) -> Tally:
    """Reads inputs until there are so many, from where an earlier run stopped.

    Raises:
        UserError: If the tally on disk is damaged.
    """
    tally = read_tally(path)
    if tally.inputs >= num_inputs:
        return tally
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "folder")
        valid = dict(reader.files())
        require_valid_is_read(name, reader, folder, valid)
        grown_mib, start_mib = tally.memory_growth_mib, peak_memory_mib()
        for index in range(tally.inputs, num_inputs):
            outcome = read_case(reader, folder, valid, draw_case(name, reader, valid, index))
            fault = ((index, outcome.fault[:600]),) if outcome.fault and len(tally.faults) < MAX_FAULTS else ()
            tally = dataclasses.replace(
                tally,
                inputs=index + 1,
                refused=tally.refused + bool(outcome.message),
                accepted=tally.accepted + outcome.is_accepted,
                slowest_ms=max(tally.slowest_ms, round(outcome.seconds * 1000, 1)),
                memory_growth_mib=max(grown_mib, round(peak_memory_mib() - start_mib, 1)),
                commit=commit(),
                faults=tally.faults + fault,
            )
            if tally.inputs % SAVE_EVERY == 0 or tally.inputs == num_inputs:
                write_json_atomic(path, tally.to_json())
    return tally


def require_valid_is_read(name: str, reader: Reader, folder: Path, valid: Files) -> None:
    """Plants the valid files and reads them, twice: the first time, libraries load what they load late."""
    folder.mkdir(parents=True)
    plant(folder, valid)
    words = tuple(word.replace("{folder}", str(folder)) for word in reader.words)
    reader.read(folder, words)
    outcome = read_case(reader, folder, dict(valid), Case({}, reader.words))
    assert outcome.is_accepted, f"{name}: {outcome.message} {outcome.fault}"
    assert not outcome.fault, f"{name}: {outcome.fault}"
