"""The search as Markdown, for docs/recipe.md: a table for each task, from the records alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from smidgen.evaluation.collapse.labels import slope_text
from smidgen.evaluation.statistics import exact_mcnemar
from smidgen.runtime.markdown import left, markdown_table, right
from studies.recipe.arms import Arm
from studies.recipe.records import ArmRecord

HEAD = [
    *left("arm", "success [95 %]"),
    *right("once"),
    *left("against its baseline"),
    *right("sight", "cue slope", "held-out skill"),
    *left("failures"),
    *right("steps", "core minutes"),
]
MOST_FAILURES = 3
NOTHING = "No arm has a record yet."
UNKNOWN = "-"
SPECK = "speck_4"
# What a Perceiver reads, and the arms that read it so, with any training seed.
INPUTS = {
    "raw, aliased positions, gain 8": ("posted.gain8",),
    "raw, positions per axis, gain 8": ("uncentred.gain8",),
    "raw, centred, aliased positions, gain 8": ("aliased.gain8",),
    "raw, centred, positions per axis": ("perceiver", "perceiver.again"),
    "the same, gain 2": ("gain2",),
    "the same, gain 8": ("gain8",),
    "the same, gain 32": ("gain32",),
    "the same, latents that start with windows": ("located10", "located10.again"),
    "the same, windows and gain 8": ("located10.gain8",),
    "`dft1d`, centred": ("dft1d",),
    "`dft1d`, centred, gain 64": ("dft1d.gain64",),
    "`dft3d`, centred, gain 8": ("dft3d.gain8",),
    "a small CNN on the same frames": ("cnn", "cnn.again"),
}


def markdown(arms: Mapping[str, Arm], records: Mapping[str, ArmRecord]) -> str:
    """Every task's arms, in the order of the plan.

    Args:
        arms: The plan's arms by name, in order.
        records: What has been run, by the same names.
    """
    if not records:
        return NOTHING
    parts = [f"{len(records)} of {len(arms)} arms have a record."]
    for task in dict.fromkeys(arms[name].task for name in records):
        rows = [row(name, arms, records) for name in records if arms[name].task == task]
        parts.append(f"**{task}**\n\n{markdown_table(HEAD, rows)}")
    heading = f"**{SPECK}, by training seed: successes and the final cue slope**"
    parts.append(f"{heading}\n\n{history_table(arms, records)}")
    return "\n\n".join(parts)


def history_table(arms: Mapping[str, Arm], records: Mapping[str, ArmRecord]) -> str:
    """Success and cue slope on Speck of 4 pixels, with and without the motion in the frames, by training seed."""
    rows = []
    for told, plain in {"Perceiver": "perceiver", "Perceiver, windows": "located10", "CNN": "cnn"}.items():
        base = "" if plain == "perceiver" else f"{plain}."
        kinds = ((plain, f"{plain}.again"), (f"{base}dropout",), (f"{base}one_frame",))
        found = [[record for name, record in records.items() if _is_repetition(arms[name], labels)] for labels in kinds]
        rows.append([told, *(_outcomes_text(those) for those in found)])
    return markdown_table(left("policy", "three frames", "`history_dropout=0.5`", "one frame"), rows)


def inputs_table(arms: Mapping[str, Arm], records: Mapping[str, ArmRecord]) -> str:
    """Success, cue slope and held-out skill on Speck of 4 pixels by what a policy reads, by training seed."""
    rows = []
    for told, labels in INPUTS.items():
        found = [record for name, record in records.items() if _is_repetition(arms[name], labels)]
        skills = ", ".join(number_text(record.validation[-1].get("skill_time_mean")) for record in _by_seed(found))
        rows.append([told, _outcomes_text(found), skills or UNKNOWN])
    return markdown_table(left("input", "success, by training seed", "held-out skill"), rows)


def _is_repetition(arm: Arm, labels: Sequence[str]) -> bool:
    return arm.task == SPECK and not arm.acting and arm.label.partition(".seed")[0] in labels


def _by_seed(records: Sequence[ArmRecord]) -> list[ArmRecord]:
    return sorted(records, key=lambda record: record.config["training"]["seed"])


def _outcomes_text(records: Sequence[ArmRecord]) -> str:
    in_order = _by_seed(records)
    if not in_order:
        return UNKNOWN
    rates = ", ".join(f"{record.success['k']:.0f}" for record in in_order)
    slopes = ", ".join(number_text(record.cue_slope) for record in in_order)
    return f"{rates} of {in_order[0].success['n']:.0f}; cue slope {slopes}"


def row(name: str, arms: Mapping[str, Arm], records: Mapping[str, ArmRecord]) -> list[str]:
    """One arm's row."""
    record, arm = records[name], arms[name]
    last = record.validation[-1]
    most = sorted(record.failures.items(), key=lambda item: (-item[1], item[0]))[:MOST_FAILURES]
    training = record.costs["training"]
    return [
        f"{name.partition('.')[2]}: {arm.reason}",
        f"{rate_text(record.success)} [{100 * record.success['low']:.0f}-{100 * record.success['high']:.0f} %]",
        rate_text(record.success_once),
        against_text(name, arms, records),
        number_text(record.sight),
        number_text(record.cue_slope),
        number_text(last.get("skill_time_mean")),
        ", ".join(f"{count} {label}" for label, count in most),
        f"{last['step']:,.0f}",
        f"{training.core_s / 60:.0f}",
    ]


def rate_text(rate: Mapping[str, float]) -> str:
    """Successes of episodes."""
    return f"{rate['k']:.0f}/{rate['n']:.0f}"


def number_text(value: float | None) -> str:
    """A slope or a skill."""
    return UNKNOWN if value is None else slope_text(value)


def baseline_of(name: str, arms: Mapping[str, Arm]) -> str:
    """The arm that a lever is compared with: the same task, training seed and way of acting, with the plain policy.

    Empty for a baseline itself, and where the plan has none.
    """
    arm = arms[name]
    plain = str(arm.training["policy"])
    found = [
        other
        for other, its in arms.items()
        if (its.task, its.acting, its.training["seed"]) == (arm.task, arm.acting, arm.training["seed"])
        and its.label.partition(".seed")[0] in (plain, f"{plain}.again")
        and other != name
    ]
    return found[0] if found else ""


def against_text(name: str, arms: Mapping[str, Arm], records: Mapping[str, ArmRecord]) -> str:
    """Seeds won less seeds lost against the baseline, with the exact McNemar test's p-value."""
    baseline = baseline_of(name, arms)
    if baseline not in records:
        return ""
    own, other = (records[arm].success_by_episode for arm in (name, baseline))
    p_value, num_shared = exact_mcnemar(own, other)
    won = sum(own[place] - other[place] for place in range(num_shared))
    return f"{won:+d}/{num_shared}, p = {p_value:.2g}"
