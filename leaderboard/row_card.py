"""A row's card: a summary of its records as one Markdown page, for reviewers of a submission."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from smidgen.evaluation.protocol import SUCCESS
from smidgen.leaderboard.cells import (
    deciding_slope_cell,
    interval,
    mean_measure,
    number,
    per_seed,
    percent,
    verdict_cell,
)
from smidgen.leaderboard.rows import Row, data_sets, policy_id
from smidgen.leaderboard.tables import setting
from smidgen.runtime.markdown import escape_markdown, left, markdown_table

_MEASURES = {
    "cue_slope": "cue slope",
    "r2": "R²",
    "skill_time_mean": "skill against the time mean",
    "skill_persistence": "skill against persistence",
    "spread_ratio": "spread ratio",
}


def row_card(row: Row, to_verify: Sequence[str]) -> str:
    """The card.

    Args:
        row: The row, with one record or more.
        to_verify: Commands that a maintainer runs to verify it.

    Returns:
        Markdown; the same records always give the same text, and nothing in them is read as markup.
    """
    parts = [
        f"# {escape_markdown(row.name)} on {escape_markdown(row.record['task'])}",
        _headline(row),
        *row_tables(row),
        commands_block("To verify it", to_verify),
    ]
    return "\n\n".join(parts) + "\n"


def row_tables(row: Row) -> list[str]:
    """Everything that the records say, as sections of Markdown."""
    several = ", mean over training seeds" if len(row.runs) > 1 else ""
    sections = [
        facts_table("Conditions", _conditions(row)),
        facts_table("Does it see?", _verdict(row)),
        facts_table("Policy", _policy(row)),
        facts_table("Training", _training(row)),
        facts_table(f"Measures{several}", _measures(row)),
        facts_table("How episodes ended", _endings(row)),
        _chain(row),
    ]
    return [section for section in sections if section]


def commands_block(title: str, commands: Sequence[str]) -> str:
    """A section of commands to type."""
    return "\n".join([f"## {title}", "", "```sh", *commands, "```"])


def _headline(row: Row) -> str:
    rate = row.success
    counts = f": {per_seed(row)}" if len(row.runs) > 1 else ""
    lines = [f"Success {rate['k']}/{rate['n']} = **{percent(rate)}** [{interval(rate)}]{counts}."]
    if row.shortfalls:
        lines.append(f"Not a full entry: {escape_markdown(', '.join(row.shortfalls))}.")
    return "\n\n".join(lines)


def facts_table(title: str, facts: Mapping[str, Any]) -> str:
    """A section with a table of facts by name; empty without any."""
    if not facts:
        return ""
    lines = [f"## {title}", "", "| | |", "| --- | --- |"]
    return "\n".join(lines + [f"| {escape_markdown(key)} | {escape_markdown(str(facts[key]))} |" for key in facts])


def _conditions(row: Row) -> dict[str, Any]:
    protocol = row.record["protocol"]
    environment = {key.replace("_", " "): setting(value) for key, value in sorted(row.record["environment"].items())}
    return environment | {
        "protocol": protocol["version"],
        "test seeds": f"{protocol['seed_start']} to {protocol['seed_start'] + protocol['episodes'] - 1}",
        "horizon": f"{protocol['horizon']} steps at {protocol['control_hz']} Hz",
        "success": f"held for {protocol['hold_steps']} steps",
        **row.record["versions"],
    }


def _policy(row: Row) -> dict[str, Any]:
    policy = row.record["policy"]
    names = ("kind", "transform", "standardise_before", "standardise_after")
    facts: dict[str, Any] = {key: dict(policy)[key] for key in names}
    facts |= {"observes": ", ".join(policy["observes"]), "policy id": policy_id(row.record)}
    return {key.replace("_", " "): value for key, value in facts.items() if value is not None}


def _training(row: Row) -> dict[str, Any]:
    training = row.record["policy"]["training"] or {}
    config = training.get("training_config")
    settings = (
        {key: value for key, value in sorted(config.items()) if key != "seed"} if isinstance(config, dict) else {}
    )
    seeds = {"training seeds": ", ".join(map(str, row.training_seeds))} if row.training_seeds else {}
    others = {key.replace("_", " "): value for key, value in training.items() if key != "training_config"}
    return {**seeds, **others, **settings}


def _verdict(row: Row) -> dict[str, str]:
    cells = {"verdict": verdict_cell(row), "decided by": deciding_slope_cell(row)}
    return {title: f"{cell.text} {cell.detail}".rstrip() for title, cell in cells.items() if not cell.is_missing}


def _measures(row: Row) -> dict[str, str]:
    measured = {title: mean_measure(row, key) for key, title in _MEASURES.items()}
    return {title: number(value) for title, value in measured.items() if value is not None}


def _endings(row: Row) -> dict[str, int]:
    labels = Counter(episode["label"] for record in row.records for episode in record["episodes"])
    failures = sorted((label for label in labels if label != SUCCESS), key=lambda label: (-labels[label], label))
    return {label.replace("_", " "): labels[label] for label in (SUCCESS, *failures)}


def _chain(row: Row) -> str:
    """Hashes from the demonstrations to each record."""
    policy = row.record["policy"]
    first, last = policy["data_set_seeds"] or ("?", "?")
    lines = ["## Where it comes from", ""]
    if found := data_sets(row):
        told = " and ".join(f"`{sha}`" for sha in found)
        lines += [f"Demonstrations of seeds {first} to {last}, data set {told}.", ""]
    rows = [
        [escape_markdown(run.source), f"`{run.sha256}`", f"`{checkpoint}`" if checkpoint else ""]
        for run in row.runs
        for checkpoint in [run.record["policy"]["checkpoint_sha256"]]
    ]
    return "\n".join([*lines, markdown_table(left("record", "SHA-256", "checkpoint"), rows)])
