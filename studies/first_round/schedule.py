"""The order of the jobs: what an arm is expected to cost."""

from __future__ import annotations

from studies.first_round.arms import Arm


def expected_cost(arm: Arm) -> int:
    """Attention scores of all steps of one seed, were it never to escape."""
    examples = min(arm.training.batch_size, arm.data.pool_sizes[0])
    rows = arm.network.num_latents * arm.network.num_cross_heads
    return examples * arm.data.num_tokens * rows * arm.training.max_steps
