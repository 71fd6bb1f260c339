"""smidgen's tasks in AI2's vla-evaluation-harness (`pip install vla-eval`, 0.8, beside smidgen):

    benchmarks:                                              # smidgen.yaml
      - benchmark: "vla_eval_smidgen:SmidgenBenchmark"
        episodes_per_task: 200
        params: {tasks: [lift, speck_4]}

    vla-eval serve --config ...                              # your model server
    PYTHONPATH=examples vla-eval run --no-docker --config smidgen.yaml
    python examples/vla_eval_record.py results/..._aggregate.json task=lift out=outputs/results

Episode k of a task has smidgen-eval's k-th test seed. A result keeps every action, so that the last command can play
the episodes back and write smidgen's record of them.
"""

import numpy as np
from vla_eval.benchmarks.base import StepBenchmark, StepResult, repeat_last_hold
from vla_eval.specs import GRIPPER_CLOSE_POS, IMAGE_RGB, LANGUAGE, POSITION_ABSOLUTE, DimSpec

from smidgen.envs.seeds import seeds
from smidgen.envs.tasks import get_task, make_env

ACTIONS = {
    "position": POSITION_ABSOLUTE,  # metres, world frame
    "yaw": DimSpec("yaw", 1, "yaw_rad_from_home"),
    "gripper": GRIPPER_CLOSE_POS,
}


class SmidgenBenchmark(StepBenchmark):
    render_backends = frozenset({"gpu", "cpu"})  # smidgen.envs chooses: see MUJOCO_GL

    @classmethod
    def configure_render(cls, mode):
        return {}

    def __init__(self, tasks=("lift",), seed_start=0, image_size=64):
        super().__init__()
        self.specs = [get_task(name) for name in tasks]
        self.seed_start, self.image_size, self.env = seed_start, image_size, None

    def get_tasks(self):
        return [{"name": spec.name, "suite": "smidgen"} for spec in self.specs]

    def get_metadata(self):
        return {"max_steps": max(spec.horizon for spec in self.specs)}

    def get_action_spec(self):
        kinds = [kind for spec in self.specs for kind in spec.action.kinds]
        return {kind: ACTIONS[kind] for kind in dict.fromkeys(kinds)}

    def get_observation_spec(self):
        state = DimSpec("state", len(self.specs[0].eef_state_names), ",".join(self.specs[0].eef_state_names))
        cameras = {camera: IMAGE_RGB for spec in self.specs for camera in spec.cameras}
        return {**cameras, "state": state, "language": LANGUAGE}

    def reset(self, task):
        if self.env is None or self.env.task.name != task["name"]:
            self.cleanup()
            self.env = make_env(task["name"], image_size=self.image_size)
        self.seed, self.actions = seeds("test", self.seed_start + task["episode_idx"], 1)[0], []
        return self.env.reset(seed=self.seed)[0]

    def step(self, action):
        sent = np.asarray(action["actions"], dtype=np.float64)
        observation, reward, terminated, truncated, _ = self.env.step(sent)
        self.actions.append(sent.tolist())
        # Terminated means that success has held for long enough: the success of smidgen's records.
        return StepResult(observation, reward, terminated or truncated, {"success": terminated})

    def make_obs(self, raw_obs, task):
        images = {camera: raw_obs[f"{camera}_image"] for camera in self.env.cameras}
        return {"images": images, "state": raw_obs["eef_state"], "task_description": self.env.task.summary}

    def get_step_result(self, step_result):
        success = bool(step_result.info.get("success", False))
        return {"success": success, "seed": self.seed, "actions": self.actions}

    def get_hold_action(self, last_action):
        return repeat_last_hold(last_action, self.env.task.action.size)

    def render(self):
        return self.env.render()

    def cleanup(self):
        if self.env is not None:
            self.env.close()
            self.env = None
