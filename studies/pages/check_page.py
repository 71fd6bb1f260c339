"""``python -m studies.pages.check_page [page=docs/check.md]``: the two real reports of the page about smidgen-check.

Computes the parts between the markers from the reports in ``results/check``; a second on one CPU core. The reports are
what the commands on the page wrote.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smidgen.evaluation.check import words
from smidgen.evaluation.check.rows import Measured
from smidgen.runtime import markdown
from smidgen.runtime.command_line import command_help, compose_config, run_command, wants_help
from smidgen.runtime.files import read_json, write_atomic
from smidgen.runtime.settings import PathText

USAGE = "python -m studies.pages.check_page [key=value ...]"
SUMMARY = "Two reports of smidgen-check, of a policy that sees and of one that does not, as parts of its page."
# The part of the page, and the report that it is computed from.
REPORTS = {"check seeing": "speck_16-cnn.json", "check blind": "lift-cnn.json"}
SLOPES = {
    "cue": "only the cue is moved in a stored state",
    "frames": "another episode's frames, where the arm leaves open what comes next",
    "frames_whole": "another episode's frames at every step",
}


@dataclass(frozen=True)
class CheckPageConfig:
    """Where the reports are, and the page."""

    results: PathText = field(default="results/check", metadata={"help": "folder of the reports"})
    page: PathText = field(default="docs/check.md", metadata={"help": "page to write the parts into"})


def page_with_reports(page: str, results: str) -> str:
    """The page's text with every part computed anew.

    Raises:
        UserError: If a report is missing, or the page lacks a marker.
    """
    parts = {name: part(read_json(Path(results, report))) for name, report in REPORTS.items()}
    return markdown.page_with_tables(Path(page), parts)


def part(report: Mapping[str, Any]) -> str:
    """A report's first screen, its slopes and its probes."""
    said = [f"> {markdown.escape_markdown(line)}" for line in report["in_words"]]
    first = " ".join(f"({place}) {each}" for place, each in enumerate(report["try_first"], 1))
    said.append(f"> What to try first: {markdown.escape_markdown(first)}")
    return "\n\n".join(["\n>\n".join(said), _slopes(report), _probes(report["responses"])])


def _slopes(report: Mapping[str, Any]) -> str:
    rows = [[how, words.figure(_measured(report["following"][name]))] for name, how in SLOPES.items()]
    return markdown.markdown_table(markdown.left("asked how") + markdown.right("slope"), rows)


def _probes(responses: Mapping[str, Mapping[str, Any]]) -> str:
    """In the order in which they are asked; a JSON file has its own."""
    rows = []
    for key in sorted(responses, key=words.probe_order):
        each = responses[key]
        change, skill = (_measured(each[name]) for name in ("change", "skill"))
        rows.append([each["shown"], words.percent(change), words.figure(skill), each["meaning"]])
    heads = markdown.left("shown") + markdown.right("answers move", "skill left") + markdown.left("what that means")
    return markdown.markdown_table(heads, rows)


def _measured(stored: Mapping[str, float | None]) -> Measured:
    value, low, high = (stored[name] for name in ("value", "low", "high"))
    return Measured(*(math.nan if each is None else each for each in (value, low, high)))


def main(argv: list[str] | None = None) -> int:
    """The command."""
    return run_command(_body, argv)


def _body(arguments: list[str]) -> None:
    if wants_help(arguments):
        print(command_help(USAGE, SUMMARY, CheckPageConfig))
        return
    config = compose_config(CheckPageConfig, arguments)
    write_atomic(config.page, page_with_reports(config.page, config.results).encode())
    print(config.page)


if __name__ == "__main__":
    sys.exit(main())
