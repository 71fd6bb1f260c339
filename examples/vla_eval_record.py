"""smidgen's record of what a model did in vla-eval (examples/vla_eval_smidgen.py), with sight and verdict:

    python examples/vla_eval_record.py results/..._aggregate.json task=lift name=my-model out=outputs/results

Plays the result's actions back through smidgen-eval, which takes its other settings from here (videos=, workers=, ...),
and compares every outcome with the result. Episodes that failed inside vla-eval count as errors of the policy.
"""

import json
import os
import shlex
import subprocess
import sys

import numpy as np
import serve_policy

from smidgen.envs.seeds import SEED_RANGES
from smidgen.evaluation.records import read_record, record_path

TEST = SEED_RANGES["test"]


def episodes_of(path, task):
    """The metrics of a task's episodes by number."""
    with open(path) as file:
        results = json.load(file)["tasks"]
    found = {
        each["episode_id"]: each["metrics"]
        for result in results
        if result["task"] == task
        for each in result["episodes"]
    }
    if not found or sorted(found) != list(range(len(found))):
        sys.exit(f"error: {path}: expected episodes 0, 1, ... of {task}, got {sorted(found)}")
    return found


class Played:
    """What serve_policy.py serves: the recorded actions of the seed that it is reset to."""

    name, observes, num_frames, files = "vla-eval", ["frames", "eef_state"], 1, {}  # what vla-eval's model saw

    def __init__(self, task, action):
        metrics = episodes_of(sys.argv[1], task).values()
        self.actions = {each["seed"]: each["actions"] for each in metrics if "actions" in each}
        self.middle = (np.array(action["low"]) + np.array(action["high"])) / 2

    def reset(self, num_episodes, seed):
        # smidgen-eval tries every policy on other seeds before the first episode.
        self.left = iter(self.actions[seed]) if seed in TEST else None

    def act(self, frames, eef_state):
        return np.tile(self.middle if self.left is None else next(self.left), (len(frames), 1))


def main(path, *settings):
    given = dict(each.split("=", 1) for each in settings)
    task, name = given.setdefault("task", "lift"), given.setdefault("name", Played.name)
    found = episodes_of(path, task)
    seeds = [each["seed"] - number for number, each in found.items() if "seed" in each]
    if not seeds:
        sys.exit(f"error: {path}: every episode of {task} failed before its first step")
    given |= {"episodes": len(found), "seed_start": seeds[0] - TEST.start, "keep_going": "true"}
    given["policy"] = f"process:{shlex.join([sys.executable, __file__, path])}"
    subprocess.run(
        [sys.executable, "-m", "smidgen.evaluation.evaluate", *(f"{key}={value}" for key, value in given.items())],
        check=True,
    )
    rows = read_record(record_path(given["out"], task, name))["episodes"]
    other = [row["seed"] for number, row in enumerate(rows) if row["success"] != found[number]["success"]]
    if other:
        sys.exit(f"error: seeds {other} end otherwise than in {path}; was that another version or machine?")


if __name__ == "__main__" and "SMIDGEN_POLICY_FD" in os.environ:
    serve_policy.Policy = Played
    serve_policy.serve(serve_policy.socket.socket(fileno=int(os.environ["SMIDGEN_POLICY_FD"])).makefile("rwb"), {})
elif __name__ == "__main__":
    main(*sys.argv[1:])
