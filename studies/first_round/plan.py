"""The plan of the first round: arms, hypotheses and claims as they were written down before any run (``plan.json``).

What a comparison measures (`COMPARISON_KINDS`), with R(arm) the restricted mean escape time over the seeds, up to the
smallest ``max_steps`` of the comparison's arms:

- ``ratio``: geometric mean of R over ``slow``, divided by the geometric mean of R over ``fast``. Mostly one arm each.
- ``interaction``: ``slow`` and ``fast`` hold two arms each; (R(slow[0]) / R(fast[0])) / (R(slow[1]) / R(fast[1])), the
  gain in the first condition over the gain in the second.
- ``fvu``: held-out FVU at the end of a run, mean over ``slow``'s seeds minus mean over ``fast``'s; ``slow`` is the side
  that is predicted to be worse. An FVU above 1 counts as 1 (blind is blind), and so does that of a diverged run.
- ``regret``: ``slow[i]`` and ``fast[i]`` are the two candidates on the i-th data set, ``rule`` names the rule whose
  choice for each seed stands in ``slow[i]``'s record (``choices``), ``against`` is ``always_slow`` (always the
  candidates of ``slow``: always raw) or ``coin``. Geometric mean over the data sets of R(baseline) / R(chosen); the
  coin's R is the geometric mean of both candidates. So above 1: the rule's regret is the lower one.

What may be predicted of it (`PREDICTIONS`); `studies.first_round.decisions` has the rule with its margins:

- ``slow_is_slower``: the ratio is at least 1.5 and its interval lies above 1 (the effect is there).
- ``not_slower``: the mirror image, an effect that must be absent: it holds exactly where ``slow_is_slower`` fails.
- ``equal``: no effect in either direction: the interval lies within [0.8, 1.25].
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from smidgen.runtime.files import canonical_json, sha256_bytes
from smidgen.runtime.schemas import NAME_PATTERN, from_json, refuse, require_version, to_json

SCHEMA_VERSION = 1
COMPARISON_KINDS = ("ratio", "interaction", "fvu", "regret")
PREDICTIONS = ("slow_is_slower", "not_slower", "equal")
BASELINES = ("always_slow", "coin")
RULES = ("all", "any")
NEGATION = "not "
_NUM_ARMS = {"interaction": 2}


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """How each arm's learning rate is chosen: every rate on every tuning seed, apart from the seeds that count."""

    seeds: tuple[int, ...]
    lrs: tuple[float, ...]
    max_steps: int


@dataclass(frozen=True, kw_only=True)
class ArmPlan:
    """One arm: configurations as JSON (``dataclasses.asdict``), and a few words for people."""

    data: dict[str, Any]
    network: dict[str, Any]
    training: dict[str, Any]
    title: str = ""

    @property
    def max_steps(self) -> int:
        """Step at which a run that has not escaped is censored."""
        return int(self.training["max_steps"])


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One measured effect; the module's docstring says what each field does for each kind.

    Comparisons of one hypothesis with the same non-empty ``group`` are alternatives: the group holds when one of them
    does and fails when all do. The hypothesis's ``rule`` joins groups and single comparisons.
    """

    name: str
    kind: str
    slow: tuple[str, ...]
    fast: tuple[str, ...]
    predicted: str = "slow_is_slower"
    group: str = ""
    rule: str = ""
    against: str = ""

    @property
    def arms(self) -> tuple[str, ...]:
        """Every arm that the comparison needs, each once."""
        return tuple(dict.fromkeys(self.slow + self.fast))


@dataclass(frozen=True, kw_only=True)
class Hypothesis:
    """A hypothesis and the comparisons that decide it, by ``rule``: ``all`` of them must hold, or ``any``."""

    statement: str
    refuted_if: str
    comparisons: tuple[Comparison, ...]
    rule: str = "all"

    @property
    def arms(self) -> tuple[str, ...]:
        """Every arm that the hypothesis needs, each once."""
        return tuple(dict.fromkeys(arm for comparison in self.comparisons for arm in comparison.arms))


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A claim and what it rests on, joined by ``rule``.

    Each entry of ``hypotheses`` is a hypothesis (``"H4"``) or one of its comparisons (``"H4/interaction"``); with
    ``"not "`` in front it counts the other way round (``"not H7"`` holds where H7 fails).
    """

    statement: str
    hypotheses: tuple[str, ...]
    rule: str = "all"


@dataclass(frozen=True, kw_only=True)
class FirstRoundPlan:
    """Everything that is fixed before the runs.

    Attributes:
        form: ``full``; a smaller form served as a test of the runner.
        seeds: Seeds of every arm, apart from the tuning seeds.
        tuning: How learning rates are chosen.
        max_steps: Most steps of any run.
        arms: By name.
        hypotheses: By name; the page shows them in the names' natural order.
        claims: By name; likewise.
        schema_version: Of this format.
    """

    form: str
    seeds: tuple[int, ...]
    tuning: Tuning
    max_steps: int
    arms: dict[str, ArmPlan]
    hypotheses: dict[str, Hypothesis]
    claims: dict[str, Claim]
    schema_version: int = field(default=SCHEMA_VERSION)

    def __post_init__(self) -> None:
        check_plan(self, "plan")

    @classmethod
    def from_json(cls, value: Any, source: str = "plan.json") -> FirstRoundPlan:
        """Reads a parsed ``plan.json``.

        Raises:
            UserError: If it departs from the schema or contradicts itself; the message names source and field.
        """
        require_version(value, (SCHEMA_VERSION,), source)
        return from_json(cls, _in_natural_order(value), source)

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON; `from_json` gives it back."""
        plan: dict[str, Any] = to_json(self)
        return plan

    @property
    def sha256(self) -> str:
        """SHA-256 of ``plan.json`` as `smidgen.runtime.files.write_json_atomic` writes it; arms' records carry it."""
        return sha256_bytes(canonical_json(self.to_json()))


def _in_natural_order(value: Any) -> Any:
    """Parsed JSON whose named parts stand as people count (H2 before H10); the file sorts by letters."""
    if not isinstance(value, dict):
        return value
    parts = {name: value[name] for name in ("arms", "hypotheses", "claims") if isinstance(value.get(name), dict)}
    return value | {name: {key: part[key] for key in sorted(part, key=_natural_key)} for name, part in parts.items()}


def _natural_key(name: str) -> list[tuple[int, str]]:
    # Names end at 100 characters; of a longer one, which will be refused, int() might not take the digits.
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name[:200])]


def check_plan(plan: FirstRoundPlan, source: str) -> None:
    """Checks that a plan agrees with itself: names exist, kinds have the arms they need, seeds are apart.

    Raises:
        UserError: Naming source and field.
    """
    _check_seeds(plan, source)
    for name, arm in plan.arms.items():
        _check_name(name, source, f"arms.{name}")
        steps = arm.training.get("max_steps")
        if not isinstance(steps, int) or not 1 <= steps <= plan.max_steps:
            refuse(source, f"arms.{name}.training.max_steps", f"1..{plan.max_steps} (max_steps of the plan)", steps)
    for name, hypothesis in plan.hypotheses.items():
        _check_name(name, source, f"hypotheses.{name}")
        _check_hypothesis(plan, hypothesis, source, f"hypotheses.{name}")
    for name, claim in plan.claims.items():
        _check_name(name, source, f"claims.{name}")
        _check_claim(plan, claim, source, f"claims.{name}")


def _check_seeds(plan: FirstRoundPlan, source: str) -> None:
    if len(plan.seeds) < 2 or len(set(plan.seeds)) != len(plan.seeds):
        refuse(source, "seeds", "at least two different seeds", plan.seeds)
    if not plan.tuning.lrs or min(plan.tuning.lrs) <= 0:
        refuse(source, "tuning.lrs", "positive learning rates", plan.tuning.lrs)
    if set(plan.tuning.seeds) & set(plan.seeds):
        refuse(source, "tuning.seeds", "seeds apart from seeds", plan.tuning.seeds)


def _check_name(name: str, source: str, path: str) -> None:
    if not NAME_PATTERN.fullmatch(name):
        refuse(source, path, "letters, digits, '.', '_', '+' and '-'", name)


def _check_choice(value: str, valid: tuple[str, ...], source: str, path: str) -> None:
    if value not in valid:
        refuse(source, path, f"one of {', '.join(valid)}", value)


def _check_hypothesis(plan: FirstRoundPlan, hypothesis: Hypothesis, source: str, path: str) -> None:
    _check_choice(hypothesis.rule, RULES, source, f"{path}.rule")
    names = [comparison.name for comparison in hypothesis.comparisons]
    if not names or len(set(names)) != len(names):
        refuse(source, f"{path}.comparisons", "comparisons with different names", names)
    for index, comparison in enumerate(hypothesis.comparisons):
        place = f"{path}.comparisons[{index}]"
        _check_name(comparison.name, source, f"{place}.name")
        _check_choice(comparison.kind, COMPARISON_KINDS, source, f"{place}.kind")
        _check_choice(comparison.predicted, PREDICTIONS, source, f"{place}.predicted")
        check_comparison(plan, comparison, source, place)
        if comparison.kind == "regret":
            _check_choice(comparison.against, BASELINES, source, f"{place}.against")
            _check_name(comparison.rule, source, f"{place}.rule")
        elif comparison.rule or comparison.against:
            refuse(source, f"{place}.rule", "rule and against for kind regret alone", comparison.kind)


def check_comparison(plan: FirstRoundPlan, comparison: Comparison, source: str, place: str) -> None:
    """Checks that a comparison has the arms that its kind needs, all of the plan.

    Raises:
        UserError: Naming source and field.
    """
    for side in ("slow", "fast"):
        arms = getattr(comparison, side)
        needed = _NUM_ARMS.get(comparison.kind)
        if not arms or len(set(arms)) != len(arms) or (needed and len(arms) != needed):
            refuse(source, f"{place}.{side}", f"{needed or 'one or more'} different arms", arms)
        for name in arms:
            if name not in plan.arms:
                refuse(source, f"{place}.{side}", "names of arms of the plan", name)
    if set(comparison.slow) & set(comparison.fast) and comparison.kind != "interaction":
        refuse(source, f"{place}.fast", "no arm of slow", comparison.fast)
    if comparison.kind == "regret" and len(comparison.slow) != len(comparison.fast):
        refuse(source, f"{place}.fast", f"{len(comparison.slow)} arms, one per data set", comparison.fast)


def _check_claim(plan: FirstRoundPlan, claim: Claim, source: str, path: str) -> None:
    _check_choice(claim.rule, RULES, source, f"{path}.rule")
    if not claim.hypotheses:
        refuse(source, f"{path}.hypotheses", "at least one", claim.hypotheses)
    for entry in claim.hypotheses:
        hypothesis, _, comparison = entry.removeprefix(NEGATION).partition("/")
        known = plan.hypotheses.get(hypothesis)
        names = [each.name for each in known.comparisons] if known else []
        if known is None or (comparison and comparison not in names):
            refuse(source, f"{path}.hypotheses", "hypotheses, or comparisons as H1/name, of the plan", entry)
