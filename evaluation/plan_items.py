"""The work items of an evaluation: its episodes, the expert's on the same seeds, and held-out demonstrations.

Each item has a file for its answer, whose name is a hash of everything that the answer depends on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from smidgen.data_collection.experts import find_expert
from smidgen.evaluation.failures import RULES_VERSION
from smidgen.evaluation.held_out_predictions import ANSWERS_VERSION, HeldOutItem
from smidgen.evaluation.items import EpisodeItem
from smidgen.evaluation.plan import EvaluationPlan
from smidgen.evaluation.policy_source import EXPERT, PolicySource, build_card, policy_identity
from smidgen.evaluation.record_schema import SCHEMA_VERSION
from smidgen.evaluation.records import record_path
from smidgen.evaluation.video_files import video_path
from smidgen.runtime.files import canonical_json, sha256_bytes

SHARDS = ".shards"


def shard_folder(plan: EvaluationPlan, policy_name: str) -> Path:
    """The folder of a policy's answers."""
    return record_path(Path(plan.config.out) / SHARDS, plan.task.name, policy_name).with_suffix("")


def _shard(plan: EvaluationPlan, policy_name: str, identity: dict[str, Any], **item: Any) -> Path:
    """The file of an item's answer: its name is a hash of everything that the answer depends on."""
    spec = plan.env_spec
    world = {"task": spec.task, "cameras": spec.cameras, "image_size": spec.image_size}
    if spec.code_sha256 is not None:
        world |= {"code_sha256": spec.code_sha256}
    rules = {"schema": SCHEMA_VERSION, "protocol": plan.fixed["protocol"]["version"], "labels": RULES_VERSION}
    depends_on = {"policy": identity, "world": world, **rules, **item}
    key = sha256_bytes(canonical_json({**depends_on, "versions": plan.fixed["versions"]}))
    return shard_folder(plan, policy_name) / f"{key[:32]}.json"


def episode_items(plan: EvaluationPlan) -> dict[Path, EpisodeItem]:
    """The policy's episodes, by the file of their answers."""
    identity = policy_identity(plan.source, plan.card)
    videos = {video["seed"]: video_path(plan.record_path, video) for video in plan.fixed["videos"]}
    return {
        _shard(plan, plan.card["name"], identity, seed=seed): EpisodeItem(
            plan.source,
            plan.env_spec,
            seed,
            videos.get(seed),
            # With held-out demonstrations, it is made before the workers start, without waiting for a simulator.
            dry_call=not plan.steps,
            keep_going=plan.config.keep_going,
        )
        for seed in plan.seeds
    }


def expert_items(plan: EvaluationPlan) -> dict[Path, EpisodeItem]:
    """The expert on the same seeds, for the spread ratio; the shards are those of the expert's own evaluation."""
    if find_expert(plan.config.task) is None:
        return {}
    source = PolicySource(EXPERT, plan.config.task)
    card = build_card(source, source.build(), None)
    identity = policy_identity(source, card)
    going = plan.config.keep_going
    return {
        _shard(plan, card["name"], identity, seed=seed): EpisodeItem(source, plan.env_spec, seed, keep_going=going)
        for seed in plan.seeds
    }


def held_out_items(plan: EvaluationPlan, is_twin: bool = False) -> dict[Path, HeldOutItem]:
    """The held-out demonstrations that the policy, or its twin, predicts; none if it is not measured on them."""
    source = plan.twin if is_twin else plan.source
    if plan.demos is None or source is None:
        return {}
    card = build_card(source, source.build(), None) if is_twin else plan.card
    fixed = {"demos_sha256": plan.demos.sha256, "answers": ANSWERS_VERSION, "is_twin": is_twin}
    identity, demos = policy_identity(source, card), str(plan.demos.directory)
    return {
        _shard(plan, plan.card["name"], identity, seed=seed, steps=steps, **fixed): HeldOutItem(
            source,
            demos,
            seed,
            steps,
            is_twin,
            demos_sha256=plan.demos.sha256,
            cameras=plan.demos.cameras,
            keep_going=plan.config.keep_going,
        )
        for seed, steps in plan.steps.items()
    }


def discard_answers(plan: EvaluationPlan) -> None:
    """Removes the policy's stored answers, but not those of the expert that it is compared with."""
    for path in {**episode_items(plan), **held_out_items(plan), **held_out_items(plan, is_twin=True)}:
        path.unlink(missing_ok=True)
