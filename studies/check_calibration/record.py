"""The campaign: every policy of every family, each with a result of its own on disk, and the record of all."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smidgen.evaluation.check import thresholds
from smidgen.evaluation.check.answers import ask
from smidgen.evaluation.check.probes import probes
from smidgen.evaluation.check.report import make_report
from smidgen.evaluation.check.subject import Means, Subject
from smidgen.evaluation.collapse.labels import BLIND_TO, SEES_FROM
from smidgen.policies.policy_calls import PolicyCalls
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import read_json, write_json_atomic
from smidgen.runtime.progress import progress
from smidgen.runtime.schemas import from_json, read_versioned, to_json
from smidgen.runtime.settings import PathText
from studies.check_calibration.families import FAMILIES, Draw
from studies.check_calibration.known_sets import KnownSet

RECORD_VERSION = 1
_ASKED = ("as_recorded", "repeated", "frames_swapped", "camera_swapped")
_DIGITS = 4


@dataclass(frozen=True)
class CheckCalibrationConfig:
    """How ``smidgen-check`` is calibrated."""

    folder: PathText = field(
        default="outputs/check_calibration", metadata={"help": "data sets and results; missing ones are made"}
    )
    record: PathText = field(default="results/calibration/check.json", metadata={"help": "record to write"})
    page: PathText | None = field(
        default="docs/check.md", metadata={"help": "page whose tables are updated; null: none"}
    )
    collected: int = field(default=120, metadata={"help": "episodes of each set"})
    episodes: int = field(default=30, metadata={"help": "episodes that each policy is asked about"})
    windows: int = field(default=600, metadata={"help": "steps that it is asked about"})
    share: float = field(default=1.0, metadata={"help": "share of every family's policies to make, at least one"})

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise UserError(f"expected share in (0, 1], got {self.share}")


@dataclass(frozen=True)
class Checked:
    """One policy.

    Attributes:
        set_name: The data set.
        family: Its family.
        number: Which of the family.
        truth: The label that it deserves.
        label: The label that it got.
        reason: What that rests on.
        slope: The slope with its interval; null where it is not defined.
        cameras: Of each camera, how it is used and how that was called.
    """

    set_name: str
    family: str
    number: int
    truth: str
    label: str
    reason: str
    slope: tuple[float | None, float | None, float | None]
    cameras: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class CheckCalibration:
    """The whole record."""

    version: int
    check_version: int
    rules: dict[str, float]
    episodes: int
    windows: int
    share: float
    policies: tuple[Checked, ...]


def frozen_rules() -> dict[str, float]:
    """The numbers that decide, by name: to change one, change ``CHECK_VERSION``."""
    names = ("OPEN_FROM", "NUM_TIME_PARTS", "SAME_BELOW", "CAMERA_FROM")
    rules = {name.lower(): float(getattr(thresholds, name)) for name in names}
    return {**rules, "sees_from": SEES_FROM, "blind_to": BLIND_TO}


def draws(known: KnownSet, share: float) -> Iterator[Draw]:
    """Every policy that a set gets."""
    for name, family in FAMILIES.items():
        if family.cameras and len(family.cameras) != known.num_cameras:
            continue
        for number in range(max(1, round(share * family.per_set))):
            yield Draw(known, name, number)


def calibrate(config: CheckCalibrationConfig, sets: Mapping[str, KnownSet]) -> CheckCalibration:
    """Checks every policy of every set; what was checked before, with the same settings, is read again."""
    found = []
    wanted = [draw for known in sets.values() for draw in draws(known, config.share)]
    with progress(len(wanted), "checking policies of known truth") as advance:
        for draw in wanted:
            found.append(_kept(config, draw))
            advance(1, draw.family)
    return CheckCalibration(
        version=RECORD_VERSION,
        check_version=thresholds.CHECK_VERSION,
        rules=frozen_rules(),
        episodes=config.episodes,
        windows=config.windows,
        share=config.share,
        policies=tuple(found),
    )


def _kept(config: CheckCalibrationConfig, draw: Draw) -> Checked:
    folder = Path(config.folder, "results", f"v{thresholds.CHECK_VERSION}-{config.episodes}-{config.windows}")
    path = folder / f"{draw.known.name}-{draw.family}-{draw.number}.json"
    if path.exists():
        return from_json(Checked, read_json(path), str(path))
    checked = check_draw(draw, config.episodes, config.windows)
    folder.mkdir(parents=True, exist_ok=True)
    write_json_atomic(path, to_json(checked))
    return checked


def check_draw(draw: Draw, num_episodes: int, num_windows: int) -> Checked:
    """Checks one policy."""
    family, known = FAMILIES[draw.family], draw.known
    reader = known.restricted(draw.asked(num_episodes))
    calls = PolicyCalls(family.make(draw))
    asked = [probe for probe in probes(reader.header["cameras"]) if probe.name in _ASKED]
    answers = ask(calls, reader, asked, num_episodes, num_windows, shows_progress=False)
    subject = Subject(calls.policy.name, calls, reader, known.action, Means.of(reader.actions()))
    decision = make_report(subject, answers).decision
    slope = decision.slope
    return Checked(
        set_name=known.name,
        family=draw.family,
        number=draw.number,
        truth=family.truth,
        label=decision.label,
        reason=decision.reason,
        slope=(_rounded(slope.value), _rounded(slope.low), _rounded(slope.high)),
        cameras=tuple(zip(family.cameras, decision.cameras.values(), strict=True)) if family.cameras else (),
    )


def _rounded(value: float) -> float | None:
    return round(value, _DIGITS) if math.isfinite(value) else None


def read_check_calibration(path: str) -> CheckCalibration:
    """Reads a record.

    Raises:
        UserError: If the file is missing or not a valid record.
    """
    return read_versioned(CheckCalibration, path, RECORD_VERSION)


def check_calibration_json(calibration: CheckCalibration) -> dict[str, Any]:
    """The record in JSON's types."""
    return dict(to_json(calibration))
