"""Everything that a check found, and as JSON and Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from smidgen.evaluation import collapse
from smidgen.evaluation.check import words
from smidgen.evaluation.check.answers import EpisodeAnswers
from smidgen.evaluation.check.decision import Decision, decide
from smidgen.evaluation.check.measures import (
    Accuracy,
    Following,
    Habits,
    Response,
    accuracy,
    following,
    habits,
    responses,
)
from smidgen.evaluation.check.rows import Measured, make_chunks, make_rows
from smidgen.evaluation.check.subject import Subject
from smidgen.evaluation.check.thresholds import CHECK_VERSION
from smidgen.evaluation.check.words import figure, number, percent
from smidgen.runtime.markdown import escape_markdown, left, markdown_table, right

SCHEMA_VERSION = 1


@dataclass(frozen=True, eq=False)
class Report:
    """What a check found.

    Attributes:
        policy: The policy's name.
        data: The data set's name.
        task: What it demonstrates.
        observes: What the policy observes; None if only its predictions are known.
        cameras: The cameras that it was shown.
        num_episodes: Episodes that it was asked about.
        num_windows: Steps.
        horizon: Steps of a predicted chunk; 1 without chunks.
        decision: Whether it uses its cameras.
        following: What its answers follow.
        responses: How far each probe moves them.
        accuracy: Error and skill.
        habits: Copying, latching, randomness.
        notes: What else to know.
    """

    policy: str
    data: str
    task: str
    observes: tuple[str, ...] | None
    cameras: tuple[str, ...]
    num_episodes: int
    num_windows: int
    horizon: int
    decision: Decision
    following: Following
    responses: dict[str, Response]
    accuracy: Accuracy
    habits: Habits
    notes: tuple[str, ...]


def make_report(subject: Subject, answers: Sequence[EpisodeAnswers]) -> Report:
    """Measures the answers and decides."""
    rows = make_rows(answers, subject.action)
    chunks = make_chunks(answers, subject.action, rows, subject.means)
    observes = None if subject.calls is None else subject.calls.observes
    found, moved = following(rows, answers, subject.action.measured_indices), responses(rows, chunks)
    return Report(
        policy=subject.name,
        data=subject.reader.path.resolve().name,
        task=subject.reader.header["task"],
        observes=observes,
        cameras=tuple(subject.cameras),
        num_episodes=rows.num_episodes,
        num_windows=len(rows.steps_N),
        horizon=chunks.answer_NHP.shape[1],
        decision=decide(observes, found, moved, rows.num_episodes),
        following=found,
        responses=moved,
        accuracy=accuracy(rows, chunks),
        habits=habits(rows, answers),
        notes=(*subject.notes, *(f"not in the data: {each}" for each in subject.reader.lacks)),
    )


def report_json(report: Report) -> dict[str, Any]:
    """The report in JSON's types; what is not defined is null."""
    return {
        "schema_version": SCHEMA_VERSION,
        "check_version": CHECK_VERSION,
        "in_words": words.first_screen(report),
        "try_first": words.advice(report),
        **_plain(report),
        "responses": {
            key: {"shown": words.probe_title(key), **_plain(each), "meaning": meaning}
            for key, each, meaning in probe_rows(report)
        },
        "remarks": words.remarks(report),
    }


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, collapse.SlopeParts):
        return None
    if hasattr(value, "__dataclass_fields__"):
        named = {each.name: getattr(value, each.name) for each in fields(value)}
        return {name: _plain(each) for name, each in named.items() if not isinstance(each, collapse.SlopeParts)}
    return value


def report_markdown(report: Report) -> str:
    """The report as a page of Markdown."""
    lines = [f"# {escape_markdown(words.headline(report))}", ""]
    lines += [f"{escape_markdown(each)}\n" for each in words.first_screen(report)]
    lines += ["**What to try first**", ""]
    lines += [f"{place}. {escape_markdown(each)}" for place, each in enumerate(words.advice(report), 1)]
    lines += ["", "## What it was shown, and what it did", "", probe_table(report), ""]
    lines += ["## What it follows", "", following_table(report), ""]
    lines += ["## How good its predictions are", "", skill_table(report), "", coordinate_table(report), ""]
    if report.horizon > 1:
        lines += [chunk_table(report), ""]
    lines += ["## What else to know", "", *(f"- {escape_markdown(each)}" for each in words.remarks(report)), ""]
    return "\n".join(lines)


def probe_table(report: Report) -> str:
    """Every probe: what it does to the answers, and what that means."""
    rows = [
        [escape_markdown(words.probe_title(key)), percent(each.change), figure(each.skill), escape_markdown(meaning)]
        for key, each, meaning in probe_rows(report)
    ]
    heads = left("shown") + right("answers move", "skill left") + left("what that means")
    return markdown_table(heads, rows)


def probe_rows(report: Report) -> list[tuple[str, Response, str]]:
    """Key, figures and meaning of each probe."""
    return [(key, each, words.probe_meaning(key, report)) for key, each in report.responses.items()]


def following_table(report: Report) -> str:
    """The slopes."""
    rows = [[escape_markdown(name), figure(each), escape_markdown(text)] for name, each, text in slope_rows(report)]
    return markdown_table(left("follows") + right("slope") + left("asked how"), rows)


def slope_rows(report: Report) -> list[tuple[str, Measured, str]]:
    """Name, figure and meaning of each slope that was measured."""
    found = report.following
    rows = [
        ("the cue", found.cue, "only the cue is moved in a stored state"),
        ("the frames", found.frames, "another episode's frames, where the arm's history leaves open what comes next"),
        ("the frames, arm included", found.frames_whole, "another episode's frames"),
        *((f"camera {name}", each, "its frames alone are another episode's") for name, each in found.cameras.items()),
        ("the state", found.state, "another episode's state, the frames unchanged"),
        ("the episode", found.both, "at the same moments, from one episode to another as recorded"),
    ]
    return [row for row in rows if math.isfinite(row[1].value)]


def skill_table(report: Report) -> str:
    """Skill against what can be said without looking."""
    rows = [[words.REFERENCES[name], figure(each)] for name, each in report.accuracy.skill.items()]
    return markdown_table(left("better than") + right("skill"), rows)


def coordinate_table(report: Report) -> str:
    """Error, R^2 and skill of each coordinate."""
    found, rows = report.accuracy, []
    for name, error in found.error.items():
        skills = [number(found.skill_by_coordinate[reference][name]) for reference in found.skill]
        rows.append([escape_markdown(name), f"{error:.3g}", number(found.r2[name]), *skills])
    heads = right("error", "R²", *(f"skill: {words.REFERENCES[name]}" for name in found.skill))
    return markdown_table(left("coordinate") + heads, rows)


def chunk_table(report: Report) -> str:
    """Error and skill at each step of a chunk."""
    found = report.accuracy
    rows = [
        [str(step), number(error), *(number(found.skill_by_chunk_step[name][step]) for name in found.skill)]
        for step, error in enumerate(found.error_by_chunk_step)
    ]
    heads = right("step of the chunk", "error", *(f"skill: {words.REFERENCES[name]}" for name in found.skill))
    return markdown_table(heads, rows)
