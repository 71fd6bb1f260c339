"""A published checkpoint's card: how well it does, whether it sees and how to run it, as one Markdown page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from smidgen.evaluation.collapse.labels import BLIND
from smidgen.evaluation.record_schema import judged_collapse
from smidgen.leaderboard.cells import interval, num_demonstrations, percent, verdict_phrase
from smidgen.leaderboard.row_card import commands_block, facts_table, row_tables
from smidgen.leaderboard.rows import Row, Run
from smidgen.runtime.errors import UserError
from smidgen.runtime.markdown import escape_markdown


def checkpoint_card(run: Run, to_run: Sequence[str]) -> str:
    """The card.

    Args:
        run: The record of the checkpoint's evaluation.
        to_run: Commands that run the checkpoint.

    Returns:
        Markdown in which every figure is the record's; the same record always gives the same text, and nothing in it
        is read as markup.
    """
    policy, row = run.record["policy"], Row((run,))
    parts = [
        f"# {escape_markdown(policy['name'])} on {escape_markdown(run.record['task'])}",
        _success(row),
        _sight(run),
        _origin(run),
        commands_block("To run it", to_run),
        *row_tables(row),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def require_same_checkpoint(run: Run, sha256: str, fix: str) -> None:
    """Refuses the record of another checkpoint.

    Args:
        run: The record.
        sha256: The hash of the checkpoint that the record should be of.
        fix: What to do about it.

    Raises:
        UserError: Naming both hashes.
    """
    evaluated = run.record["policy"]["checkpoint_sha256"]
    if evaluated != sha256:
        raise UserError(f"{run.source} is the record of checkpoint {evaluated!s:.12}, not of {sha256:.12}; {fix}")


def _success(row: Row) -> str:
    rate, protocol = row.success, row.record["protocol"]
    return (
        f"Success in {rate['k']} of {rate['n']} episodes = **{percent(rate)}** "
        f"[{interval(rate)}, {100 * protocol['confidence']:.0f} % interval over episodes]."
    )


def _sight(run: Run) -> str:
    collapse = judged_collapse(run.record)
    sentence = f"This policy {verdict_phrase(collapse)}."
    if collapse.get("verdict") != BLIND:
        return sentence
    return (
        f"**{sentence}** What it does hardly depends on the cue, whatever in the picture decides what to do. Whatever "
        "success it has does not come from looking."
    )


def _origin(run: Run) -> str:
    step, seed = (run.record["policy"]["training"] or {}).get("step"), run.training_seed
    facts = {"from {:,} demonstrations": num_demonstrations(run.record), "for {:,} steps": step, "with seed {}": seed}
    known = [words.format(value) for words, value in facts.items() if isinstance(value, int)]
    return f"Trained {' '.join(known)}." if known else ""


def unevaluated_card(name: str, facts: dict[str, Any], to_run: Sequence[str]) -> str:
    """The card of a checkpoint that comes without a record.

    Args:
        name: The policy's name.
        facts: What the checkpoint says of itself, for a table.
        to_run: Commands that run it.

    Returns:
        Markdown.
    """
    parts = [
        f"# {escape_markdown(name)} on {escape_markdown(str(facts['task']))}",
        "No evaluation came with this checkpoint: nothing is known of its success, or of whether it sees.",
        commands_block("To run it", to_run),
        facts_table("What the checkpoint says of itself", facts),
    ]
    return "\n\n".join(parts) + "\n"
