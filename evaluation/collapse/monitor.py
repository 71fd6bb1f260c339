"""Watches a training run for mean collapse, in anybody's PyTorch loop: plain tensors in, scalars and a warning out."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from torch import Tensor

from smidgen.evaluation.collapse.cue import cue_slope
from smidgen.evaluation.collapse.offline import (
    explained_variance,
    finite_mean,
    prediction_variance_ratio,
    r2_per_coordinate,
    skill,
)

STATE_VERSION = 1
SCALAR_PREFIX = "collapse"


class ScalarWriter(Protocol):
    """Takes scalars: ``torch.utils.tensorboard.SummaryWriter``, or anything else with this method."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None:
        """Adds one value."""


@dataclass(frozen=True)
class CollapseReading:
    """What one update of a monitor measured; NaN where a measure was not asked for or is undefined."""

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
    """Watches a training run for mean collapse: on the plateau or not, since when, and when it escaped.

    The watched signal is the cue slope where counterfactual pairs are passed, else R^2 (right where all variance is
    the cue). ``escape_step`` is T0.5: the first step from which the signal has stayed above ``escape_above``; a dip
    takes it back, and None means that the run has not escaped so far (right-censored).

    The run is on the plateau while the signal is below ``plateau_below``.

    Args:
        plateau_below: End of the plateau.
        escape_above: From here on a run has escaped.
        writer: Where every update's scalars go, e.g. TensorBoard's ``SummaryWriter``; None for nowhere.

    Raises:
        ValueError: If the plateau reaches beyond the escape.
    """

    def __init__(
        self, plateau_below: float = 0.2, escape_above: float = 0.5, writer: ScalarWriter | None = None
    ) -> None:
        if not plateau_below <= escape_above:
            raise ValueError(f"expected plateau_below <= escape_above, got {plateau_below} and {escape_above}")
        self.plateau_below = plateau_below
        self.escape_above = escape_above
        self.writer = writer
        self.reading: CollapseReading | None = None
        self.plateau_since: int | None = None
        self.escape_step: int | None = None

    def update(
        self,
        step: int,
        prediction: Tensor,
        target: Tensor,
        *,
        time_mean: Tensor | None = None,
        persistence: Tensor | None = None,
        delta_prediction: Tensor | None = None,
        delta_target: Tensor | None = None,
    ) -> CollapseReading:
        """Measures one batch, best held out, and updates the plateau's state.

        Args:
            step: Training step, greater than the one before.
            prediction: (..., A).
            target: (..., A).
            time_mean: (..., A), the time-indexed mean trajectory's prediction for the same targets.
            persistence: (..., A), the prediction "stay where you are" for the same targets.
            delta_prediction: (..., A), change of the prediction when only the cue is moved.
            delta_target: (..., A), change of the expert's target for the same pairs.

        Raises:
            ValueError: If shapes differ, only one of the deltas is given, or steps do not increase.
        """
        if self.reading is not None and step <= self.reading.step:
            raise ValueError(f"expected a step after {self.reading.step}, got {step}; update once per evaluation")
        if (delta_prediction is None) != (delta_target is None):
            raise ValueError("expected delta_prediction and delta_target together, got one of them; pass both or none")
        has_cue = delta_prediction is not None and delta_target is not None
        self.reading = CollapseReading(
            step=step,
            r2=tuple(r2_per_coordinate(prediction, target).tolist()),
            explained_variance=tuple(explained_variance(prediction, target).tolist()),
            prediction_variance_ratio=tuple(prediction_variance_ratio(prediction, target).tolist()),
            skill_time_mean=math.nan if time_mean is None else skill(prediction, target, time_mean),
            skill_persistence=math.nan if persistence is None else skill(prediction, target, persistence),
            cue_slope=cue_slope(delta_prediction, delta_target) if has_cue else math.nan,  # type: ignore[arg-type]
        )
        # A NaN signal is neither: both comparisons are false.
        self.plateau_since = _held_since(self.plateau_since, step, self.signal < self.plateau_below)
        self.escape_step = _held_since(self.escape_step, step, self.signal > self.escape_above)
        if self.writer is not None:
            for name, value in {**self.reading.scalars(), "on_plateau": float(self.on_plateau)}.items():
                self.writer.add_scalar(f"{SCALAR_PREFIX}/{name}", value, step)
        return self.reading

    @property
    def signal(self) -> float:
        """The watched measure: cue slope where there is one, else mean R^2; NaN before the first update."""
        if self.reading is None:
            return math.nan
        return self.reading.cue_slope if math.isfinite(self.reading.cue_slope) else self.reading.mean_r2

    @property
    def on_plateau(self) -> bool:
        """Whether the latest update saw a policy that ignores its input."""
        return self.plateau_since is not None

    @property
    def warning(self) -> str:
        """One line while something is wrong, else the empty string."""
        is_wrong = self.reading is not None and (self.on_plateau or math.isnan(self.signal))
        return self.status if is_wrong else ""

    @property
    def status(self) -> str:
        """One line: where the run stands."""
        if self.reading is None:
            return "no update yet"
        measured = f"step {self.reading.step}: R^2 {self.reading.mean_r2:z.2f}"
        if math.isfinite(self.reading.cue_slope):
            measured += f", cue slope {self.reading.cue_slope:z.2f}"
        if math.isnan(self.signal):
            return f"{measured}; predictions or targets are not finite, or the targets do not vary"
        if self.on_plateau:
            what = "mean collapse" if self.reading.mean_r2 < self.plateau_below else "blind to the cue"
            return f"{measured}; {what}, on the plateau since step {self.plateau_since}"
        if self.escape_step is not None:
            return f"{measured}; escaped at step {self.escape_step}"
        return f"{measured}; leaving the plateau"

    def state_dict(self) -> dict[str, Any]:
        """State for an exact resume, free of NaN, ready for JSON."""
        reading = self.reading and _map_numbers(lambda x: x if math.isfinite(x) else None, asdict(self.reading))
        kept = ("plateau_below", "escape_above", "plateau_since", "escape_step")
        return {**{name: getattr(self, name) for name in kept}, "version": STATE_VERSION, "reading": reading}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` gave, also after a trip through JSON; another version is a ValueError."""
        if state.get("version") != STATE_VERSION:
            raise ValueError(f"expected monitor state version {STATE_VERSION}, got {state.get('version')!r}")
        self.plateau_below, self.escape_above = state["plateau_below"], state["escape_above"]
        self.plateau_since, self.escape_step = state["plateau_since"], state["escape_step"]
        reading = state["reading"] and _map_numbers(lambda x: math.nan if x is None else x, state["reading"])
        self.reading = CollapseReading(**reading) if reading else None


def _held_since(since: int | None, step: int, holds: bool) -> int | None:
    """First step of the unbroken run of updates in which a condition holds."""
    if not holds:
        return None
    return step if since is None else since


def _map_numbers(function: Callable[[Any], Any], reading: dict[str, Any]) -> dict[str, Any]:
    """Applies a function to every number of a reading in the form of a dict."""
    return {
        name: tuple(map(function, value)) if isinstance(value, list | tuple) else function(value)
        for name, value in reading.items()
    }
