"""A trained policy that acts otherwise: the same weights with other settings of how its chunks are executed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from smidgen.experiments.trial import Settings
from smidgen.policies.checkpoint import RUN_CHECKPOINT, load_checkpoint, read_checkpoint_card, save_checkpoint
from smidgen.policies.learned_policy import LearnedPolicy
from smidgen.runtime.files import canonical_json, sha256_bytes

# Settings that training never reads.
ACTING_KEYS = ("num_executed", "temporal_ensembling")


def acting_checkpoint(run: Path, changes: Settings) -> Path:
    """A finished run's checkpoint with other settings of acting, made once; without changes, the run itself.

    Args:
        run: A finished training.
        changes: Values of some of :data:`ACTING_KEYS`.

    Returns:
        What an evaluation is given as its policy.
    """
    assert set(changes) <= set(ACTING_KEYS), "whatever else is changed is another training"
    if not changes:
        return run
    content: dict[str, Any] = dict(changes)
    changed = run.parent / f"{run.name}.acting-{sha256_bytes(canonical_json(content))[:8]}" / RUN_CHECKPOINT
    if not changed.exists():
        trained = load_checkpoint(run)
        policy = LearnedPolicy(dataclasses.replace(trained.config, **content), trained.interface)
        policy.load_state_dict(trained.state_dict())
        changed.parent.mkdir(parents=True, exist_ok=True)
        save_checkpoint(changed, policy, read_checkpoint_card(run)["provenance"])
    return changed
