"""The decisions as Markdown tables and on the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from smidgen.runtime.markdown import escape_markdown, left, markdown_table
from smidgen.runtime.terminal_table import TerminalColumn, TerminalRow, print_table
from studies.first_round.decisions import (
    FAILS,
    HOLDS,
    INCONCLUSIVE,
    NOT_RUN,
    WITHDRAWN,
    ClaimResult,
    ComparisonResult,
    Decisions,
    HypothesisResult,
)
from studies.first_round.matched import withdrawal_text
from studies.first_round.records import Suite
from studies.first_round.wording import (
    and_list,
    decision_note,
    decision_text,
    effect_interval,
    effect_value,
    escape_counts,
    p_text,
    part_figures,
    prediction,
)

_STYLES = {HOLDS: "green", FAILS: "red", INCONCLUSIVE: "yellow", NOT_RUN: "dim", WITHDRAWN: "magenta"}


def markdown(decisions: Decisions) -> str:
    """Claims, hypotheses and comparisons as three tables."""
    plan, suite = decisions.suite.plan, decisions.suite
    num_runs = sum(len(record.seeds) for record in suite.arms.values())
    lines = [
        f"{len(suite.arms)} of {len(plan.arms)} arms have run: {num_runs:,} runs, {len(plan.seeds)} seeds for each arm."
    ]
    lines += [
        "",
        markdown_table(
            left("claim", "statement", "decision", "rests on"),
            (_claim_row(entry, suite) for entry in decisions.claims.values()),
        ),
    ]
    header = left("hypothesis", "statement", "refuted if", "decision", "p (Holm)")
    lines += ["", markdown_table(header, (_hypothesis_row(entry, suite) for entry in decisions.hypotheses.values()))]
    header = left("comparison", "predicted", "measured [95 % interval]", "escaped, slow against fast", "on its own")
    rows = [_comparison_row(entry, part) for entry in decisions.hypotheses.values() for part in entry.comparisons]
    return "\n".join([*lines, "", markdown_table(header, rows)])


def _claim_row(result: ClaimResult, suite: Suite) -> list[str]:
    parts = [
        f"{escape_markdown(part.entry)} {decision_text(part)}"
        + (f" ({part_figures(part)})" if part_figures(part) else "")
        for part in result.parts
    ]
    rule = f"{result.claim.rule} of: " if len(parts) > 1 else ""
    statement = escape_markdown(result.claim.statement)
    return [result.name, statement, _decision(result, suite), rule + "; ".join(parts)]


def _hypothesis_row(result: HypothesisResult, suite: Suite) -> list[str]:
    texts = [escape_markdown(text) for text in (result.hypothesis.statement, result.hypothesis.refuted_if)]
    p_value = p_text(result.p_holm).removeprefix("= ") if result.uncorrected.value in (HOLDS, FAILS) else ""
    return [result.name, *texts, _decision(result, suite), p_value.replace("<", "&lt;")]


def _decision(result: HypothesisResult | ClaimResult, suite: Suite) -> str:
    note = decision_note(result)
    shown = f"**{result.decision}**" + (f" ({note})" if note else "")
    return f"{shown}. {escape_markdown(withdrawal_text(result.withdrawal, suite))}" if result.withdrawal else shown


def _comparison_row(result: HypothesisResult, part: ComparisonResult) -> list[str]:
    effect = part.effect
    measured = f"{effect_value(effect)} [{effect_interval(effect)}]" if effect else ""
    predicted = escape_markdown(prediction(part.comparison))
    return [f"{result.name}/{part.comparison.name}", predicted, measured, escape_counts(part), decision_text(part)]


def print_terminal(decisions: Decisions, console: Console) -> None:
    """Prints claims and hypotheses with their decisions; text from records is never read as markup."""
    for title, entries in (("claims", decisions.claims), ("hypotheses", decisions.hypotheses)):
        rows = []
        for name, result in entries.items():
            statement = result.claim.statement if isinstance(result, ClaimResult) else result.hypothesis.statement
            note = decision_note(result)
            decision = Text(result.decision, style=_STYLES[result.decision]) + Text(f" ({note})" if note else "", "dim")
            rows.append(TerminalRow([Text(name), decision, Text(statement)]))
        columns = [TerminalColumn("", is_name=True), TerminalColumn("decision"), TerminalColumn("statement")]
        print_table(console, title, columns, rows)
    for withdrawal in decisions.suite.withdrawals:
        names = and_list([name for name in withdrawal.verdicts if "/" not in name])
        text = withdrawal_text(withdrawal, decisions.suite)
        console.print(Text(f"{names} withdrawn: ", style="bold") + Text(text), "")
