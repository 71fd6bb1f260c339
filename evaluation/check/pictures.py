"""What the page shows of one episode: the frames as they were shown, and the answers' paths.

Letters: ``S`` steps, ``N`` cameras, ``H W`` rows and columns, ``K`` measured steps, ``P`` coordinates.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from smidgen.data_collection.array_files import Array
from smidgen.data_collection.formats.pictures import png, squares
from smidgen.evaluation.check.answers import EpisodeAnswers, neighbours
from smidgen.evaluation.check.probes import AS_RECORDED, FRAMES_SWAPPED, REPEATED, STATE_SWAPPED, Moment, probes
from smidgen.evaluation.check.subject import Subject
from smidgen.runtime.charts import Axis, Tick, path_data
from smidgen.runtime.spacing import evenly_spaced

# Larger frames are scaled down: the page shows some dozens.
_LARGEST = 128
_NUM_MOMENTS = 5
_MAX_PLOTS = 4


@dataclass(frozen=True)
class Picture:
    """One frame on the page.

    Attributes:
        key: The probe that it was shown under.
        address: The frame as a data address.
        caption: Its step, or its camera.
    """

    key: str
    address: str
    caption: str


@dataclass(frozen=True)
class Curve:
    """One path of a plot: SVG path data, its class and its name."""

    name: str
    look: str
    path: str


@dataclass(frozen=True)
class Plot:
    """A coordinate over the steps of the episode."""

    title: str
    steps: Axis
    values: Axis
    curves: tuple[Curve, ...]


@dataclass(frozen=True)
class Example:
    """An episode on the page.

    Attributes:
        number: Its number in the set.
        other: The number of the episode that it is confused with.
        strip: As recorded, from the first step to the last.
        shown: One moment under every probe.
        step: The step of that moment.
        plots: What was done and what was answered.
    """

    number: int
    other: int
    strip: tuple[Picture, ...]
    shown: tuple[Picture, ...]
    step: int
    plots: tuple[Plot, ...]


def make_example(subject: Subject, answers: Sequence[EpisodeAnswers], names: Sequence[str]) -> Example:
    """The first episode that was asked about.

    Args:
        subject: The policy and the episodes.
        answers: Its answers.
        names: The coordinates to plot.
    """
    first = answers[0]
    places = subject.reader.places([each.number for each in answers[:2]])
    moment = next(iter(neighbours(subject.reader.episodes(places))))
    step = int(first.steps_K[len(first.steps_K) // 3])
    cameras = subject.cameras
    asked = [probe for probe in probes(cameras) if probe.key in first.by_probe]
    shown = [probe for probe in asked if probe.name not in (REPEATED, STATE_SWAPPED)]
    steps = evenly_spaced(moment.own.num_steps, _NUM_MOMENTS)
    return Example(
        number=moment.own.seed,
        other=moment.other.seed,
        strip=tuple(_picture(AS_RECORDED, moment.own.frames[at], f"step {at}") for at in steps),
        shown=tuple(_picture(probe.key, probe.frames(moment, np.array(step)), "") for probe in shown),
        step=step,
        plots=tuple(_plot(subject, first, moment, name) for name in names[:_MAX_PLOTS]),
    )


def _picture(key: str, frames_NHWC: Array, caption: str) -> Picture:
    """All cameras side by side."""
    size = min(_LARGEST, frames_NHWC.shape[1])
    row_HWC = np.concatenate(list(squares(np.ascontiguousarray(frames_NHWC), size)), axis=1)
    return Picture(key, f"data:image/png;base64,{base64.b64encode(png(row_HWC)).decode()}", caption)


def _plot(subject: Subject, first: EpisodeAnswers, moment: Moment, name: str) -> Plot:
    index = subject.action.names.index(name)
    steps_K = first.steps_K
    mean_S = subject.means.without(first.actions_SA).time_mean_at(np.arange(moment.own.num_steps))[:, index]
    lines = [
        ("the mean of all others", "baseline", np.arange(len(mean_S)), mean_S),
        ("done here", "expert", np.arange(len(first.actions_SA)), first.actions_SA[:, index]),
        (
            "done in the other episode",
            "expert dashed",
            np.arange(len(first.other_actions_SA)),
            first.other_actions_SA[:, index],
        ),
        ("answered as recorded", "c0", steps_K, first.by_probe[AS_RECORDED][:, 0, index]),
    ]
    if FRAMES_SWAPPED in first.by_probe:
        lines.append(("answered to the other's frames", "c1", steps_K, first.by_probe[FRAMES_SWAPPED][:, 0, index]))
    lines = [(text, look, at[: moment.own.num_steps], line[: moment.own.num_steps]) for text, look, at, line in lines]
    values = _axis(np.concatenate([line for *_, line in lines]))
    last = max(moment.own.num_steps - 1, 1)
    steps = Axis(0, last, (Tick("0", 0.0), Tick(str(last), 100.0)))
    curves = [
        Curve(text, look, path_data(list(zip(at.tolist(), line.tolist(), strict=True)), steps, values))
        for text, look, at, line in lines
    ]
    return Plot(name, steps, values, tuple(curves))


def _axis(values: Array) -> Axis:
    """An axis a little wider than its values, with its ends labelled by them."""
    low, high = float(values.min()), float(values.max())
    margin = 0.05 * (high - low) or max(abs(high), 1.0) * 0.05
    axis = Axis(low - margin, high + margin, ())
    digits = max(0, 2 - math.floor(math.log10(high - low))) if high > low else 2
    ticks = (Tick(f"{each:.{min(digits, 6)}f}".replace("-", "\u2212"), axis.percent(each)) for each in (low, high))
    return Axis(axis.low, axis.high, tuple(ticks))
