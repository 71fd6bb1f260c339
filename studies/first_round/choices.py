"""What the rules of ``auto`` choose on the data of each seed: raw pixels or their rival, before anything is trained."""

from __future__ import annotations

from smidgen.policies.choose_transform import InputChoice, choose_transform
from studies.first_round.arms import Arm
from studies.first_round.plan import Plan
from studies.synthetic.ladder import make_ladder


def choose_arms(name: str, arm: Arm, rival: str, rival_arm: Arm, plan: Plan) -> dict[str, dict[str, str]]:
    """Applies every rule that a comparison of the plan names to each seed's training pool.

    Args:
        name: The arm whose record keeps the choices.
        arm: What it is.
        rival: The other candidate.
        rival_arm: The other arm; differs from ``arm`` only in the input.
        plan: Names the rules and the seeds.

    Returns:
        By rule, then by seed: the name of the arm that the rule chooses.
    """
    comparisons = [comparison for each in plan.hypotheses.values() for comparison in each.comparisons]
    rules = sorted({comparison.rule for comparison in comparisons if comparison.kind == "regret"})
    # In one order in both arms' records, because of equal scores the first candidate wins.
    arms = sorted({name: arm, rival: rival_arm}.items(), key=lambda item: item[1].network.transform != "raw")
    candidates = [_input_of(candidate) for _, candidate in arms]
    chosen: dict[str, dict[str, str]] = {rule: {} for rule in rules}
    for seed in plan.seeds:
        data = make_ladder(arm.data, seed)
        for rule in rules:
            choice = choose_transform(rule, data.x_BNC, data.y_BA, candidates, grid=arm.data.grid, network=arm.network)
            chosen[rule][str(seed)] = arms[choice.index][0]
    return chosen


def _input_of(arm: Arm) -> InputChoice:
    return InputChoice(arm.network.transform, arm.network.standardise_after)
