"""Time to escape from the mean, and the record of one seed's run.

T0.5 (`smidgen.evaluation.collapse.escape`) counts once R^2 has stayed above one half for a number of further steps;
a run that never gets there is right-censored at the last step that its arm allows.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from smidgen.evaluation.collapse.escape import ESCAPE_ABOVE, held_since
from smidgen.runtime.files import finite_or_none

SETTLED_ABOVE = 0.99
CONFIRM_STEPS = 200
MAX_CURVE_POINTS = 60

Measures = dict[str, float | None]


@dataclass
class EscapeWatch:
    """Watches one run's R^2.

    Attributes:
        confirm_steps: For how many further steps R^2 must stay above one half.
        above_since: First measured step of the present stay above one half; None below.
        escaped: Whether the present stay has lasted long enough.
        curve: (step, loss, R^2) of every measurement.
        settled_since: First measured step of the present stay above 0.99; None below.
    """

    confirm_steps: int = CONFIRM_STEPS
    above_since: int | None = None
    escaped: bool = False
    curve: list[tuple[int, float, float]] = field(default_factory=list)
    settled_since: int | None = None

    def update(self, step: int, loss: float, r2: float) -> bool:
        """Adds a measurement; returns whether the run has escaped."""
        self.curve.append((step, loss, r2))
        self.settled_since = held_since(self.settled_since, step, r2 > SETTLED_ABOVE)
        self.above_since = held_since(self.above_since, step, r2 > ESCAPE_ABOVE)
        self.escaped = self.above_since is not None and step - self.above_since >= self.confirm_steps
        return self.escaped

    def has_settled(self, num_steps: int) -> bool:
        """Whether R^2 has stayed above 0.99 for a number of steps; never for 0."""
        return (
            bool(num_steps) and self.settled_since is not None and self.curve[-1][0] - self.settled_since >= num_steps
        )

    def thinned_curve(self) -> list[tuple[int, float, float]]:
        """At most ``MAX_CURVE_POINTS`` measurements, evenly spread, including the first and the last."""
        last = len(self.curve) - 1
        if last < MAX_CURVE_POINTS:
            return list(self.curve)
        return [self.curve[round(k * last / (MAX_CURVE_POINTS - 1))] for k in range(MAX_CURVE_POINTS)]


@dataclass(frozen=True)
class SeedOutcome:
    """The result of one seed.

    Attributes:
        seed: Of the data set and of the network's initial weights.
        lr: Learning rate after warm-up.
        escape_step: T0.5; None where the run did not escape: right-censored at the arm's ``max_steps``, also where it
            diverged before.
        steps_run: Steps taken: fewer than ``max_steps`` where the run escaped or diverged.
        diverged: Whether the loss stopped being finite.
        curve: (step, loss of the step's batch, R^2), at most ``MAX_CURVE_POINTS`` of them; None for what is not finite.
        initial: Measures before the first step, by name (``ladder_measures``).
        final: The same after the last step.
        oracle_r2: Held-out R^2 of a linear probe on the raw tokens of the same data.
    """

    seed: int
    lr: float
    escape_step: int | None
    steps_run: int
    diverged: bool
    curve: list[tuple[int, float | None, float | None]]
    initial: Measures
    final: Measures
    oracle_r2: float | None = None

    @property
    def final_loss(self) -> float | None:
        """Loss of the last measured step's batch; None where it is not finite."""
        return self.curve[-1][1]

    def as_json(self) -> dict[str, Any]:
        """The record as JSON."""
        return asdict(self) | {"curve": [list(point) for point in self.curve]}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> SeedOutcome:
        """Reads the output of ``as_json``."""
        return cls(**{**record, "curve": [tuple(point) for point in record["curve"]]})


@dataclass
class RunRecord:
    """A run so far; its fields are those of :class:`SeedOutcome`."""

    watch: EscapeWatch
    oracle_r2: float | None = None
    steps_run: int = 0
    diverged: bool = False
    initial: Measures = field(default_factory=dict)
    final: Measures = field(default_factory=dict)

    def outcome(self, seed: int, lr: float) -> SeedOutcome:
        """The record of a finished run."""
        return SeedOutcome(
            seed=seed,
            lr=lr,
            escape_step=self.watch.above_since if self.watch.escaped else None,
            steps_run=self.steps_run,
            diverged=self.diverged,
            curve=[(step, finite_or_none(loss), finite_or_none(r2)) for step, loss, r2 in self.watch.thinned_curve()],
            initial=self.initial,
            final=self.final,
            oracle_r2=self.oracle_r2,
        )

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> RunRecord:
        """Reads the JSON of ``dataclasses.asdict``."""
        watch = record["watch"]
        return cls(**{**record, "watch": EscapeWatch(**{**watch, "curve": [tuple(p) for p in watch["curve"]]})})
