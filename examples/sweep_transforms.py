"""The same policy under several input transforms: when does each begin to see? From the repository's root:
    smidgen-collect task=lift episodes=100 out=outputs/lift
    python examples/sweep_transforms.py outputs/lift outputs/sweep steps=1500
Run it again to resume. One seed each: repeat it with seed=1, seed=2, ... before you believe an order.
"""

import json
import subprocess
import sys
from pathlib import Path

ARMS = {  # keys of smidgen-train; --help lists them all
    "as posted": ["position_encoding=aliased"],
    "raw": [],
    "raw, centred": ["standardise_after=centre"],
    "raw, per token": ["standardise_after=token"],
    "3-D DFT, centred": ["transform=dft3d", "standardise_after=centre"],
}


def run_of(out, name):
    return Path(out, name.replace(", ", "-").replace(" ", "_"))


def slopes(run):
    """Step and cue slope of every validation: 1, the output follows the cue; 0, it ignores it."""
    rows = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [(row["step"], row["cue_slope"]) for row in rows if row.get("cue_slope") is not None]


def first_sight(run):
    """First step from which the cue slope stays above 0.5; None if it does not."""
    measured = slopes(run)
    late = [index for index, (_, slope) in enumerate(measured) if slope <= 0.5]
    seen = measured[late[-1] + 1 :] if late else measured
    return seen[0][0] if seen else None


if __name__ == "__main__":
    demos, out, *keys = sys.argv[1:]
    for name, arm in ARMS.items():
        subprocess.run(["smidgen-train", f"demos={demos}", f"out={run_of(out, name)}", *arm, *keys], check=True)
    print(f"\n{'arm':20}  sees from step  final cue slope")
    for name in ARMS:
        step, (_, slope) = first_sight(run_of(out, name)), slopes(run_of(out, name))[-1]
        print(f"{name:20}  {'never' if step is None else step:>14}  {slope:>15.2f}")
