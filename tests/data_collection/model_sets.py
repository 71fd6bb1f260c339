"""Files of robomimic whose demonstrations bring a MuJoCo model, drawn by MuJoCo's own renderer."""

import functools
import json

import h5py
import mujoco
import numpy as np

from smidgen.data_collection.formats.pictures import squares

SIZE, NUM_STEPS = 32, 4
CAMERAS = ("agentview", "wrist")
MODEL = """<mujoco model="table">
  <compiler angle="radian" meshdir="meshes/"/>
  <option timestep="0.002"/>
  <visual><quality shadowsize="256" offsamples="1"/></visual>
  <size njmax="5000" nconmax="5000"/>
  <asset>
    <texture name="checks" type="2d" builtin="checker" rgb1="0.9 0.8 0.7" rgb2="0.2 0.3 0.4" width="64" height="64"/>
    <material name="checks" texture="checks" texrepeat="6 6"/>
  </asset>
  <worldbody>
    <light pos="0.5 -0.5 2" dir="-0.2 0.2 -1"/>
    <camera name="agentview" pos="0 -1 1" xyaxes="1 0 0 0 0.7 0.7"/>
    <camera name="wrist" pos="0.3 0 1.2" xyaxes="0 1 0 -1 0 0"/>
    <geom type="plane" size="1 1 0.1" group="1" material="checks"/>
    <body name="cube" pos="0 0 0.2">
      <freejoint/>
      <geom type="box" size="0.2 0.15 0.1" group="1" rgba="0.9 0.1 0.1 1"/>
      <geom type="sphere" size="0.4" rgba="0 1 0 0.5"/>
      <site name="grip" size="0.01" rgba="0 0 1 0"/>
    </body>
  </worldbody>
  <actuator><motor joint="none"/></actuator>
</mujoco>
"""
# Without the actuator, whose joint is missing: MuJoCo's own compiler refuses the whole.
DRAWN = MODEL.replace('<actuator><motor joint="none"/></actuator>', "")


def states_of(seed):
    """float64 (S, 14): time, positions and velocities of a cube that flies and turns quickly."""
    rng = np.random.default_rng(seed)
    states = np.zeros((NUM_STEPS, 14))
    states[:, 0] = np.arange(NUM_STEPS) * 0.05
    states[:, 1:4] = rng.uniform(-0.3, 0.3, (NUM_STEPS, 3)) + np.array([0, 0, 0.4])
    states[:, 4:8] = rng.normal(size=(NUM_STEPS, 4))
    states[:, 4:8] /= np.linalg.norm(states[:, 4:8], axis=1, keepdims=True)
    states[:, 8:] = rng.uniform(20, 40, (NUM_STEPS, 6))
    return states


def drawn(states, size=SIZE, steps_ago=0):
    """Frames uint8 (S, H, W, 3) of each camera, by MuJoCo's own renderer."""
    return _drawn(states.tobytes(), size, steps_ago)


@functools.cache
def _drawn(content, size, steps_ago):
    model, states = mujoco.MjModel.from_xml_string(DRAWN), np.frombuffer(content).reshape(-1, 14)
    data, options = mujoco.MjData(model), mujoco.MjvOption()
    options.geomgroup[0] = 0
    model.vis.global_.offwidth = model.vis.global_.offheight = size
    frames = {camera: [] for camera in CAMERAS}
    with mujoco.Renderer(model, size, size) as renderer:
        for state in states:
            data.qpos[:] = state[1:8]
            mujoco.mj_integratePos(model, data.qpos, state[8:].copy(), -steps_ago * model.opt.timestep)
            mujoco.mj_forward(model, data)
            for camera, shown in frames.items():
                renderer.update_scene(data, camera, scene_option=options)
                shown.append(renderer.render())
    return {camera: np.stack(shown) for camera, shown in frames.items()}


def drawn_larger(states):
    """The frames drawn at twice the size and scaled down."""
    return {camera: squares(frames, SIZE) for camera, frames in drawn(states, 2 * SIZE).items()}


def write_model_set(path, frames_of=drawn, model=MODEL, states=states_of, num_demos=1, version="1.5.2"):
    """Writes the file; ``model`` is one for all, or a list with one for each demonstration ("" for none)."""
    models = [model] * num_demos if isinstance(model, str) else model
    kwargs = {"control_freq": 20, "camera_heights": SIZE, "camera_widths": SIZE}
    with h5py.File(path, "w") as file:
        env = {"env_name": "Table", "env_version": version, "type": 1, "env_kwargs": kwargs}
        file.create_group("data").attrs["env_args"] = json.dumps(env)
        for index, xml in enumerate(models):
            demo = file.create_group(f"data/demo_{index}")
            demo.attrs["num_samples"] = NUM_STEPS
            if xml:
                demo.attrs["model_file"] = xml
            demo["actions"] = np.arange(3.0 * NUM_STEPS).reshape(NUM_STEPS, 3)
            demo["states"] = states(index)
            for camera, frames in frames_of(states_of(index)).items():
                demo.create_dataset(f"obs/{camera}_image", data=frames, chunks=(1, *frames.shape[1:]))
    return path
