"""``python -m studies.claims.forecast``: predicts when a run will leave the mean, from its untrained network.

On the plateau a network's output is the same for every example, so all it can gain is the alignment of its output with
the centred targets, a = mean(y f(x)). The length of Adam's early steps does not depend on the gradient's, so a step at
learning rate lr gains lr G, where G = |grad a|_1 is the class-aligned gradient kernel for such steps. G itself grows,
because whatever distinguishes the classes must first reach the latents: by a factor e^rho in one such step, which one
more pass measures. With da/dt = lr G e^(rho t) the alignment reaches 1 after

    T = log(1 + rho / (lr G)) / rho    steps, or 1 / (lr G) where G does not grow,

and a linear warm-up delays that by half its length. Nothing is fitted. G falls with the latents' contrast, so that this
is the literature's T ~ log(1 / contrast) / rate with both of its quantities measured.

The command compares it with the escapes of the first round's arms, on which it was made (``forecast.json``). Its choice
between raw tokens and their DFT is a rule of the second round's regrets, on data that it was not made on. Five minutes.
"""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from scipy import stats

from smidgen.policies.perceiver import Perceiver, PerceiverConfig
from smidgen.runtime.command_line import run_command
from smidgen.runtime.files import write_json_atomic
from smidgen.runtime.schemas import from_json
from studies.first_round.records import ArmRecord, SeedRecord, read_suite
from studies.ladder.side_by_side import initial_network
from studies.synthetic import LadderConfig, make_ladder

FILE = "forecast.json"
FIRST_ROUND = Path("results/claims")
MAX_EXAMPLES = 64
MAX_TOKENS = 12_288
# The rate at which candidates are compared: an input is chosen before a rate is searched.
RULE_LR = 1e-3
RULE = "escape_forecast"


@dataclass(frozen=True)
class Forecast:
    """The untrained network's forecast of its escape.

    Attributes:
        kernel: G, the gain of the aligned output per unit of learning rate in a step of Adam.
        growth: rho, the logarithm of G's growth in one step.
        steps: T.
    """

    kernel: float
    growth: float
    steps: float


def forecast(data: LadderConfig, network: PerceiverConfig, seed: int, lr: float, warmup_steps: int = 0) -> Forecast:
    """Forecasts the escape of one run.

    Args:
        data: The run's data set.
        network: The run's network.
        seed: Of both.
        lr: The run's learning rate.
        warmup_steps: Of the learning rate.
    """
    ladder = make_ladder(data, seed)
    untrained = initial_network(network, data.grid, ladder, seed).double()
    num_examples = min(len(ladder.x_BNC), MAX_EXAMPLES)
    x_BTHWC = ladder.x_BNC[:num_examples].double().unflatten(1, data.grid)
    y_BA = ladder.y_BA[:num_examples].double()
    y_BA = y_BA - y_BA.mean(0)
    gradient = _aligned_gradient(untrained, x_BTHWC, y_BA)
    kernel = _absolute_sum(gradient)
    if kernel == 0:
        return Forecast(0.0, 0.0, math.inf)
    with torch.no_grad():
        for parameter, part in zip(untrained.parameters(), gradient, strict=True):
            parameter.add_(part.sign(), alpha=lr)
    growth = math.log(_absolute_sum(_aligned_gradient(untrained, x_BTHWC, y_BA)) / kernel)
    return Forecast(kernel, growth, delayed(steps_to_escape(kernel, growth, lr), warmup_steps))


def steps_to_escape(kernel: float, growth: float, lr: float) -> float:
    """Steps until an alignment that grows by ``lr * kernel * e^(growth t)`` a step reaches 1."""
    without_growth = 1 / (lr * kernel)
    return math.log1p(growth * without_growth) / growth if growth > 0 else without_growth


def delayed(steps: float, warmup_steps: int) -> float:
    """Steps under a linear warm-up that has gone as far as so many steps at the full rate."""
    if steps >= warmup_steps / 2:
        return steps + warmup_steps / 2
    return math.sqrt(2 * warmup_steps * steps)


def choose_by_forecast(data: LadderConfig, candidates: Sequence[PerceiverConfig], seed: int) -> int:
    """Place of the candidate that should escape first, the first of equals."""
    steps = [forecast(data, network, seed, RULE_LR).steps for network in candidates]
    return steps.index(min(steps))


def _aligned_gradient(network: Perceiver, x_BTHWC: torch.Tensor, y_BA: torch.Tensor) -> list[torch.Tensor]:
    parameters = list(network.parameters())
    aligned = (network(x_BTHWC)[:, 0] * y_BA).mean()
    parts = torch.autograd.grad(aligned, parameters, allow_unused=True)
    return [torch.zeros_like(p) if part is None else part for p, part in zip(parameters, parts, strict=True)]


def _absolute_sum(parts: Sequence[torch.Tensor]) -> float:
    return math.fsum(float(part.abs().sum()) for part in parts)


def first_round_rows() -> list[dict[str, Any]]:
    """Forecast and escape of every run of the first round that plain Adam trained on up to 12,288 tokens."""
    suite, rows = read_suite(FIRST_ROUND), []
    for name, record in suite.arms.items():
        planned = suite.plan.arms[name]
        data = from_json(LadderConfig, planned.data, name)
        training = planned.training
        if training["optimiser"] != "adam" or training["betas"] != [0.9, 0.999] or data.num_tokens > MAX_TOKENS:
            continue
        # The plan wrote down the policy's horizon and state as well: one target, frames only.
        network = {key: value for key, value in planned.network.items() if key not in ("horizon", "state_dim")}
        lr = record.lr * training.get("lr_scale", 1.0)
        perceiver = from_json(PerceiverConfig, network, name)
        rows += [_row(record, run, data, perceiver, lr, training["warmup_steps"]) for run in record.seeds]
        print(f"{name}: forecast", file=sys.stderr, flush=True)
    return rows


def _row(
    record: ArmRecord, run: SeedRecord, data: LadderConfig, network: PerceiverConfig, lr: float, warmup_steps: int
) -> dict[str, Any]:
    found = forecast(data, network, run.seed, lr, warmup_steps)
    contrast = run.initial.get("latent_contrast")
    return {
        "arm": record.arm,
        "seed": run.seed,
        "escape_step": run.escape_step,
        "steps": None if math.isinf(found.steps) else float(f"{found.steps:.4g}"),
        "contrast": None if contrast is None else float(f"{contrast:.4g}"),
        "is_noisy": data.background == "noise" or data.kind == "frames",
    }


def correlations(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, float | int | None]]:
    """Rank correlations of T0.5 with the forecast, and with the initial contrast alone (its sign turned).

    Over arms (medians over seeds), over those without and with random examples, over arms all of whose runs escaped,
    and within arms (mean over arms). A run that never escaped ranks last.
    """
    arms: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        arms.setdefault(row["arm"], []).append(row)
    groups = {
        "all arms": list(arms.values()),
        "arms whose examples are fixed": [own for own in arms.values() if not own[0]["is_noisy"]],
        "arms whose examples are drawn": [own for own in arms.values() if own[0]["is_noisy"]],
        "arms of which every run escaped": [
            own for own in arms.values() if all(row["escape_step"] is not None for row in own)
        ],
    }
    table: dict[str, dict[str, float | int | None]] = {}
    for name, group in groups.items():
        medians = [{key: statistics.median(_rankable(row, key) for row in own) for key in _KEYS} for own in group]
        table[name] = {"num": len(group), **{key: _rank_correlation(medians, key) for key in _KEYS[1:]}}
    ranked = [[{key: _rankable(row, key) for key in _KEYS} for row in own] for own in arms.values()]
    within = {key: [_rank_correlation(own, key) for own in ranked] for key in _KEYS[1:]}
    means = {key: [value for value in values if value is not None] for key, values in within.items()}
    mean = {key: round(statistics.fmean(values), 3) if values else None for key, values in means.items()}
    table["within arms, mean"] = {"num": len(means["steps"]), **mean}
    return table


_KEYS = ("escape_step", "steps", "contrast")


def _rankable(row: dict[str, Any], key: str) -> float:
    value = row[key]
    if key == "contrast":
        return math.inf if not value else -math.log(value)
    return math.inf if value is None else float(value)


def _rank_correlation(values: Sequence[dict[str, float]], key: str) -> float | None:
    """Spearman's; None where one side does not vary."""
    pairs = [(each["escape_step"], each[key]) for each in values]
    if len(pairs) < 3 or any(len({pair[side] for pair in pairs}) < 2 for side in (0, 1)):
        return None
    ranks = [stats.rankdata(side) for side in zip(*pairs, strict=True)]
    return round(float(stats.pearsonr(*ranks).statistic), 3)


def factor_off(rows: Sequence[dict[str, Any]]) -> float:
    """Median over runs that escaped of max(T / forecast, forecast / T)."""
    escaped = [row for row in rows if row["escape_step"] is not None and row["steps"]]
    pairs = [(max(row["escape_step"], 1), row["steps"]) for row in escaped]
    return round(statistics.median(max(measured / said, said / measured) for measured, said in pairs), 2)


def main(arguments: list[str]) -> None:
    """Writes every forecast of the first round's runs, and how they correlate with what happened."""
    from studies.claims.round_two import FOLDER

    torch.set_num_threads(1)
    rows = first_round_rows()
    table = correlations(rows)
    value = {"correlations": table, "median_factor_off": factor_off(rows), "runs": rows}
    write_json_atomic(FOLDER / FILE, value)
    print(f"wrote {FOLDER / FILE}: {len(rows)} runs; rank correlation over arms {table['all arms']}")


if __name__ == "__main__":
    sys.exit(run_command(main))
