"""An evaluation's demonstrations, and the policy's twin that was trained with the cue hidden."""

from __future__ import annotations

from smidgen.data_collection.store import EpisodeStore
from smidgen.envs.seeds import SEED_RANGES
from smidgen.envs.specs import TaskSpec
from smidgen.evaluation.config import EvalConfig
from smidgen.evaluation.env_spec import EnvSpec
from smidgen.evaluation.held_out_predictions import spread_steps
from smidgen.evaluation.policy_source import PolicySource, build_card
from smidgen.evaluation.protocol import SPLITS
from smidgen.evaluation.record_schema import PolicyCard
from smidgen.policies.checkpoint import Card, policy_kind, read_checkpoint_card
from smidgen.policies.policy import Policy
from smidgen.runtime.errors import UserError

_TWIN = "expected the same network, trained on the same task with hide_cue=true"


def open_twin(
    config: EvalConfig, task: TaskSpec, demos: EpisodeStore | None, train_demos: EpisodeStore | None
) -> PolicySource | None:
    """The policy's twin that was trained with the cue hidden; None if none is named.

    Raises:
        UserError: If it is not a checkpoint of the task, or there is nothing to measure it on.
    """
    if config.twin is None:
        return None
    source = PolicySource(config.twin, config.task, transform=config.transform)
    source.check()
    if source.kind != "checkpoint" or demos is None:
        raise UserError(f"expected a checkpoint as twin= and demos=DIR, got twin={config.twin} demos={config.demos}")
    trained_on = read_checkpoint_card(config.twin)
    if trained_on["task"] != task.name:
        raise UserError(
            f"twin {config.twin} was trained on task {trained_on['task']!r:.60}, policy {config.policy} is evaluated "
            f"on {task.name!r}; {_TWIN}"
        )
    if PolicySource(config.policy, config.task).kind == "checkpoint":
        _require_same_network(config, trained_on, read_checkpoint_card(config.policy))
    card = build_card(source, source.build(), None)
    require_disjoint(card, demos, train_demos)
    return source.pinned(card)


def _require_same_network(config: EvalConfig, twin: Card, policy: Card) -> None:
    kinds, sizes, cameras = (
        (policy_kind(twin), policy_kind(policy)),
        (twin["image_size"], policy["image_size"]),
        (", ".join(twin["cameras"]), ", ".join(policy["cameras"])),
    )
    for key, (twins, ours) in {"policy": kinds, "image_size": sizes, "cameras": cameras}.items():
        if twins != ours:
            raise UserError(
                f"twin {config.twin} was trained with {key}={twins!s:.60}, policy {config.policy} with "
                f"{key}={ours!s:.60}; {_TWIN}"
            )


def open_demonstrations(directory: str | None, task: str) -> EpisodeStore | None:
    """A verified data set of a task with an episode to learn from; None for no directory.

    Raises:
        UserError: If it is of another task, or has no successful episode.
    """
    if directory is None:
        return None
    store = EpisodeStore.open(directory)
    if store.manifest["task"] != task:
        raise UserError(f"{directory}: expected demonstrations of task {task!r}, got {store.manifest['task']!r}")
    if not store.training_seeds:
        raise UserError(f"{directory} has no successful episodes; collect more")
    return store


def require_disjoint(card: PolicyCard, demos: EpisodeStore | None, train_demos: EpisodeStore | None) -> None:
    """Refuses demonstrations that are not held out, and a policy that was trained on a test seed."""
    bounds = card["data_set_seeds"]
    if bounds and bounds[1] >= min(SEED_RANGES[split].start for split in SPLITS):
        raise UserError(
            f"policy {card['name']!r} was trained on seeds up to {bounds[1]}, inside an evaluation's range; refused"
        )
    if demos is None:
        return
    if bounds and any(bounds[0] <= seed <= bounds[1] for seed in demos.seeds):
        raise UserError(
            f"{demos.directory} holds seeds between {bounds[0]} and {bounds[1]}, on which policy {card['name']!r} was "
            "trained; expected held-out demonstrations: collect some with split=validation"
        )
    if train_demos is not None and set(train_demos.seeds) & set(demos.seeds):
        raise UserError(f"{demos.directory} and {train_demos.directory} share seeds; demos= are the held-out ones")


def measured_steps(
    policy: Policy, env_spec: EnvSpec, demos: EpisodeStore | None, num_windows: int
) -> tuple[dict[int, tuple[int, ...]], str]:
    """Held-out steps to predict, by seed, or none and the reason why the policy cannot be measured on them."""
    reason = _why_unmeasured(policy, env_spec, demos)
    return ({}, reason) if reason or demos is None else (spread_steps(demos, num_windows), reason)


def _why_unmeasured(policy: Policy, env_spec: EnvSpec, demos: EpisodeStore | None) -> str:
    if demos is None:
        return "needs demos=DIR, held-out demonstrations"
    if "privileged" in policy.observes:
        return "the policy observes privileged state, which demonstrations do not store"
    seen = (list(demos.manifest["cameras"]), demos.manifest["image_size"])
    wanted = (list(env_spec.cameras), env_spec.image_size)
    fits = set(wanted[0]) <= set(seen[0]) and seen[1] == wanted[1]
    if "frames" in policy.observes and not fits:
        return f"the demonstrations were rendered with {seen}, the policy sees {wanted}"
    return ""
