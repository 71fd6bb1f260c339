"""The calibration's results as one JSON record: every policy with its true and its measured verdict."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch

from smidgen.envs.smidgen_tasks import TOLERANCE_M
from smidgen.evaluation import collapse
from smidgen.evaluation.collapse import labels
from smidgen.evaluation.collapse import verdict as rules
from smidgen.runtime.schemas import read_versioned, to_json
from smidgen.runtime.settings import PathText
from studies.calibration.episodes import CalibrationEpisodes
from studies.calibration.ground_truth import Answers, Draw, Family, families

RECORD_VERSION = 1
# A network that hits fewer unseen goals does not count as a policy that is known to see.
LEAST_HIT_RATE = 0.8
_DIGITS = 4


@dataclass(frozen=True)
class CalibrationConfig:
    """How the detector is calibrated."""

    lift: PathText = field(
        default="outputs/calibration/lift", metadata={"help": "demonstrations of lift; collected if missing"}
    )
    speck: PathText = field(default="outputs/calibration/speck_16", metadata={"help": "of speck_16"})
    record: PathText = field(default="results/calibration/detector.json", metadata={"help": "record to write"})
    page: PathText | None = field(
        default="docs/collapse.md", metadata={"help": "page whose tables are updated; null: none"}
    )
    train: int = field(default=60, metadata={"help": "episodes of each task to learn from"})
    held_out: int = field(default=100, metadata={"help": "episodes of each task to evaluate on"})
    episodes: int = field(default=50, metadata={"help": "of those, drawn for each policy"})
    network_steps: int = field(default=500, metadata={"help": "optimiser steps of each network"})
    share: float = field(default=1.0, metadata={"help": "share of every family's policies to make, at least one"})


@dataclass(frozen=True)
class Found:
    """One calibration policy.

    Attributes:
        task: The task.
        family: Its family.
        number: Which of the family.
        truth: The verdict that it deserves; None for a network that did not learn to hit.
        at_the_mean: Whether it has collapsed to a mean; None if not blind.
        slope: Its true slope, if it is a single number.
        hit_rate: Share of unseen goals within the tolerance, of a network that was trained with the cue in view.
        cue_slope: Slope over the pairs with its interval, or None.
        path_slope: Slope over the paths with its interval, or None.
        verdict_of_pairs: The verdict on only the pairs.
        verdict_of_paths: The verdict on only the paths; None also if there are none.
        verdict: The verdict on both.
        mean_collapsed: Whether it was labelled mean-collapsed.
    """

    task: str
    family: str
    number: int
    truth: str | None
    at_the_mean: bool | None
    slope: float | None
    hit_rate: float | None
    cue_slope: tuple[float, float, float] | None
    path_slope: tuple[float, float, float] | None
    verdict_of_pairs: str | None
    verdict_of_paths: str | None
    verdict: str | None
    mean_collapsed: bool | None


@dataclass(frozen=True)
class CalibrationData:
    """What one task's policies were made of and evaluated on."""

    data_set_sha256: str
    train_seeds: tuple[int, ...]
    held_out_seeds: tuple[int, ...]


@dataclass(frozen=True)
class Calibration:
    """The whole record."""

    version: int
    detector_version: int
    rules: dict[str, float]
    episodes: int
    network_steps: int
    data: dict[str, CalibrationData]
    policies: tuple[Found, ...]


def frozen_rules() -> dict[str, float]:
    """The numbers that define the detector, by name: to change one, change the version."""
    homes = {
        labels: ("SEES_FROM", "BLIND_TO"),
        rules: ("MIN_EPISODES", "PRECISE_WITHIN", "AT_THE_MEAN_UP_TO", "NUM_RESAMPLES"),
    }
    return {name.lower(): float(getattr(home, name)) for home, names in homes.items() for name in names}


def calibrate(config: CalibrationConfig, tasks: list[CalibrationEpisodes]) -> Calibration:
    """Judges every calibration policy of every task."""
    found = []
    for data in tasks:
        for name, family in families(config.network_steps).items():
            if family.tasks and data.task not in family.tasks:
                continue
            for number in range(max(1, round(config.share * family.per_task))):
                draw = Draw(data, name, number, config.episodes)
                found.append(_measured(data, name, number, family, family.make(draw)))
    return Calibration(
        version=RECORD_VERSION,
        detector_version=collapse.DETECTOR_VERSION,
        rules=frozen_rules(),
        episodes=config.episodes,
        network_steps=config.network_steps,
        data={data.task: CalibrationData(data.sha256, *data.seeds) for data in tasks},
        policies=tuple(found),
    )


def _measured(data: CalibrationEpisodes, name: str, number: int, family: Family, answers: Answers) -> Found:
    pairs, chosen_K = data.held_out, answers.pair_K
    target_KP = pairs.target_KP[chosen_K]
    change_KP = pairs.target_moved_KP[chosen_K] - target_KP
    cue = collapse.cue_slope_parts(answers.moved_KP - answers.prediction_KP, change_KP, answers.episode_K)
    paths = None if answers.paths is None else collapse.path_slope_parts(answers.paths, answers.expert_paths)
    verdict = collapse.judge(cue, paths)
    means = (data.time_mean_at(pairs.step_K[chosen_K]), data.mean_P.expand_as(target_KP))
    distances = [collapse.mean_distance(answers.prediction_KP, target_KP, mean_KP) for mean_KP in means]
    distances.append(collapse.recalibration_gain(answers.prediction_KP, target_KP))
    hit_rate = _hit_rate(answers.prediction_KP, target_KP) if family.tasks else None
    has_learned = hit_rate is None or hit_rate > LEAST_HIT_RATE
    return Found(
        task=data.task,
        family=name,
        number=number,
        truth=family.truth if has_learned else None,
        at_the_mean=family.at_the_mean,
        slope=_rounded(answers.slope),
        hit_rate=_rounded(hit_rate),
        cue_slope=_interval(cue),
        path_slope=_interval(paths),
        verdict_of_pairs=collapse.judge(cue).label,
        verdict_of_paths=collapse.judge(None, paths).label,
        verdict=verdict.label,
        mean_collapsed=collapse.is_mean_collapsed(verdict, distances),
    )


def _hit_rate(prediction_KP: torch.Tensor, target_KP: torch.Tensor) -> float:
    distance_K = (prediction_KP - target_KP)[:, :2].norm(dim=1)
    return float((distance_K <= TOLERANCE_M).double().mean())


def _interval(parts: collapse.SlopeParts | None) -> tuple[float, float, float] | None:
    if parts is None:
        return None
    interval = collapse.slope_interval(parts)
    if not math.isfinite(interval.slope):
        return None
    return round(interval.slope, _DIGITS), round(interval.low, _DIGITS), round(interval.high, _DIGITS)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, _DIGITS)


def read_calibration(path: str) -> Calibration:
    """Reads a record.

    Raises:
        UserError: If the file is missing or not a valid record; the message names the field.
    """
    return read_versioned(Calibration, path, RECORD_VERSION)


def calibration_json(calibration: Calibration) -> dict[str, Any]:
    """The record in JSON's types."""
    return dict(to_json(calibration))
