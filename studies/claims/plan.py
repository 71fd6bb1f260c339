"""The plan of the second round, ``plan.json``: arms, contrasts, claims, the order of the jobs, what they may cost."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smidgen.runtime.errors import UserError
from smidgen.runtime.files import read_json, remove_leftovers, write_json_atomic
from smidgen.runtime.schemas import to_json
from studies.claims import design
from studies.claims.arms import Arm
from studies.claims.contrasts import Claim, Contrast
from studies.claims.records import RUNS_FOLDER, TUNING, arm_content, arm_sha256

PLAN_FILE = "plan.json"
SCHEMA_VERSION = 2
RULES = {
    "area": "The area under 1 - R^2 (cut to [0, 1]; held-out R^2 where examples are drawn) from step 0 to a fixed "
    "horizon, by trapezoids over the measured steps.",
    "measuring": f"Every {design.MEASURE_EVERY} steps; where held-out examples are other than the pool, every "
    f"{design.MEASURE_EVERY} steps up to step {design.SPARSE_AFTER} and every fifth of these from there on, because a "
    "measurement costs as much there as eight steps.",
    "settling": "Arms of primary contrasts at 30 seeds run to their horizon. In the others a run whose R^2 has stayed "
    f"above 0.99 for {design.SETTLE_STEPS} steps ends, and from there on its area grows by the mean of these steps: "
    "that changes a ratio by a few percent (settling.json), where a descriptive one counts as large from three.",
    "estimate": "One value per seed: the contrast's weighted sum of log areas. Hodges and Lehmann's estimate, and the "
    "interval of the exact signed-rank test. coverage.json has its simulated coverage.",
    "rates": f"Per arm on {len(design.TUNING_SEEDS)} tuning seeds by median T0.5 (a run that does not escape counts as "
    "one that escapes at the horizon), ties by mean area; the grid grows until the best rate lies inside it and a run "
    f"has escaped, or ends (after {design.MAX_RATES} rates); the rate is then frozen for all looks.",
    "looks": "O'Brien and Fleming over 10 and 30 seeds. At 10 seeds the signed-rank test has no p-value below 0.002, "
    "which is above the first boundary: that look shows an estimate and decides nothing, and every primary contrast "
    "goes on to 30.",
    "holds": "slower: the interval of the deciding look excludes 1 in the predicted direction, and the ratio is at "
    "least least_ratio. absent: the interval of two one-sided tests at alpha lies inside equivalence.",
    "fails": "slower: the interval of the deciding look lies below 1. absent: it excludes 1, and the ratio is at least "
    "least_ratio or at most its inverse.",
    "absent": "slower: the interval of two one-sided tests at alpha lies inside equivalence.",
    "undecided": "Everything else.",
    "never_learned": f"A run without T0.5 is saturated where its attention entropy ends below {design.SATURATED_BELOW} "
    "of the largest possible, and at the mean otherwise.",
}


@dataclass(frozen=True)
class Step:
    """One step of the work: the search for an arm's rate, or a block of its seeds."""

    arm: str
    block: str


@dataclass(frozen=True, kw_only=True)
class StudyPlan:
    """Everything that is fixed before the runs.

    Attributes:
        claims: The originator's claims by name.
        contrasts: By name; those of the claims are primary, the others descriptive.
        arms: By name.
        order: The work, what decides the claims first.
        notes: What was known when the plan was made, and what was decided for which reason.
        at_most_core_hours: What each arm may cost, from measured steps; empty where they were not measured.
    """

    claims: dict[str, Claim]
    contrasts: dict[str, Contrast]
    arms: dict[str, Arm]
    order: tuple[Step, ...]
    notes: tuple[str, ...] = ()
    at_most_core_hours: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON, with the design that all claims share."""
        arms = {name: {**arm_content(arm), "sha256": arm_sha256(arm)} for name, arm in self.arms.items()}
        return {
            "schema_version": SCHEMA_VERSION,
            "claims": to_json(self.claims),
            "contrasts": to_json(self.contrasts),
            "arms": arms,
            "order": [f"{step.arm}/{step.block}" for step in self.order],
            "seeds": list(design.SEEDS),
            "blocks": to_json(design.BLOCKS),
            "tuning": {
                "seeds": list(design.TUNING_SEEDS),
                "rates": list(design.RATES),
                "most_rates": design.MAX_RATES,
            },
            "alpha": round(design.ALPHA, 9),
            "looks": [to_json(look) for look in design.LOOKS],
            "single_look": to_json(design.SINGLE_LOOK),
            "equivalence": {"inside": list(design.EQUIVALENCE), "confidence": design.EQUIVALENCE_CONFIDENCE},
            "rules": RULES,
            "notes": list(self.notes),
            "budget": {
                "core_hours": design.BUDGET_CORE_HOURS,
                "at_most": dict(sorted(self.at_most_core_hours.items())),
                "at_most_in_all": round(sum(self.at_most_core_hours.values()), 2),
            },
        }


def settle_plan(plan: StudyPlan, folder: Path, path: Path | None = None) -> None:
    """Writes the plan; once there are records, whatever they depend on must not change.

    Contrasts, notes and arms may be added later. An arm that has records, a claim, and everything that all claims share
    must not change.

    Args:
        plan: The plan.
        folder: Of the records.
        path: Of the plan, if it is not ``plan.json`` beside the records.

    Raises:
        UserError: If there are records, and the plan beside them differs in what they rest on.
    """
    path, new = path or folder / PLAN_FILE, plan.to_json()
    remove_leftovers(path.parent, path.name)
    if path.exists() and any((folder / RUNS_FOLDER).glob("*/*.json")):
        difference = first_difference(read_json(path), new, {each.name for each in (folder / RUNS_FOLDER).iterdir()})
        if difference:
            raise UserError(
                f"{path} has records, and this version's plan differs from it in {difference}: check out the version "
                f"that wrote it, or choose another out="
            )
    if not path.exists() or read_json(path) != new:
        write_json_atomic(path, new)


def first_difference(settled: dict[str, Any], new: dict[str, Any], arms_with_records: set[str]) -> str:
    """The first difference from a settled plan that affects its records; empty if there is none."""
    shared = [name for name in settled if name not in ("arms", "contrasts", "order", "notes", "budget")]
    for name in shared:
        if settled[name] != new.get(name):
            return name
    for name in sorted(arms_with_records):
        if settled["arms"].get(name) != new["arms"].get(name):
            return f"arms.{name}"
    for claim in settled["claims"].values():
        if settled["contrasts"][claim["contrast"]] != new["contrasts"].get(claim["contrast"]):
            return f"contrasts.{claim['contrast']}"
    return ""


def ordered_steps(primary: list[str], secondary: list[str], arms: dict[str, Arm]) -> tuple[Step, ...]:
    """The primary contrasts' arms on ten seeds, then on thirty, then the others on ten.

    Args:
        primary: Arms of primary contrasts that go on to 30 seeds, in the order of the claims' urgency.
        secondary: All others.
        arms: All arms.
    """
    first, *later = design.BLOCKS
    steps = [step for name in primary for step in (*_search(name, arms), Step(name, first))]
    steps += [Step(name, block) for name in primary for block in later]
    steps += [step for name in secondary for step in (*_search(name, arms), Step(name, first))]
    return tuple(dict.fromkeys(steps))


def _search(name: str, arms: dict[str, Arm]) -> tuple[Step, ...]:
    source = arms[name].rate_of or name
    return (Step(source, TUNING),)
