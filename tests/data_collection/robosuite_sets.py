"""Files of robomimic as robosuite's own collection and robomimic's own rendering write them, by robosuite itself."""

import json
import shutil
import warnings

import h5py
import numpy as np

from smidgen.envs.simulator import quiet_robosuite

SIZE, NUM_STEPS = 48, 3
CAMERAS = ["robot0_eye_in_hand"]
KWARGS = {"robots": ["Panda"], "control_freq": 20, "camera_names": CAMERAS}
KWARGS |= {"camera_heights": SIZE, "camera_widths": SIZE}


def write_robosuite_sets(live, rendered, task):
    """Two files of one demonstration of random actions.

    Args:
        live: Its frames are what robosuite's observations had, upside down.
        rendered: Its frames are those of the stored states under the stored model, upright.
        task: Name of robosuite's environment.
    """
    # Imported here: the backend is chosen first, and numba switched off.
    import robosuite

    with quiet_robosuite():
        env = robosuite.make(
            task,
            has_renderer=False,
            has_offscreen_renderer=True,
            use_camera_obs=True,
            ignore_done=True,
            hard_reset=False,
            **KWARGS,
        )
        try:
            _record(env, live, {"env_name": task, "env_version": robosuite.__version__, "type": 1})
            shutil.copy(live, rendered)
            _render_again(env, rendered)
        finally:
            env.close()


def _record(env, path, env_args):
    observed = env.reset()
    with h5py.File(path, "w") as file, warnings.catch_warnings():
        file.create_group("data").attrs["env_args"] = json.dumps({**env_args, "env_kwargs": KWARGS})
        demo = file.create_group("data/demo_0")
        demo.attrs["num_samples"] = NUM_STEPS
        # As robosuite's DataCollectionWrapper and robomimic's get_state save it; robosuite leaves the file open.
        warnings.simplefilter("ignore", ResourceWarning)
        demo.attrs["model_file"] = env.sim.model.get_xml()
        states, actions, frames = [], [], {camera: [] for camera in CAMERAS}
        rng = np.random.default_rng(0)
        for _ in range(NUM_STEPS):
            states.append(env.sim.get_state().flatten())
            for camera, shown in frames.items():
                shown.append(observed[f"{camera}_image"])
            actions.append(rng.uniform(-1, 1, env.action_dim))
            observed = env.step(actions[-1])[0]
        demo["states"], demo["actions"] = np.stack(states), np.stack(actions)
        for camera, shown in frames.items():
            demo[f"obs/{camera}_image"] = np.stack(shown)


def _render_again(env, path):
    """As robomimic's ``dataset_states_to_obs`` does."""
    with h5py.File(path, "r+") as file:
        demo = file["data/demo_0"]
        env.reset_from_xml_string(env.edit_model_xml(demo.attrs["model_file"]))
        env.sim.reset()
        for step, state in enumerate(demo["states"]):
            env.sim.set_state_from_flattened(state)
            env.sim.forward()
            observed = env._get_observations(force_update=True)
            for camera in CAMERAS:
                demo[f"obs/{camera}_image"][step] = observed[f"{camera}_image"][::-1]
