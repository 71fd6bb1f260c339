"""``python -m studies.recipe.step_costs``: core time of a training step of every kind of arm, into step_costs.json.

Arms of one network and one size of input cost the same. Times are core times on one thread, of the fastest of 30 steps
on frames of random pixels. Two minutes on one core. The costs of rollouts come from the benchmark of the simulator.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from smidgen.envs.tasks import get_task
from smidgen.experiments.stages import Size
from smidgen.experiments.trial import Trial
from smidgen.policies.frame_network import NetworkShapes
from smidgen.policies.learned_policy import LearnedPolicyConfig
from smidgen.runtime.command_line import run_command
from smidgen.runtime.files import read_json, write_json_atomic
from smidgen.training.config import TrainConfig
from studies.recipe.arms import Arm, build_arms

FILE = "step_costs.json"
FOLDER = Path("results/recipe")
SIMULATOR = Path("results/bench/env_step.json")
NUM_STEPS, BATCH = 30, 16
IMAGE_SIZE, ACTION_FEATURES = 64, 4


def config_of(arm: Trial) -> LearnedPolicyConfig:
    """The settings of an arm's policy."""
    return TrainConfig.from_flat(**arm.training, demos="", out="").policy


def cost_key(arm: Arm) -> str:
    """What decides the cost of an arm's step."""
    config = config_of(arm)
    changes = [f"{key}={arm.training[key]}" for key in ("num_latents", "num_cross_attentions") if key in arm.training]
    return " ".join([config.kind, f"{config.num_frames} frames", f"{num_cameras(arm)} cameras", *changes])


def num_cameras(arm: Trial) -> int:
    """Cameras of an arm's frames."""
    return len(arm.demonstrations.get("cameras", get_task(arm.task).cameras))


def step_cost_s(arm: Trial) -> tuple[float, float]:
    """Core time of one training step, and of one prediction of a chunk, in seconds."""
    config, channels = config_of(arm), 3 * num_cameras(arm)
    image_size = arm.demonstrations.get("image_size", IMAGE_SIZE)
    network = config.build(
        NetworkShapes(
            num_frames=config.num_frames,
            image_size=image_size,
            channels=channels,
            state_dim=0,
            horizon=config.horizon,
            action_features=ACTION_FEATURES,
        )
    )
    shape = (BATCH, config.num_frames, image_size, image_size, channels)
    frames = torch.randint(0, 256, shape, dtype=torch.uint8)
    network.fit_input([frames])
    optimiser = torch.optim.Adam(network.parameters())

    def step() -> None:
        optimiser.zero_grad()
        network(frames).square().mean().backward()
        optimiser.step()

    def predict() -> None:
        with torch.inference_mode():
            network(frames[:1])

    return _core_time_s(step), _core_time_s(predict)


def _core_time_s(act: Callable[[], object]) -> float:
    """The fastest of some calls, which another process's work slows least."""
    act()
    times_s = []
    for _ in range(NUM_STEPS):
        started = time.process_time()
        act()
        times_s.append(time.process_time() - started)
    return min(times_s)


def at_most_core_hours(arms: Mapping[str, Arm], size: Size, folder: Path = FOLDER) -> dict[str, float]:
    """What each arm costs if every episode runs to its horizon; what arms share is counted at the first of them.

    Empty where a kind of step was not measured.
    """
    path = folder / FILE
    measured: dict[str, Any] = read_json(path) if path.exists() else {"step_and_prediction_s": {}}
    costs: dict[str, list[float]] = measured["step_and_prediction_s"]
    if any(cost_key(arm) not in costs for arm in arms.values()):
        return {}
    control_s, seen, hours = measured["control_step_s"], set[str](), {}
    for name, arm in arms.items():
        step_s, predicting_s = costs[cost_key(arm)]
        task, config = get_task(arm.task), config_of(arm)
        executed = arm.acting.get("num_executed", config.num_executed)
        seconds = size.episodes * task.horizon * (control_s + predicting_s / executed)
        for part, seconds_once in (
            (arm.data_name, (size.demonstrations + size.held_out + size.episodes) * task.horizon * control_s),
            (arm.run_name, min(arm.training["steps"], size.most_steps) * step_s),
        ):
            seconds += seconds_once * (part not in seen)
            seen.add(part)
        hours[name] = round(seconds / 3600, 3)
    return hours


def main(arguments: list[str]) -> None:
    """Measures what is not in the file yet."""
    torch.set_num_threads(1)
    path = FOLDER / FILE
    costs = read_json(path)["step_and_prediction_s"] if path.exists() else {}
    for key, arm in {cost_key(arm): arm for arm in build_arms().values()}.items():
        if key not in costs:
            costs[key] = [float(f"{seconds:.3g}") for seconds in step_cost_s(arm)]
            print(f"{1e3 * costs[key][0]:8.1f} ms, {1e3 * costs[key][1]:6.1f} ms  {key}", flush=True)
            control_s = float(f"{1 / read_json(SIMULATOR)[0]['ours']:.3g}")
            steps = {"step_and_prediction_s": costs, "control_step_s": control_s, "torch": torch.__version__}
            write_json_atomic(path, steps)


if __name__ == "__main__":
    sys.exit(run_command(main))
