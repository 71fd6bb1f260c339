"""Decisions withdrawn after the runs (``withdrawn.json``): why, and what a matched comparison of the records gives.

The file names decisions of the plan beside it (a claim, a hypothesis, or one comparison as ``H2/raw-over-dft1d-none``)
and the figures that take their place. It contains no figures: they are measured from the arms' records, as the
decisions are. Kinds of figures (`FIGURE_KINDS`):

- ``ratio``, ``interaction``, ``fvu``: as in a plan's comparison, from arms that the plan did not compare.
- ``log_times``: geometric mean over seeds of the ratio of two arms' escape times, which one outlier moves less than it
  moves a ratio of means. Every run of both must have escaped.
- ``planned``: a comparison of the plan (``comparison``), shown where its decision missed the margin.
- ``choices``: how often the rule of that comparison, of kind ``regret``, took its second candidate.
- ``escapes``: how many runs of each arm escaped, of those that count and of those that tuned its learning rate.
- ``tuning``: mean escape steps of the tuning runs that each arm made at one learning rate, ``lr``.
- ``rates``: the learning rate that each arm ran at.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from smidgen.runtime.files import read_json
from smidgen.runtime.schemas import from_json, refuse, require_version
from studies.first_round.plan import Comparison, FirstRoundPlan, check_comparison

SCHEMA_VERSION = 1
WITHDRAWN_FILE = "withdrawn.json"
MEASURED_KINDS = ("ratio", "interaction", "fvu", "log_times")
PLANNED_KINDS = ("planned", "choices")
ARM_KINDS = ("escapes", "tuning", "rates")
FIGURE_KINDS = (*MEASURED_KINDS, *PLANNED_KINDS, *ARM_KINDS)


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure that is shown in place of a withdrawn decision; the module's docstring lists the kinds.

    Attributes:
        what: In which respect the arms are matched, or what the figure shows.
        kind: One of ``FIGURE_KINDS``.
        slow: Of the measured kinds, as in a comparison.
        fast: Likewise.
        comparison: Of ``planned`` and ``choices``: a comparison of the plan, as ``H11/over-coin``.
        arms: Of the other kinds.
        lr: Of ``tuning``: one of the plan's learning rates.
    """

    what: str
    kind: str
    slow: tuple[str, ...] = ()
    fast: tuple[str, ...] = ()
    comparison: str = ""
    arms: tuple[str, ...] = ()
    lr: float | None = None

    @property
    def as_comparison(self) -> Comparison:
        """What the plan would have said; ``log_times`` compares the same arms as ``ratio``."""
        kind = "ratio" if self.kind == "log_times" else self.kind
        return Comparison(name="matched", kind=kind, slow=self.slow, fast=self.fast)


@dataclass(frozen=True, kw_only=True)
class Withdrawal:
    """Decisions withdrawn for one reason.

    Attributes:
        verdicts: Claims, hypotheses and comparisons (``H2/raw-over-dft1d-none``) of the plan.
        reason: One or two sentences.
        figures: What the records give instead.
        lacks: What a fair decision needs and no record contains; empty if nothing is missing.
    """

    verdicts: tuple[str, ...]
    reason: str
    figures: tuple[Figure, ...] = ()
    lacks: str = ""


@dataclass(frozen=True, kw_only=True)
class Withdrawals:
    """The file."""

    plan_sha256: str
    withdrawals: tuple[Withdrawal, ...]
    schema_version: int = field(default=SCHEMA_VERSION)


def read_withdrawals(folder: Path, plan: FirstRoundPlan) -> tuple[Withdrawal, ...]:
    """Reads a suite's withdrawn decisions; none if there is no such file.

    Raises:
        UserError: If the file departs from the schema or names what the plan does not have.
    """
    path = folder / WITHDRAWN_FILE
    if not path.exists():
        return ()
    value, source = read_json(path), str(path)
    require_version(value, (SCHEMA_VERSION,), source)
    content = from_json(Withdrawals, value, source)
    if content.plan_sha256 != plan.sha256:
        refuse(source, "plan_sha256", f"{plan.sha256} (the plan beside it)", content.plan_sha256)
    _check_decisions(content, plan, source)
    for index, withdrawal in enumerate(content.withdrawals):
        for number, figure in enumerate(withdrawal.figures):
            _check_figure(figure, plan, source, f"withdrawals[{index}].figures[{number}]")
    return content.withdrawals


def planned_comparison(plan: FirstRoundPlan, entry: str) -> Comparison | None:
    """The comparison that ``H1/name`` means; None where the plan has none."""
    hypothesis, _, name = entry.partition("/")
    found = plan.hypotheses.get(hypothesis)
    return next((each for each in found.comparisons if each.name == name), None) if found else None


def _check_decisions(content: Withdrawals, plan: FirstRoundPlan, source: str) -> None:
    seen: set[str] = set()
    for index, withdrawal in enumerate(content.withdrawals):
        place = f"withdrawals[{index}].verdicts"
        if not withdrawal.verdicts:
            refuse(source, place, "at least one", withdrawal.verdicts)
        for name in withdrawal.verdicts:
            if name not in plan.claims and name not in plan.hypotheses and not planned_comparison(plan, name):
                refuse(source, place, "claims, hypotheses or comparisons (as H1/name) of the plan", name)
            if name in seen:
                refuse(source, place, "each decision once", name)
            seen.add(name)


def _check_figure(figure: Figure, plan: FirstRoundPlan, source: str, place: str) -> None:
    if figure.kind not in FIGURE_KINDS:
        refuse(source, f"{place}.kind", f"one of {', '.join(FIGURE_KINDS)}", figure.kind)
    if figure.kind in MEASURED_KINDS:
        check_comparison(plan, figure.as_comparison, source, place)
        if figure.kind == "log_times" and len(figure.slow) + len(figure.fast) != 2:
            refuse(source, f"{place}.slow", "one arm on each side", figure.slow)
    elif figure.kind in PLANNED_KINDS:
        comparison = planned_comparison(plan, figure.comparison)
        if comparison is None or (figure.kind == "choices" and comparison.kind != "regret"):
            refuse(
                source, f"{place}.comparison", "a comparison of the plan (for choices: of regrets)", figure.comparison
            )
    elif not figure.arms or any(name not in plan.arms for name in figure.arms):
        refuse(source, f"{place}.arms", "arms of the plan", figure.arms)
    if (figure.kind == "tuning") != (figure.lr is not None) or (figure.lr and figure.lr not in plan.tuning.lrs):
        refuse(source, f"{place}.lr", f"for tuning, one of {list(plan.tuning.lrs)}; else null", figure.lr)
