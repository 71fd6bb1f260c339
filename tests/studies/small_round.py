"""The second round's machinery on two arms that train in a moment: ``suite=tests.studies.small_round:SMALL_ROUND``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from smidgen.policies.perceiver import PerceiverConfig
from studies.claims.arms import Arm
from studies.claims.contrasts import Claim, slower
from studies.claims.plan import PLAN_FILE, Step, StudyPlan
from studies.claims.records import TUNING
from studies.claims.round_two import Round
from studies.ladder.side_by_side import LadderTraining
from studies.synthetic import LadderConfig

NETWORK = PerceiverConfig(num_latents=2, latent_dim=8, num_layers=1, num_heads=1)
# A run that escapes in the search goes on for the steps that confirm it.
TRAINING = LadderTraining(
    max_steps=20,
    warmup_steps=2,
    measure_every=2,
    clip_norm=1.0,
    confirm_steps=4,
    stop_at_escape=False,
    settle_steps=500,
)
# The middle one is the best of these rates: the search ends with them, whichever is run first.
LRS = (3e-3, 1e-2, 3e-2)
ARM = Arm(data=LadderConfig(kind="one_token", grid=(1, 4, 4)), network=NETWORK, training=TRAINING, lrs=LRS)


def small_plan(**changes: Any) -> StudyPlan:
    """An arm that searches for its rate, and a second one, with these changes, that takes it."""
    arms = {"slow": ARM, "fast": dataclasses.replace(ARM, lrs=(), rate_of="slow", **changes)}
    contrast = slower("slow over fast", "slow", "fast", 20, claim="C1")
    order = (Step("slow", TUNING), Step("slow", "a"), Step("fast", "a"))
    claim = Claim(statement="It is slow.", contrast="C1.it", reading="It is slower.")
    return StudyPlan(claims={"C1": claim}, contrasts={"C1.it": contrast}, arms=arms, order=order)


FOLDER = Path("outputs/small-round")
SMALL_ROUND = Round(small_plan, FOLDER, FOLDER / PLAN_FILE, "small-round", wait_s=0.05)
