"""python run_vla_eval.py STORE SCRATCH: our tasks run by vla-eval with its own stub and with recorded actions.

The stub is the EchoModelServer of vla-eval's smoke tests, which answers zeros. The other model plays back the expert's
actions, so that some episodes succeed; what it is sent is compared with the bare environment to the bit. Both results
become records of ours.
"""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import vla_eval
from source_set import Comparison
from vla_eval.cli.smoke import _make_echo_server
from vla_eval.model_servers.predict import PredictModelServer

from smidgen.envs.seeds import seeds
from smidgen.envs.tasks import make_env
from smidgen.evaluation.expert_policy import ExpertPolicy
from smidgen.evaluation.records import read_record
from smidgen.evaluation.rollout import policy_observations

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
TASK, NUM_EPISODES = "lift", 10  # as many as a verdict takes


def experts_episodes():
    """Actions, frames and states of the expert's episodes on the first test seeds; the last one stops halfway."""
    env, expert, found = make_env(TASK), ExpertPolicy(TASK), []
    for number, seed in enumerate(seeds("test", 0, NUM_EPISODES)):
        expert.reset(1, seed)
        observation, _ = env.reset(seed=seed)
        episode = {"actions": [], "frames": [], "states": []}
        while True:
            action = expert.act(policy_observations(env, expert.observes))[0].astype(np.float32)
            if number == NUM_EPISODES - 1 and len(episode["actions"]) > 10:
                action = episode["actions"][-1]
            episode["actions"].append(action)
            episode["frames"].append(observation[f"{env.cameras[0]}_image"])
            episode["states"].append(observation["eef_state"])
            observation, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                found.append({**episode, "success": terminated})
                break
    env.close()
    return found


class PlayedServer(PredictModelServer):
    """Answers with recorded actions and compares what it is sent."""

    def __init__(self, episodes, found):
        super().__init__()
        self.episodes, self.found = episodes, found

    async def on_episode_start(self, config, ctx):
        await super().on_episode_start(config, ctx)
        self.number, self.step = config["task"]["episode_idx"], 0

    def predict(self, obs, ctx):
        episode, what = self.episodes[self.number], f"episode {self.number} step {self.step}"
        (frames,) = obs["images"].values()
        self.found.equal(f"{what} frames", frames, episode["frames"][self.step])
        self.found.equal(f"{what} states", obs["state"], episode["states"][self.step])
        self.found.counts["steps"] += 1
        self.found.counts["frames"] += 1
        self.step += 1
        return {"actions": episode["actions"][self.step - 1]}


def run(server, out):
    """vla-eval's own run of a model; returns where its result is, and the episodes in it."""
    entry = {"benchmark": "vla_eval_smidgen:SmidgenBenchmark", "params": {"tasks": [TASK]}}
    config = {"benchmarks": [{**entry, "episodes_per_task": NUM_EPISODES}]}
    (result,) = vla_eval.evaluate(server, config, output_dir=out, docker=False)
    (path,) = out.glob("*_aggregate.json")
    return path, result["tasks"][0]["episodes"]


def record(path, name, out):
    """Our record of a result, written by the example."""
    command = [sys.executable, str(EXAMPLES / "vla_eval_record.py"), str(path), f"task={TASK}", f"name={name}"]
    subprocess.run([*command, f"out={out}", "videos=0", "workers=0"], check=True, stdout=subprocess.DEVNULL)
    return read_record(out / f"{TASK}-{name}.json")


def main(store, scratch):
    sys.path.insert(0, str(EXAMPLES))
    found, scratch = Comparison(), Path(scratch)
    expected = experts_episodes()
    servers = {"stub": _make_echo_server(len(expected[0]["actions"][0])), "played": PlayedServer(expected, found)}
    verdicts = {}
    for name, server in servers.items():
        path, episodes = run(server, scratch / name)
        made = record(path, name, scratch / "records")
        rows = [(row["success"], row["num_steps"], row["label"] != "policy_error") for row in made["episodes"]]
        theirs = [(each["metrics"]["success"], each["steps"], not each.get("failure_reason")) for each in episodes]
        found.equal(f"{name} record", rows, theirs)
        found.counts["episodes"] += len(rows)
        measured = {key: made["collapse"][key] for key in ("verdict", "path_slope")}
        verdicts[name] = {"successes": [row[0] for row in rows], **measured}
    found.equal("successes", verdicts["played"]["successes"], [each["success"] for each in expected])
    versions = {name: version(name) for name in ("vla-eval", "gymnasium", "torch", "numpy")}
    found.print_record({"library": "vla-eval", "versions": versions}, models=verdicts)


if __name__ == "__main__":
    main(*sys.argv[1:])
