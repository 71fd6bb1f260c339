"""The verdict on a policy: does it see its cue, see it partly, or is it blind, and if blind, has it collapsed?

Two experiments can show that a policy sees. The pairs move the cue in a stored state and ask again (`cue_slope`); the
paths let it act on many cues drawn at random (`path_slope`). Either has slope a for a mixture
a * expert + (1 - a) * mean, and no policy gets a high slope without seeing; but a policy may fail one of them for
another reason: in mid-motion its own arm gives the old goal away, or it sees and then loses its way. So the higher
slope counts. A slope that is not known to within 0.2 is ignored: noise is not sight.

The numbers below are frozen: another number is another `DETECTOR_VERSION`. How often the verdict is wrong is measured
on policies whose slope is known, in docs/collapse.md.
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
    """A slope with its bootstrap interval over episodes; NaN where there are too few."""

    slope: float
    low: float
    high: float


@dataclass(frozen=True)
class Verdict:
    """What a policy is found to be.

    Attributes:
        label: ``sees``, ``partly_blind``, ``blind``; None if no slope is known well enough.
        interval: The slope that decided, with its interval; NaN if nothing did.
        source: ``cue_slope`` or ``path_slope``; None if nothing decided.
    """

    label: str | None
    interval: SlopeInterval
    source: str | None

    @property
    def is_certain(self) -> bool:
        """Whether the whole interval carries the same label."""
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
        cue: Of counterfactual pairs (`cue.cue_slope_parts`), where there are any.
        paths: Of closed-loop paths (`closed_loop.path_slope_parts`), where there are any.

    Returns:
        The verdict by the higher of the two slopes; one whose interval is wider than 0.4 is left out. Without either
        the label is None.
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
    """Whether a blind policy plays back the mean, be it of all, of each control step, or given what else it sees.

    Args:
        verdict: Of the policy.
        distances: Whichever are known: `offline.mean_distance` to a mean, `offline.recalibration_gain`, or the square
            of `closed_loop.mean_path_distance`; the smallest counts.

    Returns:
        False for a policy that is not blind; None where there is no verdict or no distance.
    """
    known = [distance for distance in distances if math.isfinite(distance)]
    if verdict.label is None or (verdict.label == BLIND and not known):
        return None
    return verdict.label == BLIND and min(known) <= AT_THE_MEAN_UP_TO


def episode_labels(parts: SlopeParts) -> list[str]:
    """A label for each episode, by its own slope.

    Args:
        parts: As a rule of closed-loop paths.

    Returns:
        ``sees``, ``partly_blind`` or ``blind``; ``undecided`` where the expert's own path stays so near the mean path
        (a quarter of the average squared distance) that seeing and blindness look alike, or a path is not finite.
    """
    products_E, powers_E = parts.products_E.tolist(), parts.powers_E.tolist()
    least = UNDECIDED_BELOW * sum(powers_E) / max(len(powers_E), 1)
    return [
        UNDECIDED if power <= least or not math.isfinite(product) else label_of(product / power)
        for product, power in zip(products_E, powers_E, strict=True)
    ]
