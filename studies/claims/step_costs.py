"""``python -m studies.claims.step_costs``: core time of a training step of every kind of arm, into step_costs.json.

Arms of one data set, network, number of tokens, transform and positions cost the same. Times are core times of ten
seeds side by side (four on the large network), measurements included, before the trainer records its graph, which
makes the small network's steps a third shorter. Two minutes on one core.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from smidgen.runtime.command_line import run_command
from smidgen.runtime.files import read_json, write_json_atomic
from studies.claims.arms import SMALL, Arm, num_tokens
from studies.claims.design import BLOCKS, MEASURE_EVERY, SPARSE_AFTER, TUNING_SEEDS
from studies.claims.measuring import MeasuredRuns
from studies.claims.records import TUNING

if TYPE_CHECKING:
    from studies.claims.plan import Step

FILE = "step_costs.json"
NUM_STEPS = 10
NUM_SEEDS, NUM_SEEDS_LARGE = 10, 4
# A search seldom needs more; stuck runs cost the most.
SEARCHED_RATES = 4


def cost_key(arm: Arm) -> str:
    """What decides the cost of an arm's step."""
    network = arm.network
    parts = [arm.data.kind, str(num_tokens(arm)), f"{network.num_latents}x{network.latent_dim}x{network.num_layers}"]
    if arm.look.num_cross_attentions > 1:
        parts.append(f"{arm.look.num_cross_attentions} looks")
    return " ".join([*parts, network.transform, network.position_encoding, arm.attention])


def step_cost_s(arm: Arm) -> float:
    """Core time of one step of one run, in seconds."""
    num_seeds = NUM_SEEDS if arm.network.latent_dim == SMALL.latent_dim else NUM_SEEDS_LARGE
    runs = MeasuredRuns(arm, TUNING_SEEDS[:1] * num_seeds, 1e-5)
    # Where measurements have their later pace, and every arm still has steps to take.
    runs.step = SPARSE_AFTER + MEASURE_EVERY
    runs._take_step()
    started = time.process_time()
    for _ in range(NUM_STEPS):
        runs._take_step()
    return (time.process_time() - started) / NUM_STEPS / num_seeds


def at_most_core_hours(arms: Mapping[str, Arm], order: Sequence[Step], path: Path) -> dict[str, float]:
    """What each arm costs where no run ends early and a search takes four rates; empty where a kind was not measured.

    Args:
        arms: By name.
        order: The plan's work.
        path: Of the measured costs.
    """
    if not path.exists():
        return {}
    costs: dict[str, float] = read_json(path)["seconds_per_step_of_a_run"]
    if any(cost_key(arm) not in costs for arm in arms.values()):
        return {}
    hours: dict[str, float] = {}
    for step in order:
        arm = arms[step.arm]
        num_runs = len(TUNING_SEEDS) * SEARCHED_RATES if step.block == TUNING else len(BLOCKS[step.block])
        hours[step.arm] = hours.get(step.arm, 0.0) + num_runs * arm.horizon * costs[cost_key(arm)] / 3600
    return {name: round(value, 3) for name, value in hours.items()}


def main(arguments: list[str]) -> None:
    """Measures what is not in the file yet."""
    from studies.claims.round_two import FOLDER, build_plan
    from studies.claims.round_two_b import build_plan_b

    torch.set_num_threads(1)
    path = FOLDER / FILE
    costs: dict[str, float] = read_json(path)["seconds_per_step_of_a_run"] if path.exists() else {}
    kinds = {cost_key(arm): arm for plan in (build_plan(), build_plan_b()) for arm in plan.arms.values()}
    for key, arm in kinds.items():
        if key not in costs:
            costs[key] = float(f"{step_cost_s(arm):.3g}")
            print(f"{1e3 * costs[key]:8.2f} ms  {key}", flush=True)
            write_json_atomic(path, {"seconds_per_step_of_a_run": costs, "torch": torch.__version__})


if __name__ == "__main__":
    sys.exit(run_command(main))
