"""``python -m studies.claims.settling``: the effect of ending runs that have settled, into settling.json.

Some arms are trained on the tuning seeds at two rates to a full horizon, and every run's area is taken twice: in
full, and as if the run had ended after 500 steps above R^2 = 0.99. So is every contrast of two of these arms, each at
the rate with the smaller mean area. Four minutes on one core.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
import sys
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import torch

from smidgen.runtime.command_line import run_command
from smidgen.runtime.files import read_json, write_json_atomic
from studies.claims.design import LEAST_RATIO_UNCENTRED, SETTLE_STEPS, TUNING_SEEDS
from studies.claims.measuring import MeasuredRuns, Point, area, completed_curve
from studies.ladder.escape import SETTLED_ABOVE

FILE = "settling.json"
RATES = (1e-3, 3e-3)
HORIZON = 2_000
ARMS = (
    "raw.none.axes",
    "raw.token.axes",
    "raw.centre.axes",
    "n256.dft1d.token.1d",
    "n256.raw.token.1d",
    "dft1d.token.1d",
)
# Only descriptive contrasts have arms that end early: a tenth, on the log scale, of the ratio that makes one large.
LARGEST_CHANGE = math.log(LEAST_RATIO_UNCENTRED) / 10


def cut_when_settled(curve: Sequence[Point]) -> Sequence[Point]:
    """A run's measurements up to where it would have ended; all of them where it would not."""
    since: int | None = None
    for place, (step, _, r2) in enumerate(curve):
        if not r2 > SETTLED_ABOVE:
            since = None
        elif since is None:
            since = step
        if since is not None and step - since >= SETTLE_STEPS:
            return curve[: place + 1]
    return curve


def compare(name: str) -> list[dict[str, Any]]:
    """Both areas of an arm's every run."""
    from studies.claims.round_two import build_plan

    arm = build_plan().arms[name]
    training = dataclasses.replace(arm.training, max_steps=HORIZON, settle_steps=0)
    rows = []
    for lr in RATES:
        runs = MeasuredRuns(dataclasses.replace(arm, training=training), TUNING_SEEDS, lr)
        runs.train()
        for seed, record in zip(TUNING_SEEDS, runs.records, strict=True):
            curve = record.watch.curve
            cut = cut_when_settled(curve)
            full, ended = (area(*completed_curve(each, HORIZON), HORIZON) for each in (curve, cut))
            rows.append(
                {
                    "arm": name,
                    "lr": lr,
                    "seed": seed,
                    "full": round(full, 3),
                    "ended": round(ended, 3),
                    "ended_at": cut[-1][0],
                }
            )
    return rows


def contrasts_of(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The mean log ratio of every two arms, each at its better rate, from full areas and from those of ended runs."""
    means: dict[str, tuple[float, float]] = {}
    for name in ARMS:
        own = [row for row in rows if row["arm"] == name]
        lr = min(RATES, key=lambda lr: statistics.fmean(row["full"] for row in own if row["lr"] == lr))
        chosen = [row for row in own if row["lr"] == lr]
        full, ended = (statistics.fmean(math.log(row[kind]) for row in chosen) for kind in ("full", "ended"))
        means[name] = (full, ended)
    return [
        {
            "slow": slow,
            "fast": fast,
            "full": round(math.exp(means[slow][0] - means[fast][0]), 4),
            "ended": round(math.exp(means[slow][1] - means[fast][1]), 4),
        }
        for slow, fast in combinations(ARMS, 2)
    ]


def main(arguments: list[str]) -> None:
    """Measures what is not in the file yet, and writes the comparison."""
    from studies.claims.round_two import FOLDER

    torch.set_num_threads(1)
    path = FOLDER / FILE
    rows: list[dict[str, Any]] = read_json(path)["runs"] if path.exists() else []
    for name in ARMS:
        if not any(row["arm"] == name for row in rows):
            rows += compare(name)
        own = [row for row in rows if row["arm"] == name]
        print(f"{name}: {sum(row['ended_at'] < HORIZON for row in own)} of {len(own)} runs would end", flush=True)
    contrasts = contrasts_of(rows)
    change = max(abs(math.log(each["ended"] / each["full"])) for each in contrasts)
    table = {
        "horizon": HORIZON,
        "settle_steps": SETTLE_STEPS,
        "largest_change_of_a_log_ratio": round(change, 4),
        "allowed": round(LARGEST_CHANGE, 4),
        "contrasts": contrasts,
        "runs": rows,
    }
    write_json_atomic(path, table)
    print(f"wrote {path}: the largest change of a contrast is {math.expm1(change):.2%}")


if __name__ == "__main__":
    sys.exit(run_command(main))
