"""The tasks made to be missed: what the cue shows, what it does not, and what a blind policy scores."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from smidgen.envs import agentview
from smidgen.envs.agentview import MIN_CLEARANCE_M, dot_radius_m, draw_dot, pixel_centres_m
from smidgen.envs.smidgen_tasks import (
    DOT_GOALS,
    GOAL_RANGES,
    SMIDGEN_TASKS,
    SPECK_LEVELS,
    TOLERANCE_M,
    GoalRange,
    chance_level,
)
from smidgen.envs.speck import NOISE_SD_LEVELS, PERIOD_STEPS
from smidgen.envs.stripes import MAX_CYCLES, MIN_CYCLES, STRIPED_WIDTH_PX
from smidgen.envs.tasks import make_env
from smidgen.envs.touch import TOUCH_HEIGHT_M
from smidgen.evaluation.statistics import wilson_interval
from smidgen.runtime.errors import UserError
from tests.long_form import long_form

NAMES = [task.name for task in SMIDGEN_TASKS]
DOT_LEVELS = {**{f"speck_{level}": level for level in SPECK_LEVELS}, "speck_noise": 4, "blink": 16}
# A row of the striped board at mid-height, and the board's first striped column.
BOARD_ROW, STRIPED_COLUMN = 55, 4

place = st.tuples(*(st.floats(low, high) for low, high in zip(DOT_GOALS.low_m, DOT_GOALS.high_m, strict=True)))


def changed_pixels(one: np.ndarray, other: np.ndarray) -> int:
    return int((one != other).any(axis=-1).sum())


def without_cue(env: Any) -> np.ndarray:
    with env.cue_hidden():
        return env.render_frames()


def go_to(env: Any, x_m: float, y_m: float, num_steps: int) -> None:
    for _ in range(num_steps):
        env.step(np.array([x_m, y_m, TOUCH_HEIGHT_M]))


@given(place, st.sampled_from(SPECK_LEVELS))
def test_a_dots_radius_covers_as_many_pixel_centres_as_its_level(place_m: tuple[float, float], level: int) -> None:
    radius_m, clearance_m = dot_radius_m(np.array(place_m), level)
    distances_m = np.sqrt(((pixel_centres_m() - np.array(place_m)) ** 2).sum(axis=1))
    assert clearance_m >= 0
    if clearance_m > 1e-9:
        assert (distances_m < radius_m).sum() == level
        assert np.abs(distances_m - radius_m).min() == pytest.approx(clearance_m)


@pytest.mark.parametrize("level", SPECK_LEVELS)
def test_places_are_uniform_and_beyond_doubt(level: int) -> None:
    rng = np.random.default_rng(0)
    places_m = np.array([draw_dot(DOT_GOALS, level, rng) for _ in range(400)])
    assert min(dot_radius_m(place_m, level)[1] for place_m in places_m) >= MIN_CLEARANCE_M
    low_m, high_m = np.array(DOT_GOALS.low_m), np.array(DOT_GOALS.high_m)
    shares = (places_m - low_m) / (high_m - low_m)
    # Five standard errors of the mean of a uniform variable.
    np.testing.assert_allclose(shares.mean(axis=0), 0.5, atol=5 / np.sqrt(12 * 400))
    assert shares.min() >= 0
    assert shares.max() <= 1


def test_the_tolerance_is_at_least_a_pixels_footprint() -> None:
    centres_m = pixel_centres_m().reshape(agentview.IMAGE_SIZE, agentview.IMAGE_SIZE, 2)
    low_m, high_m = np.array(DOT_GOALS.low_m), np.array(DOT_GOALS.high_m)
    in_range = ((centres_m >= low_m) & (centres_m <= high_m)).all(axis=-1)
    for axis in (0, 1):
        sides_m = np.linalg.norm(np.diff(centres_m, axis=axis), axis=-1)
        assert sides_m[np.take(in_range, range(agentview.IMAGE_SIZE - 1), axis=axis)].max() <= TOLERANCE_M


@pytest.mark.parametrize("name", NAMES)
def test_chance_is_low_and_what_sampling_gives(name: str) -> None:
    goals, rng = GOAL_RANGES[name], np.random.default_rng(0)
    drawn_m = np.array([goals.draw(rng) for _ in range(20_000)])
    distances_m = np.linalg.norm(drawn_m - drawn_m.mean(axis=0), axis=1)
    low, high = wilson_interval(int((distances_m <= goals.tolerance_m).sum()), len(drawn_m), 0.999)
    chance = chance_level(name)
    assert chance is not None
    assert low <= chance <= high
    assert chance <= 0.1


def test_only_tasks_with_a_goal_have_a_chance_level() -> None:
    assert chance_level("lift") is None
    with pytest.raises(AssertionError, match="fits"):
        GoalRange((0.0, 0.0), (1.0, 0.01), tolerance_m=0.02)


@pytest.mark.simulator
@pytest.mark.parametrize("name", ["speck_1", "stripes"])
def test_a_policy_that_goes_to_the_mean_goal_succeeds_by_chance(
    name: str, environment_of: Callable[[str], Any]
) -> None:
    env = environment_of(name)
    env.observe_pixels = False
    goals = GOAL_RANGES[name]
    env.reset(seed=0)
    go_to(env, *(np.array(goals.low_m) + np.array(goals.high_m)) / 2, num_steps=50)
    env.observe_pixels = True
    # Every episode starts alike, so this one's arm stands where every other episode's would.
    rng, num_goals, successes = np.random.default_rng(1), 400, 0
    for _ in range(num_goals):
        env.move_cue(rng)
        successes += env.is_success()
    low, high = wilson_interval(successes, num_goals, 0.999)
    chance = chance_level(name)
    assert chance is not None
    assert low <= chance <= high


@pytest.mark.simulator
@pytest.mark.parametrize("name", NAMES, scope="module")
def test_all_but_the_cue_is_the_same_in_every_episode(name: str, environment_of: Callable[[str], Any]) -> None:
    env = environment_of(name)
    states, cues, frames = [], [], []
    for seed in (1, 2, 3):
        env.reset(seed=seed)
        states.append(np.concatenate([env.data.qpos, env.data.qvel, env.eef_state()]))
        cues.append(env.cue_pose())
        frames.append(without_cue(env))
    assert not any(np.array_equal(cues[0], cue) for cue in cues[1:])
    assert all(np.array_equal(states[0], state) for state in states[1:])
    if name != "speck_noise":
        assert all(np.array_equal(frames[0], frame) for frame in frames[1:])


@pytest.mark.simulator
@pytest.mark.parametrize("name", DOT_LEVELS, scope="module")
def test_a_dot_shows_in_exactly_its_number_of_pixels(name: str, environment_of: Callable[[str], Any]) -> None:
    env = environment_of(name)
    for seed in range(12):
        env.reset(seed=seed)
        seen, hidden = env.render_frames()[0], without_cue(env)[0]
        assert changed_pixels(seen, hidden) == DOT_LEVELS[name]
        contrast = (hidden.astype(int) - seen)[(seen != hidden).any(axis=-1)]
        assert contrast.min() >= 60


@pytest.mark.simulator
def test_the_camera_is_the_one_that_sizes_are_computed_for(environment_of: Callable[[str], Any]) -> None:
    model = environment_of("speck_1").model
    camera = model.camera("agentview")
    axes = Rotation.from_quat(np.roll(camera.quat, -1)).as_matrix()
    np.testing.assert_allclose(camera.pos, agentview.POSITION_M)
    np.testing.assert_allclose(axes, agentview.camera_axes(), atol=1e-9)
    assert camera.fovy == agentview.FOVY_DEG


@pytest.mark.simulator
@pytest.mark.parametrize("name", ["speck_1", "speck_16", "stripes"])
def test_frames_too_small_for_the_cue_are_refused(name: str) -> None:
    with pytest.raises(UserError, match="expected image_size of at least"):
        make_env(name, image_size=15)


@pytest.mark.simulator
@pytest.mark.parametrize("name", long_form(["speck_noise", "blink", "stripes"], ["speck_noise"]))
def test_another_environment_renders_a_stored_state_alike(name: str, environment_of: Callable[[str], Any]) -> None:
    env, other = environment_of(name), make_env(name)
    env.reset(seed=4)
    go_to(env, 0.0, 0.1, num_steps=2)
    other.reset(seed=5)
    other.set_state(env.get_state())
    assert np.array_equal(other.render_frames(), env.render_frames())
    assert np.array_equal(other.get_state(), env.get_state())
    other.close()


@pytest.mark.simulator
def test_a_far_target_pulls_no_harder_than_a_near_one(environment_of: Callable[[str], Any]) -> None:
    env = environment_of("speck_1")
    env.reset(seed=0)
    path_m = []
    for _ in range(12):
        env.step(np.array([0.15, 0.2, TOUCH_HEIGHT_M]))
        path_m.append(env.eef_state())
    speeds_m_per_s = np.linalg.norm(np.diff(path_m, axis=0), axis=1) * env.task.control_hz
    assert 0.3 < speeds_m_per_s.max() < 0.65


@pytest.mark.simulator
def test_noise_has_the_declared_deviation_and_belongs_to_seed_and_step(environment_of: Callable[[str], Any]) -> None:
    noisy, clean = environment_of("speck_noise"), environment_of("speck_4")
    seen = []
    for seed in (0, 1):
        for env in (noisy, clean):
            env.reset(seed=seed)
        for _ in range(2):
            assert np.array_equal(noisy.cue_pose(), clean.cue_pose())
            assert np.array_equal(noisy.render_frames(), noisy.render_frames())
            # The table fills the picture's lower part; nothing there is near enough to white for noise to be cut off.
            seen.append((noisy.render_frames().astype(float) - clean.render_frames())[0, 20:])
            for env in (noisy, clean):
                env.step(np.array([0.0, 0.0, 1.0]))
    noise = np.array(seen)
    num = noise[0].size
    assert noise.reshape(4, -1).std(axis=1) == pytest.approx(np.full(4, NOISE_SD_LEVELS), rel=5 / np.sqrt(2 * num))
    assert np.abs(noise.reshape(4, -1).mean(axis=1)).max() < 5 * NOISE_SD_LEVELS / np.sqrt(num)
    between_draws = np.corrcoef(noise.reshape(4, -1)) - np.eye(4)
    between_colours = np.corrcoef(np.moveaxis(noise, -1, 0).reshape(3, -1)) - np.eye(3)
    assert max(np.abs(between_draws).max(), np.abs(between_colours).max()) < 5 / np.sqrt(num)


@pytest.mark.simulator
def test_blinking_shows_the_dot_in_one_frame_of_any_three(environment_of: Callable[[str], Any]) -> None:
    env = environment_of("blink")
    env.reset(seed=2)
    shown = []
    for _ in range(9):
        shown.append(changed_pixels(env.render_frames()[0], without_cue(env)[0]) > 0)
        env.step(np.array([0.0, 0.0, 1.0]))
    assert shown[0]
    assert all(sum(shown[step : step + PERIOD_STEPS]) == 1 for step in range(len(shown) - PERIOD_STEPS + 1))


@pytest.mark.simulator
def test_stripes_have_the_declared_frequency_and_neighbours_differ(environment_of: Callable[[str], Any]) -> None:
    env = environment_of("stripes")
    env.reset(seed=0)
    goals = GOAL_RANGES["stripes"]
    cycles_per_tolerance = goals.tolerance_m / (goals.high_m[1] - goals.low_m[1]) * (MAX_CYCLES - MIN_CYCLES)
    frames = []
    for cycles in np.arange(MIN_CYCLES, MAX_CYCLES, cycles_per_tolerance):
        env.set_cue_pose(np.array([cycles]))
        frames.append(env.render_frames()[0])
        row = frames[-1][BOARD_ROW, STRIPED_COLUMN : STRIPED_COLUMN + STRIPED_WIDTH_PX, 0].astype(float)
        # Padded with zeros to 64 times its length: the spectrum in steps of a 64th of a cycle.
        spectrum = np.abs(np.fft.rfft(row - row.mean(), n=64 * STRIPED_WIDTH_PX))
        assert spectrum.argmax() / 64 == pytest.approx(cycles, abs=0.25)
    assert min(changed_pixels(one, other) for one, other in itertools.pairwise(frames)) >= 100


@pytest.mark.simulator
def test_the_stripes_goal_moves_with_their_frequency(environment_of: Callable[[str], Any]) -> None:
    env = environment_of("stripes")
    env.reset(seed=0)
    goals = []
    for cycles in (MIN_CYCLES, MAX_CYCLES):
        env.set_cue_pose(np.array([cycles]))
        goals.append(tuple(env.privileged()["goal_position_m"][:2]))
    assert goals == [pytest.approx(GOAL_RANGES["stripes"].low_m), pytest.approx(GOAL_RANGES["stripes"].high_m)]


@pytest.mark.simulator
@pytest.mark.parametrize("name", DOT_LEVELS, scope="module")
def test_the_dots_pixels_tell_the_goal_to_within_the_tolerance(name: str, environment_of: Callable[[str], Any]) -> None:
    env = environment_of(name)
    # Rows of the geometry count upwards, those of a frame downwards.
    centres_m = pixel_centres_m().reshape(agentview.IMAGE_SIZE, agentview.IMAGE_SIZE, 2)[::-1]
    background = None
    for seed in range(20, 30):
        env.reset(seed=seed)
        background = without_cue(env)[0] if background is None else background
        darkened = (background.astype(float) - env.render_frames()[0]).mean(axis=-1)
        seen_m = centres_m[darkened > 40].mean(axis=0)
        assert np.linalg.norm(seen_m - env.privileged()["goal_position_m"][:2]) < TOLERANCE_M / 2


@pytest.mark.simulator
def test_the_stripes_tell_the_goal_to_within_the_tolerance(environment_of: Callable[[str], Any]) -> None:
    env = environment_of("stripes")
    env.reset(seed=0)
    pictures, goals_m = [], []
    for cycles in np.linspace(MIN_CYCLES, MAX_CYCLES, 120):
        env.set_cue_pose(np.array([cycles]))
        pictures.append(env.render_frames()[0])
        goals_m.append(env.privileged()["goal_position_m"][:2])
    for seed in range(20, 30):
        env.reset(seed=seed)
        seen = env.render_frames()[0]
        likest = np.argmin([changed_pixels(picture, seen) for picture in pictures])
        assert np.linalg.norm(goals_m[likest] - env.privileged()["goal_position_m"][:2]) < TOLERANCE_M / 2
