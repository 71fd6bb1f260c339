"""Mean collapse, measured: does a policy's output follow its input, or does it play back the average?

A leaf module (PyTorch alone), so that any training loop can watch itself in three lines::

    monitor = CollapseMonitor()
    reading = monitor.update(step, prediction, target)  # tensors (..., A)
    print(monitor.status)

Letters: ``...`` any leading axes (batch, chunk step), ``A`` output coordinates, ``E`` episodes, ``S`` control steps.
Tensors of one measure have one shape (..., A), anything else is a ValueError. All sums run in float64. A measure that
is undefined (a constant target, say) is NaN, never an arbitrary number.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

STATE_VERSION = 1


def _rows(*tensors: Tensor) -> list[Tensor]:
    """Flattens tensors of one shape (..., A) to float64 (rows, A) without gradient."""
    shapes = {tuple(tensor.shape) for tensor in tensors}
    if len(shapes) != 1 or tensors[0].ndim < 1 or tensors[0].numel() == 0:
        raise ValueError(f"expected non-empty tensors of one shape (..., A), got {sorted(shapes)}")
    return [tensor.detach().double().reshape(-1, tensor.shape[-1]).cpu() for tensor in tensors]


def _one_minus_ratio(error_A: Tensor, total_A: Tensor) -> Tensor:
    """1 - error / total, NaN where the total is zero."""
    undefined = torch.full_like(total_A, math.nan)
    return torch.where(total_A > 0, 1 - error_A / torch.where(total_A > 0, total_A, 1.0), undefined)


def _variance(rows_NA: Tensor) -> Tensor:
    """Population variance per coordinate; exactly 0 for a constant, whose computed mean may be off by a last bit."""
    variance_A = rows_NA.var(dim=0, correction=0)
    return torch.where(rows_NA.amax(dim=0) == rows_NA.amin(dim=0), 0.0, variance_A)


def r2_per_coordinate(prediction: Tensor, target: Tensor) -> Tensor:
    """Coefficient of determination against the targets' global mean: 1 - MSE / Var(target), float64 (A,)."""
    prediction_NA, target_NA = _rows(prediction, target)
    return _one_minus_ratio((target_NA - prediction_NA).square().mean(dim=0), _variance(target_NA))


def explained_variance(prediction: Tensor, target: Tensor) -> Tensor:
    """1 - Var(target - prediction) / Var(target), float64 (A,): as R^2, but it ignores a constant bias."""
    prediction_NA, target_NA = _rows(prediction, target)
    return _one_minus_ratio(_variance(target_NA - prediction_NA), _variance(target_NA))


def prediction_variance_ratio(prediction: Tensor, target: Tensor) -> Tensor:
    """Var(prediction) / Var(target), float64 (A,): 0 for a constant output."""
    prediction_NA, target_NA = _rows(prediction, target)
    return 1 - _one_minus_ratio(_variance(prediction_NA), _variance(target_NA))


def skill(prediction: Tensor, target: Tensor, reference: Tensor) -> float:
    """Skill against a reference prediction: 1 - MSE / MSE of the reference.

    Every coordinate's error is first divided by its target's standard deviation, so that a gripper in [-1, 1] does
    not drown positions in metres; coordinates whose target is constant are left out.

    Args:
        prediction: (..., A).
        target: (..., A).
        reference: (..., A), what the reference (time-indexed mean trajectory, persistence) predicts.

    Returns:
        1 for a perfect prediction, 0 for one as good as the reference; NaN if the reference is perfect.

    Source: A. H. Murphy, "Skill scores based on the mean square error", Monthly Weather Review 116, 1988.
    """
    prediction_NA, target_NA, reference_NA = _rows(prediction, target, reference)
    variance_A = _variance(target_NA)
    varies = variance_A > 0
    if not bool(varies.any()):
        return math.nan
    error_A = (prediction_NA - target_NA).square().mean(dim=0)[varies] / variance_A[varies]
    reference_error_A = (reference_NA - target_NA).square().mean(dim=0)[varies] / variance_A[varies]
    return float(_one_minus_ratio(error_A.sum(), reference_error_A.sum()))


def cue_slope(delta_prediction: Tensor, delta_target: Tensor) -> float:
    """Regression through the origin of the output's change on the expert's when only the cue has moved.

    A mixture a * expert + (1 - a) * mean has slope a: 1 sees the cue, 0 is blind to it.

    Args:
        delta_prediction: (..., A), prediction with the cue moved minus prediction of the same state as it was.
        delta_target: (..., A), the expert's target with the cue moved minus its target as it was.

    Returns:
        sum(dp * dt) / sum(dt^2); NaN if the expert's target never changes.
    """
    delta_prediction_NA, delta_target_NA = _rows(delta_prediction, delta_target)
    power = delta_target_NA.square().sum()
    return float((delta_prediction_NA * delta_target_NA).sum() / power) if power > 0 else math.nan


def _spread(paths: Sequence[Tensor], num_steps: int) -> Tensor:
    """Root mean square distance of paths (S_e, D) from their time-mean, each padded with its last point."""
    rows = []
    for path_SD in paths:
        path_SD = torch.as_tensor(path_SD).detach().double().cpu()
        if path_SD.ndim != 2 or path_SD.shape[0] == 0:
            raise ValueError(f"expected paths of shape (S, D) with S >= 1, got {tuple(path_SD.shape)}")
        rows.append(torch.cat([path_SD, path_SD[-1:].expand(num_steps - path_SD.shape[0], -1)]))
    stacked_ESD = torch.stack(rows)
    return (stacked_ESD - stacked_ESD.mean(dim=0)).square().sum(dim=-1).mean().sqrt()


def spread_ratio(paths: Sequence[Tensor], expert_paths: Sequence[Tensor]) -> float:
    """Closed-loop spread of a policy's paths around their time-mean, over the expert's on the same seeds.

    About 0: the policy runs the same path whatever the episode. About 1: it varies as much as the expert.

    Args:
        paths: One (S, D) end-effector path per episode; shorter ones are padded with their last point.
        expert_paths: The expert's, for the same episodes.

    Returns:
        Ratio of root mean square distances; NaN with fewer than two episodes or an expert that does not vary.
    """
    if len(paths) != len(expert_paths):
        raise ValueError(f"expected one expert path per path, got {len(paths)} and {len(expert_paths)}")
    if len(paths) < 2:
        return math.nan
    num_steps = max(len(path) for path in [*paths, *expert_paths])
    expert_spread = _spread(expert_paths, num_steps)
    return float(_spread(paths, num_steps) / expert_spread) if expert_spread > 0 else math.nan


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
        return _finite_mean(self.r2)

    def scalars(self) -> dict[str, float]:
        """Every finite measure under a flat name, ready for ``SummaryWriter.add_scalar``."""
        named = {
            "r2": self.mean_r2,
            **{f"r2/{index}": value for index, value in enumerate(self.r2)},
            "explained_variance": _finite_mean(self.explained_variance),
            "prediction_variance_ratio": _finite_mean(self.prediction_variance_ratio),
            "skill_time_mean": self.skill_time_mean,
            "skill_persistence": self.skill_persistence,
            "cue_slope": self.cue_slope,
        }
        return {name: value for name, value in named.items() if math.isfinite(value)}


def _finite_mean(values: Sequence[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return sum(finite) / len(finite) if finite else math.nan


class CollapseMonitor:
    """Watches a training run for mean collapse: on the plateau or not, since when, and when it escaped.

    The watched signal is the cue slope where counterfactual pairs are passed, else R^2 (right where all variance is
    the cue). ``escape_step`` is T0.5: the first step from which the signal has stayed above ``escape_above``; a dip
    takes it back, and None means that the run has not escaped so far (right-censored).

    The run is on the plateau while the signal is below ``plateau_below``.
    """

    def __init__(self, plateau_below: float = 0.2, escape_above: float = 0.5) -> None:
        if not plateau_below <= escape_above:
            raise ValueError(f"expected plateau_below <= escape_above, got {plateau_below} and {escape_above}")
        self.plateau_below = plateau_below
        self.escape_above = escape_above
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
        return {**vars(self), "version": STATE_VERSION, "reading": reading}

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
