"""Monitors any training loop for mean collapse: tensors or arrays in, scalars and a warning out."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Protocol

from torch import Tensor

from smidgen.evaluation.collapse.cue import cue_slope
from smidgen.evaluation.collapse.escape import ESCAPE_ABOVE, held_since
from smidgen.evaluation.collapse.labels import BLIND, BLIND_TO, ROUNDING, UNDECIDED, label_of, slope_text, spoken
from smidgen.evaluation.collapse.offline import (
    explained_variance,
    finite_mean,
    prediction_variance_ratio,
    r2_per_coordinate,
    skill,
    variance,
)
from smidgen.evaluation.collapse.values import ArrayLike, as_float64, as_step, flatten_rows

STATE_VERSION = 1
SCALAR_PREFIX = "collapse"
# Consecutive blind updates after which the monitor prints advice, once.
LONG_PLATEAU = 5
ADVICE = (
    "docs/my-policy-is-blind.md says what to change; to see what it looks at, smidgen-check data=DATA policy=POLICY"
)
_PER_COORDINATE = ("r2", "explained_variance", "prediction_variance_ratio")
_INFINITIES = {math.inf: "inf", -math.inf: "-inf"}


class ScalarWriter(Protocol):
    """Takes scalars: ``torch.utils.tensorboard.SummaryWriter``, or anything else with this method."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None:
        """Adds one value."""


@dataclass(frozen=True)
class CollapseReading:
    """What one update of a monitor measured; NaN for measures that were not requested or are undefined."""

    step: int
    r2: tuple[float, ...]
    explained_variance: tuple[float, ...]
    prediction_variance_ratio: tuple[float, ...]
    skill_time_mean: float
    skill_persistence: float
    cue_slope: float

    @property
    def mean_r2(self) -> float:
        """R^2 averaged over the coordinates whose target varies."""
        return finite_mean(self.r2)

    def scalars(self) -> dict[str, float]:
        """Every finite measure under a flat name, ready for ``SummaryWriter.add_scalar``."""
        named = {
            "r2": self.mean_r2,
            **{f"r2/{index}": value for index, value in enumerate(self.r2)},
            "explained_variance": finite_mean(self.explained_variance),
            "prediction_variance_ratio": finite_mean(self.prediction_variance_ratio),
            "skill_time_mean": self.skill_time_mean,
            "skill_persistence": self.skill_persistence,
            "cue_slope": self.cue_slope,
        }
        return {name: value for name, value in named.items() if math.isfinite(value)}


class CollapseMonitor:
    """Watches a training run for mean collapse: whether the policy sees, since when it is blind, and when it escaped.

    The signal is the cue slope if counterfactual pairs are passed, else R^2 (which is valid if the cue causes all
    variance). `label` is the status with the labels of a record's verdict: sees, partly blind or blind by the cue
    slope; blind or undecided by R^2 alone, since a policy can predict well without seeing the cue.

    Two events have dates. ``escape_step`` is T0.5: the first step since which the signal has stayed above
    ``escape_above``; a dip resets it to None, which means that the run has not escaped so far (right-censored).
    ``plateau_since`` is the first step since which the signal has stayed at ``plateau_below`` or less, by default the
    threshold for blind. After five such updates in a row, the warning refers once to the documentation.

    Args:
        plateau_below: A run is on the plateau, with a warning, while its signal is at most this.
        escape_above: A run has escaped while its signal is above this.
        writer: Receives every update's scalars, e.g. TensorBoard's ``SummaryWriter``; None for no writer.

    Raises:
        ValueError: If ``plateau_below`` is above ``escape_above``.
    """

    def __init__(
        self, plateau_below: float = BLIND_TO, escape_above: float = ESCAPE_ABOVE, writer: ScalarWriter | None = None
    ) -> None:
        if not plateau_below <= escape_above:
            raise ValueError(f"expected plateau_below <= escape_above, got {plateau_below} and {escape_above}")
        self.plateau_below = float(plateau_below)
        self.escape_above = float(escape_above)
        self.writer = writer
        self.reading: CollapseReading | None = None
        self.plateau_since: int | None = None
        self.escape_step: int | None = None
        self.num_on_plateau = 0
        self.problem = ""
        self.note = ""

    def update(
        self,
        step: int,
        prediction: ArrayLike,
        target: ArrayLike,
        *,
        time_mean: ArrayLike | None = None,
        persistence: ArrayLike | None = None,
        delta_prediction: ArrayLike | None = None,
        delta_target: ArrayLike | None = None,
    ) -> CollapseReading:
        """Measures one batch, preferably held out, and updates the plateau's state.

        Accepts tensors, arrays and lists of any real type; a shape (B,) means B rows of one coordinate. Predictions
        that are not finite, targets that never vary and a single row do not raise: `warning` reports them.

        Args:
            step: Training step, greater than the previous one.
            prediction: (..., A).
            target: (..., A), finite.
            time_mean: (..., A), finite, the prediction of the time mean for the same targets.
            persistence: (..., A), finite, the prediction "stay where you are" for the same targets.
            delta_prediction: (..., A), change in the prediction when only the cue is moved.
            delta_target: (..., A), finite, change in the expert's target for the same pairs.

        Raises:
            ValueError: If shapes differ, a target or a reference is not finite, only one of the deltas is given, or
                ``step`` is not an integer or not after the previous one. The monitor is not changed.
        """
        step = self._next_step(step)
        if (delta_prediction is None) != (delta_target is None):
            raise ValueError("expected delta_prediction and delta_target together, got only one; pass both or neither")
        prediction, target = as_float64(prediction, "prediction"), _finite("target", target)
        time_mean = None if time_mean is None else _finite("time_mean", time_mean)
        persistence = None if persistence is None else _finite("persistence", persistence)
        moved = None if delta_prediction is None else as_float64(delta_prediction, "delta_prediction")
        expected = None if delta_target is None else _finite("delta_target", delta_target)
        reading = CollapseReading(
            step=step,
            r2=tuple(r2_per_coordinate(prediction, target).tolist()),
            explained_variance=tuple(explained_variance(prediction, target).tolist()),
            prediction_variance_ratio=tuple(prediction_variance_ratio(prediction, target).tolist()),
            skill_time_mean=math.nan if time_mean is None else skill(prediction, target, time_mean),
            skill_persistence=math.nan if persistence is None else skill(prediction, target, persistence),
            cue_slope=math.nan if moved is None or expected is None else cue_slope(moved, expected),
        )
        self.reading = reading
        self.problem = _problem(reading, prediction, target, moved)
        is_still = moved is not None and math.isnan(reading.cue_slope) and not self.problem
        self.note = ", no cue slope (delta_target is zero throughout)" if is_still else ""
        # With a NaN signal, both comparisons are false.
        self.plateau_since = held_since(self.plateau_since, step, self.signal <= self.plateau_below + ROUNDING)
        self.escape_step = held_since(self.escape_step, step, self.signal > self.escape_above)
        self.num_on_plateau = self.num_on_plateau + 1 if self.on_plateau else 0
        if self.writer is not None:
            for name, value in {**self.reading.scalars(), "on_plateau": float(self.on_plateau)}.items():
                self.writer.add_scalar(f"{SCALAR_PREFIX}/{name}", value, step)
        return self.reading

    def _next_step(self, step: Any) -> int:
        step = as_step(step)
        if self.reading is not None and step <= self.reading.step:
            raise ValueError(f"expected a step after {self.reading.step}, got {step}; update once per evaluation")
        return step

    @property
    def signal(self) -> float:
        """The watched measure: the cue slope if there is one, else mean R^2; NaN if neither is usable."""
        if self.reading is None or self.problem:
            return math.nan
        return self.reading.cue_slope if self._has_cue_slope else self.reading.mean_r2

    @property
    def label(self) -> str:
        """The status, one of `labels.MEANINGS`, by the cue slope if there is one; R^2 alone cannot prove sight."""
        if math.isnan(self.signal):
            return UNDECIDED
        label = label_of(self.signal)
        return label if label == BLIND or self._has_cue_slope else UNDECIDED

    @property
    def _has_cue_slope(self) -> bool:
        return self.reading is not None and math.isfinite(self.reading.cue_slope)

    @property
    def on_plateau(self) -> bool:
        """Whether the policy ignored its input at the latest update: blind, unless ``plateau_below`` was set."""
        return self.plateau_since is not None

    @property
    def warning(self) -> str:
        """One line while something is wrong, else an empty string."""
        return self.status if self.on_plateau or self.problem else ""

    @property
    def status(self) -> str:
        """The run's status in one line: the measurements, then `label`, then the events with their steps."""
        if self.reading is None:
            return f"{UNDECIDED}: no update yet"
        measured = f"step {self.reading.step}: R^2 {self.reading.mean_r2:z.2f}"
        if self._has_cue_slope:
            measured += f", cue slope {slope_text(self.reading.cue_slope)}"
        measured += self.note
        if self.problem:
            return f"{measured}; {UNDECIDED}: {self.problem}"
        return f"{measured}; {spoken(self.label)}{self._events}"

    @property
    def _events(self) -> str:
        """The step since which the run is on the plateau, or at which it escaped, in words."""
        without = " without a cue slope" if self.label == UNDECIDED else ""
        if self.escape_step is not None:
            return f"{without}, escaped at step {self.escape_step}"
        if not self.on_plateau:
            return without
        advice = f"; {ADVICE}" if self.num_on_plateau == LONG_PLATEAU else ""
        where = "" if self.label == BLIND else f", signal up to {self.plateau_below:g}"
        return f"{without}{where} since step {self.plateau_since}{advice}"

    def state_dict(self) -> dict[str, Any]:
        """State for an exact resume: plain numbers, strings and lists without NaN, ready for JSON."""
        kept = ("plateau_below", "escape_above", "plateau_since", "escape_step", "num_on_plateau", "problem", "note")
        reading = None
        if self.reading is not None:
            reading = {
                name: [_written(entry) for entry in value] if name in _PER_COORDINATE else _written(value)
                for name, value in asdict(self.reading).items()
            }
        return {**{name: getattr(self, name) for name in kept}, "version": STATE_VERSION, "reading": reading}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores the result of `state_dict`, also after a round trip through JSON or ``torch.save``.

        Raises:
            ValueError: If it is from another version or not such a state; the monitor is not changed.
        """
        if state.get("version") != STATE_VERSION:
            raise ValueError(f"expected monitor state version {STATE_VERSION}, got {state.get('version')!r:.40}")
        # Older states lack these.
        state = {"num_on_plateau": 0, "problem": "", "note": "", **state}
        for name, kinds in _STATE_TYPES.items():
            if name not in state or type(state[name]) not in kinds:
                raise ValueError(f"expected monitor.{name} as {kinds[0].__name__}, got {state.get(name)!r:.40}")
        reading = None if state["reading"] is None else _reading(state["reading"])
        for name in _STATE_TYPES:
            setattr(self, name, state[name])
        self.reading = reading


_STATE_TYPES: dict[str, tuple[type, ...]] = {
    "plateau_below": (float, int),
    "escape_above": (float, int),
    "plateau_since": (int, type(None)),
    "escape_step": (int, type(None)),
    "num_on_plateau": (int,),
    "problem": (str,),
    "note": (str,),
    "reading": (dict, type(None)),
}


def _written(value: float) -> float | str | None:
    """A number for JSON: None for NaN, a word for an infinity."""
    return None if math.isnan(value) else _INFINITIES.get(value, value)


def _read(value: Any, name: str) -> Any:
    if value is None:
        return math.nan
    if value in ("inf", "-inf"):
        return float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < math.inf:
        raise ValueError(f"expected monitor.reading.{name} with numbers, got {value!r:.40}")
    return value


def _reading(stored: Mapping[str, Any]) -> CollapseReading:
    names = {entry.name for entry in fields(CollapseReading)}
    if set(stored) != names:
        raise ValueError(f"expected monitor.reading with {', '.join(sorted(names))}, got {', '.join(map(str, stored))}")
    values = {name: value if name in _PER_COORDINATE else [value] for name, value in stored.items()}
    for name, value in values.items():
        if not isinstance(value, list | tuple):
            raise ValueError(f"expected monitor.reading.{name} as a list, got {value!r:.40}")
    read: dict[str, Any] = {name: tuple(_read(entry, name) for entry in value) for name, value in values.items()}
    if type(read["step"][0]) is not int:
        raise ValueError(f"expected monitor.reading.step as int, got {stored['step']!r:.40}")
    return CollapseReading(**{name: value if name in _PER_COORDINATE else value[0] for name, value in read.items()})


def _finite(name: str, value: ArrayLike) -> Tensor:
    """Float64 values that are all finite.

    Raises:
        ValueError: If they are not.
    """
    tensor = as_float64(value, name)
    num_wrong = int((~tensor.isfinite()).sum())
    if num_wrong:
        raise ValueError(
            f"expected finite numbers as {name}, got {num_wrong} of {tensor.numel()} that are NaN or infinite; "
            f"leave out those rows"
        )
    return tensor


def _problem(reading: CollapseReading, prediction: Tensor, target: Tensor, moved: Tensor | None) -> str:
    """The reason why an update says nothing about the policy; empty if there is none."""
    for name, values in (("predictions", prediction), ("changes of the prediction", moved)):
        num_wrong = 0 if values is None else int((~values.isfinite()).sum())
        if values is not None and num_wrong:
            return f"{num_wrong} of {values.numel()} {name} are not finite: training diverged, or the input is broken"
    if math.isfinite(reading.cue_slope) or math.isfinite(reading.mean_r2):
        return ""
    (target_NA,) = flatten_rows(target=target)
    if len(target_NA) == 1:
        return "one row alone does not vary; pass at least two, best all that is held out"
    if not bool((variance(target_NA) > 0).any()):
        return "the targets do not vary, so nothing can follow them; pass rows with different targets"
    return "the predictions are too large to be squared; training diverged, or units are wrong"
