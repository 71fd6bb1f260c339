"""The verdict on a policy: does it see its cue, see it partly, or is it blind, and if blind, has it collapsed?

Two experiments can show that a policy sees. Counterfactual pairs move the cue in a stored state and compare predictions
(`cue_slope`); closed-loop paths test it on many randomly drawn cues (`path_slope`). Both slopes are a for a mixture
a * expert + (1 - a) * mean, and no policy gets a high slope without seeing. But a policy may fail one of them for
another reason: in mid-motion its own arm reveals the old goal, or it sees the cue and then loses its way. So the higher
slope counts. A slope that is not known to within 0.2 is ignored, since noise does not prove sight.

The numbers below are frozen: to change one, change `DETECTOR_VERSION`. docs/collapse.md reports how often the verdict
is wrong for policies with a known slope.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from smidgen.evaluation.collapse.closed_loop import UNDECIDED_BELOW
from smidgen.evaluation.collapse.cue import SlopeParts
from smidgen.evaluation.collapse.labels import (
    BLIND,
    CUE_SLOPE,
    PATH_SLOPE,
    UNDECIDED,
    label_of,
)

MIN_EPISODES = 10
# Largest half-width of an interval at which its slope counts.
PRECISE_WITHIN = 0.2
AT_THE_MEAN_UP_TO = 0.25
NUM_RESAMPLES = 2000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class SlopeInterval:
    """A slope with its bootstrap interval over episodes; NaN if there are too few."""

    slope: float
    low: float
    high: float


@dataclass(frozen=True)
class Verdict:
    """The verdict on a policy.

    Attributes:
        label: ``sees``, ``partly_blind``, ``blind``; None if no slope is known well enough.
        interval: The deciding slope with its interval; NaN if there is none.
        source: The deciding slope, ``cue_slope`` or ``path_slope``; None if there is none.
    """

    label: str | None
    interval: SlopeInterval
    source: str | None

    @property
    def is_certain(self) -> bool:
        """Whether the whole interval has the same label."""
        return self.label is not None and label_of(self.interval.low) == label_of(self.interval.high)


NO_INTERVAL = SlopeInterval(math.nan, math.nan, math.nan)


def slope_interval(parts: SlopeParts) -> SlopeInterval:
    """A slope and its percentile bootstrap interval over episodes, always from the same draws.

    Returns:
        All NaN with fewer than 10 episodes in which there is something to respond to.

    Source: B. Efron, R. Tibshirani, "An introduction to the bootstrap", 1993, chapter 13.
    """
    if parts.num_episodes < MIN_EPISODES:
        return NO_INTERVAL
    heard_E = (parts.powers_E > 0).numpy()
    products_E, powers_E = parts.products_E.numpy()[heard_E], parts.powers_E.numpy()[heard_E]
    num_episodes = len(powers_E)
    rng = np.random.default_rng(0)
    counts_RE = rng.multinomial(num_episodes, np.full(num_episodes, 1 / num_episodes), size=NUM_RESAMPLES)
    slopes_R = (counts_RE @ products_E) / (counts_RE @ powers_E)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(slopes_R, [tail, 1 - tail])
    return SlopeInterval(parts.slope, float(low), float(high))


def judge(cue: SlopeParts | None = None, paths: SlopeParts | None = None) -> Verdict:
    """The verdict on a policy.

    Args:
        cue: From counterfactual pairs (`cue.cue_slope_parts`), if there are any.
        paths: From closed-loop paths (`closed_loop.path_slope_parts`), if there are any.

    Returns:
        The verdict by the higher of the two slopes. A slope with an interval wider than 0.4 is ignored; if neither is
        left, the label is None.
    """
    given: Mapping[str, SlopeParts | None] = {CUE_SLOPE: cue, PATH_SLOPE: paths}
    measured = {source: slope_interval(parts) for source, parts in given.items() if parts is not None}
    # A comparison with NaN is false.
    heard = {
        source: interval for source, interval in measured.items() if interval.high - interval.low <= 2 * PRECISE_WITHIN
    }
    if not heard:
        return Verdict(None, NO_INTERVAL, None)
    source = max(heard, key=lambda name: heard[name].slope)
    return Verdict(label_of(heard[source].slope), heard[source], source)


def is_mean_collapsed(verdict: Verdict, distances: Sequence[float]) -> bool | None:
    """Whether a blind policy plays back a mean: of all targets, of each control step, or given what else it sees.

    Args:
        verdict: The policy's verdict.
        distances: All known distances: `offline.mean_distance` to a mean, `offline.recalibration_gain`, or the square
            of `closed_loop.mean_path_distance`; the smallest counts.

    Returns:
        False for a policy that is not blind; None without a verdict or a distance.
    """
    known = [distance for distance in distances if math.isfinite(distance)]
    if verdict.label is None or (verdict.label == BLIND and not known):
        return None
    return verdict.label == BLIND and min(known) <= AT_THE_MEAN_UP_TO


def episode_labels(parts: SlopeParts) -> list[str]:
    """A label for each episode, by its own slope.

    Args:
        parts: Usually from closed-loop paths.

    Returns:
        ``sees``, ``partly_blind`` or ``blind``; ``undecided`` if the expert's own path stays so close to the mean path
        (a quarter of the average squared distance) that seeing and blindness look alike, or if a path is not finite.
    """
    products_E, powers_E = parts.products_E.tolist(), parts.powers_E.tolist()
    least = UNDECIDED_BELOW * sum(powers_E) / max(len(powers_E), 1)
    return [
        UNDECIDED if power <= least or not math.isfinite(product) else label_of(product / power)
        for product, power in zip(products_E, powers_E, strict=True)
    ]
