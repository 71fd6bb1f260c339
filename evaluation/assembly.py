"""Assembles a record from answers: an evaluation's episodes, rates and collapse measures, and the host file."""

from __future__ import annotations

import platform
import typing
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from smidgen.evaluation.collapse_part import CollapsePart
from smidgen.evaluation.failures import with_collapsed
from smidgen.evaluation.plan import EvaluationPlan
from smidgen.evaluation.plan_items import shard_folder
from smidgen.evaluation.policy_source import EXPERT
from smidgen.evaluation.record_schema import ALL_FAILED, Record, count_errors, have_all_failed, success_rate
from smidgen.evaluation.statistics import CONFIDENCE
from smidgen.runtime.errors import UserError


@dataclass(frozen=True, eq=False)
class Answers:
    """An evaluation's answers, by seed.

    Attributes:
        own: The policy's episodes.
        expert: The expert's episodes on the same seeds; empty for a task without one.
        held_out: The policy's predictions on held-out demonstrations.
        twin: Those of the twin that was trained with the cue hidden.
    """

    own: dict[int, dict[str, Any]]
    expert: dict[int, dict[str, Any]]
    held_out: dict[int, dict[str, Any]]
    twin: dict[int, dict[str, Any]]


def assemble(plan: EvaluationPlan, answers: Answers) -> tuple[Record, dict[str, Any]]:
    """Makes the record, and the host file with hosts, errors and tracebacks.

    Raises:
        UserError: If episodes ran in different environments.
    """
    own = answers.own
    episodes = with_collapsed({seed: own[seed] for seed in plan.seeds}, answers.expert)
    environment = _one_environment(plan, [*own.values(), *answers.expert.values()])
    record = {
        **plan.fixed,
        "episodes": episodes,
        "success": success_rate([row["success"] for row in episodes], CONFIDENCE),
        "success_once": success_rate([row["success_once"] for row in episodes], CONFIDENCE),
        "errors": count_errors(episodes),
        "collapse": _collapse(plan, answers).finish(ALL_FAILED if have_all_failed(episodes) else ""),
        "environment": environment["ranked"],
        "videos": [{**video, "frames_sha256": own[video["seed"]]["frames_sha256"]} for video in plan.fixed["videos"]],
    }
    return typing.cast(Record, record), _host(plan, answers)


def _host(plan: EvaluationPlan, answers: Answers) -> dict[str, Any]:
    hosts = [answer["environment"]["host"] for answer in answers.own.values()]
    errors = {str(seed): answer["error"] for seed, answer in sorted(answers.own.items()) if answer["error"]}
    traces = {f"episode {seed}": answer["trace"] for seed, answer in sorted(answers.own.items()) if answer["trace"]}
    traces |= {f"held-out {seed}": trace for seed, answer in answers.held_out.items() if (trace := answer.get("trace"))}
    return {
        # No single machine could repeat the episodes of several machines to the bit.
        "host": hosts[0] if all(each == hosts[0] for each in hosts) else {},
        "hostname": platform.node(),
        "workers": plan.config.workers,
        "errors": errors,
        "tracebacks": traces,
    }


def _collapse(plan: EvaluationPlan, answers: Answers) -> CollapsePart:
    collapse = _measure_held_out(plan, answers.held_out, answers.twin)
    # The path of an aborted episode says nothing about sight.
    paths = {seed: [] if answers.own[seed]["error"] else answers.own[seed]["path"] for seed in plan.seeds}
    expert_paths = {seed: answer["path"] for seed, answer in answers.expert.items()} or None
    collapse.add_paths(paths, expert_paths, plan.task.name)
    return collapse


def _one_environment(plan: EvaluationPlan, answers: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The fingerprint that all episodes share, the expert's included."""
    first, *others = [answer["environment"] for answer in answers]
    if any(other["ranked"] != first["ranked"] for other in others):
        folders = " or ".join(dict.fromkeys(str(shard_folder(plan, name)) for name in (plan.card["name"], EXPERT)))
        raise UserError(f"{folders} contains episodes of another environment; delete that folder and run again")
    return dict(first)


def _measure_held_out(
    plan: EvaluationPlan, answers: dict[int, dict[str, Any]], twin_answers: dict[int, dict[str, Any]]
) -> CollapsePart:
    coordinates = [plan.task.action.names[index] for index in plan.task.action.position_indices]
    reason = plan.unmeasured_reason or "no held-out demonstrations"
    failed = [answer["error"] for answer in (*answers.values(), *twin_answers.values()) if "error" in answer]
    if plan.demos is None or not plan.steps or failed:
        return CollapsePart(coordinates, failed[0] if failed else reason)
    collapse, train = CollapsePart(coordinates, reason), plan.train_demos
    statistics = None if train is None else train.statistics(train.training_seeds)
    collapse.add_held_out(plan.demos, plan.steps, answers, statistics, twin_answers or None)
    return collapse
