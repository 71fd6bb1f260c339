"""The render profile and the check that a process's pixels can be trusted."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from smidgen.envs import rendering
from smidgen.envs.errors import PixelError
from smidgen.envs.frozen_model import cache_directory
from smidgen.envs.selfcheck import check_pixels
from smidgen.envs.simulator import RobosuiteLift, quiet_robosuite
from smidgen.envs.tasks import make_env
from tests.long_form import long_form

pytestmark = pytest.mark.simulator


def test_the_proof_holds_here(environment_of: Callable[[str], Any]) -> None:
    checked = check_pixels(environment_of("lift"))
    assert checked is not None
    assert checked.cue_pixels > 0
    assert checked.reference_difference is not None
    assert checked.reference_difference < 1.0


def test_there_is_nothing_to_prove_without_cameras() -> None:
    assert check_pixels(make_env("lift", cameras=())) is None


@pytest.mark.parametrize(
    ("fault", "complaint"),
    [
        (lambda frames, _: np.zeros_like(frames), "blank"),
        (lambda frames, count: frames // 2 + count, "twice"),
        (lambda frames, _: 255 - frames, "differs from the recorded one"),
    ],
)
def test_the_proof_fails_on_a_broken_renderer(
    fault, complaint: str, environment_of: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    env = environment_of("lift")
    true_render, count = env.render_frames, 0

    def broken_render() -> np.ndarray:
        nonlocal count
        count += 1
        return fault(true_render(), count)

    monkeypatch.setattr(env, "render_frames", broken_render)
    with pytest.raises(PixelError, match=complaint):
        check_pixels(env)


def test_the_proof_fails_on_a_frozen_picture(
    environment_of: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    env = environment_of("lift")
    env.reset(seed=0)
    frozen = env.render_frames()
    monkeypatch.setattr(env, "render_frames", lambda: frozen)
    with pytest.raises(PixelError, match="does not change"):
        check_pixels(env)


def test_the_decimated_picture_is_a_fair_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    whole = replace(rendering.RENDER_PROFILES["v0"], name="whole", mesh_fraction=1.0, min_faces=0)
    monkeypatch.setitem(rendering.RENDER_PROFILES, "whole", whole)
    pictures = []
    for profile in ("v0", "whole"):
        env = make_env("lift", render_profile=profile)
        pictures.append([])
        for seed in range(long_form(3, 1)):
            env.reset(seed=seed)
            for step in range(20):
                env.step(np.array([0.0, 0.0, 0.86, -1.0]))
                if step % 5 == 4:
                    pictures[-1].append(env.render_frames())
        env.close()
    difference = np.abs(np.array(pictures[0], dtype=float) - np.array(pictures[1], dtype=float)).mean()
    assert 0.0 < difference <= 2.0


def test_an_altered_mesh_in_the_cache_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMIDGEN_CACHE", str(tmp_path))
    env = make_env("lift")
    env.reset(seed=0)
    before = env.render_frames()
    env.close()
    victim = max(cache_directory().glob("*.obj"), key=lambda path: path.stat().st_size)
    intact = victim.read_bytes()
    victim.write_bytes(intact[: len(intact) // 2])
    env = make_env("lift")
    env.reset(seed=0)
    assert np.array_equal(env.render_frames(), before)
    assert victim.read_bytes() == intact
    env.close()


def test_the_stock_profile_is_robosuites_own_picture() -> None:
    env = make_env("lift", render_profile="stock")
    env.reset(seed=3)
    with quiet_robosuite():
        stock = RobosuiteLift(
            robots="Panda",
            renderer="mujoco",
            has_offscreen_renderer=True,
            use_camera_obs=True,
            camera_names=["agentview"],
            camera_heights=64,
            camera_widths=64,
            hard_reset=False,
        )
        stock.reset()
    model, data = stock.sim.model._model, stock.sim.data._data
    for geom in ("cube_g0", "cube_g0_vis"):  # robosuite draws the cube's size; ours is fixed
        model.geom_size[model.geom(geom).id] = env.model.geom_size[env.model.geom(geom).id]
    data.qpos[:] = env.data.qpos
    stock.sim.forward()
    theirs = stock.sim.render(width=64, height=64, camera_name="agentview")[::-1]
    assert np.array_equal(env.render_frames()[0], theirs)
    env.close()
    stock.close()
