"""The frozen protocol: which episodes count, when one ends, how outcomes are labelled.

Changing anything here is a new protocol version: rows of different versions are never ranked together.
"""

from __future__ import annotations

from smidgen.envs.seeds import SEED_RANGES
from smidgen.runtime.errors import UserError, unknown_name

PROTOCOL_VERSION = 1
HOLD_STEPS = 10
# Only test seeds are ranked; the others are for choosing between policies or settings.
TEST = "test"
SPLITS = (TEST, "checkpoint")

SUCCESS = "success"
SIMULATOR_ERROR = "simulator_error"
POLICY_ERROR = "policy_error"

# One per episode; failures.py has the rules and their precedence. Labels explain failures and rank nothing.
LABELS: dict[str, str] = {
    SUCCESS: "success held for HOLD_STEPS consecutive control steps",
    SIMULATOR_ERROR: "the simulator raised an error or left finite numbers; a failure that counts",
    POLICY_ERROR: "the policy raised an error or gave an action that is not finite; a failure that counts",
    "out_of_bounds": "the gripper ended at the edge of the action's box, or the object left it",
    "collapsed": "the gripper followed the mean path instead of the one that this episode's cue asked for",
    "dropped": "the object was held, and has fallen since",
    "misplaced": "the object was put down elsewhere, or the fingertips came down beside the goal",
    "missed_grasp": "the gripper came near the object and closed or went on without it",
    "stalled": "the gripper stood still until the end",
    "not_held": "success was reached at some step and never held long enough",
    "never_reached": "the gripper never came near the object, or the goal where there is no object",
    "timeout": "any other way to reach the horizon, e.g. on the way to the goal with the object in hand",
}


def evaluation_seeds(split: str, seed_start: int, episodes: int) -> range:
    """Seeds of an evaluation.

    Args:
        split: A name in :data:`SPLITS`.
        seed_start: Offset into the split's range, or a seed inside it.
        episodes: How many consecutive seeds, at least 1.

    Raises:
        UserError: If the split is no evaluation's, or a seed falls outside of it.
    """
    if split not in SPLITS:
        raise unknown_name("evaluation split", split, SPLITS)
    allowed = SEED_RANGES[split]
    first = seed_start if seed_start >= allowed.start else allowed.start + seed_start
    seeds = range(first, first + episodes)
    if seed_start < 0 or episodes < 1 or seeds[-1] not in allowed:
        raise UserError(
            f"expected episodes >= 1 and seeds inside {allowed.start}..{allowed.stop - 1}, "
            f"got seed_start={seed_start} episodes={episodes}; seed_start=0 is the first seed of the split"
        )
    return seeds
