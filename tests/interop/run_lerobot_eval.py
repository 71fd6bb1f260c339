"""python run_lerobot_eval.py STORE SCRATCH: recorded actions through lerobot-eval, against the bare environment.

Of every two episodes one plays back its own demonstration and the other another's, so that some fail.
"""

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
from source_set import Comparison, SourceSet

from smidgen.envs.tasks import make_env

ROOT = Path(__file__).resolve().parents[2]
BATCH = 2
# The console script of LeRobot, behind the operators without which torchvision cannot be imported here.
PROGRAM = "import torchvision_operators; from lerobot.scripts.lerobot_eval import main; main()"


def playlist(source, horizon):
    """float32 (episodes, horizon, A): recorded actions, the last one repeated; every second row is a neighbour's."""
    actions = [source.episode(row)["actions"] for row in source.rows]
    padded = [np.concatenate([each, np.repeat(each[-1:], horizon - len(each), axis=0)]) for each in actions]
    return np.stack([padded[k - k % 2] for k in range(len(padded))]).astype(np.float32)


def truth(env, seed, actions):
    """What the bare environment makes of them: frames and states before each action, rewards, and how it ended."""
    observation, _ = env.reset(seed=seed)
    frames, states, rewards = [], [], []
    for action in actions:
        frames.append(observation[f"{env.cameras[0]}_image"])
        states.append(observation["eef_state"])
        observation, reward, terminated, truncated, _ = env.step(action)
        rewards.append(reward)
        if terminated or truncated:
            break
    return np.stack(frames), np.stack(states), float(np.sum(rewards)), terminated


def evaluate(arguments, num_episodes, seed, out):
    """LeRobot's own evaluation; returns what it wrote."""
    paths = os.pathsep.join([str(Path(__file__).parent), str(ROOT / "examples")])
    command = [
        *(sys.executable, "-c", PROGRAM, f"--output_dir={out}", f"--seed={seed}"),
        *("--env.discover_packages_path=lerobot_env_smidgen", "--env.type=smidgen", "--env.task=Lift-v0"),
        *(f"--eval.n_episodes={num_episodes}", f"--eval.batch_size={BATCH}", "--policy.device=cpu", *arguments),
    ]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": paths}, stdout=subprocess.DEVNULL)
    return json.loads(Path(out, "eval_info.json").read_text())["per_task"][0]["metrics"]


def compare(env, source, actions, metrics, observed, found):
    """Every picture, state and outcome that LeRobot saw with those of the bare environment."""
    for k, row in enumerate(source.rows):
        frames, states, total, succeeded = truth(env, row["seed"], actions[k])
        what = f"seed {row['seed']}"
        found.equal(f"{what} success", metrics["successes"][k], succeeded)
        found.equal(f"{what} rewards", metrics["sum_rewards"][k], total)
        steps = [
            np.load(observed / f"{k - k % BATCH:03d}-{step:03d}.npz", allow_pickle=False) for step in range(len(frames))
        ]
        pictures = np.stack([each[f"observation.images.{env.cameras[0]}"][k % BATCH] for each in steps])
        found.equal(f"{what} frames", (pictures.transpose(0, 2, 3, 1) * 255).round().astype(np.uint8), frames)
        seen = np.stack([each["observation.state"][k % BATCH] for each in steps])
        found.equal(f"{what} states", seen, states.astype(np.float32))
        found.equal(f"{what} task", steps[0]["task"][k % BATCH], source.manifest["task"])
        found.counts["episodes"] += 1
        found.counts["steps"] += len(frames)
        found.counts["frames"] += len(frames)
    found.equal("videos", [Path(path).stat().st_size > 0 for path in metrics["video_paths"]], [True] * len(source.rows))


def main(store, scratch):
    source, found, scratch = SourceSet(store), Comparison(), Path(scratch)
    env = make_env("lift")
    actions = playlist(source, env.task.horizon)
    observed = scratch / "observed"
    observed.mkdir(parents=True)
    np.save(scratch / "actions.npy", actions)
    policy = ["--policy.discover_packages_path=lerobot_playback", "--policy.type=playback"]
    policy += [f"--policy.actions={scratch / 'actions.npy'}", f"--policy.observed={observed}"]
    first = source.rows[0]["seed"]
    metrics = evaluate(policy, len(source.rows), first, scratch / "played")
    compare(env, source, actions, metrics, observed, found)
    # An ACT of the default size, untrained: its inputs come from the environment's features alone.
    untrained = evaluate(["--policy.type=act", "--policy.pretrained_backbone_weights=null"], BATCH, 0, scratch / "act")
    versions = {name: version(name) for name in ("lerobot", "gymnasium", "torch", "numpy")}
    found.print_record(
        {"library": "lerobot-eval", "versions": versions},
        successes=metrics["successes"],
        successes_of_untrained_act=untrained["successes"],
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
