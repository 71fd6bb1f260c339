"""Collecting in the real simulator: same bytes from any process, pairs that show the cue, states that render again."""

import shutil

import numpy as np
import pytest
from collection_fakes import tree

from smidgen.data_collection.collect import collect
from smidgen.data_collection.collector import close_collector
from smidgen.data_collection.config import CollectConfig
from smidgen.data_collection.store import EpisodeStore
from smidgen.envs.tasks import TASKS, make_env
from tests.long_form import ONE_OF_EACH_FAMILY, long_form, needs_long_form

pytestmark = [pytest.mark.simulator, pytest.mark.usefixtures("kept_simulators")]

IMAGE_SIZE = 64


def config(out, task, workers):
    return CollectConfig(task=task, out=str(out), episodes=2, image_size=IMAGE_SIZE, workers=workers)


# Lift is collected by the README's steps and the demo.
FAMILIES = long_form(ONE_OF_EACH_FAMILY, tuple(name for name in ONE_OF_EACH_FAMILY if name != "lift"))


@pytest.fixture(scope="module", params=FAMILIES)
def simulated_set(request, tmp_path_factory):
    directory = tmp_path_factory.mktemp("simulated") / request.param
    collect(config(directory, request.param, workers=0))
    close_collector()
    return directory


# One whose state is more than joints; the long form has every family's episodes, and test_same_again.py a speck's.
@pytest.mark.parametrize("simulated_set", long_form(ONE_OF_EACH_FAMILY, ("wipe",)), indirect=True)
def test_an_episode_has_the_same_bytes_from_another_process_and_after_no_other(simulated_set, tmp_path):
    again = tmp_path / "again"
    shutil.copytree(simulated_set, again)
    (again / "manifest.json").unlink()
    shutil.rmtree(again / "episodes" / "000000001")
    collect(config(again, simulated_set.name, workers=1))
    assert tree(again) == tree(simulated_set)


@needs_long_form()
def test_two_workers_give_the_same_bytes_as_one(tmp_path):
    """Of one task: another process is asked for above, and two of them of the fake task in test_collect.py."""
    for name, workers in (("this", 0), ("two", 2)):
        collect(config(tmp_path / name, "speck_1", workers=workers))
    close_collector()
    assert tree(tmp_path / "two") == tree(tmp_path / "this")


def test_a_set_of_demonstrations_is_what_it_says(simulated_set):
    store = EpisodeStore.open(simulated_set)
    task = TASKS[simulated_set.name]
    assert store.training_seeds == (0, 1)
    assert store.manifest["environment"]["env_id"] == task.env_id
    assert store.manifest["eef_state_names"] == list(task.eef_state_names)
    for seed in store.seeds:
        episode = store.episode(seed)
        assert task.hold_steps <= episode.num_steps <= task.horizon
        assert episode.frames.shape == (episode.num_steps, len(task.cameras), IMAGE_SIZE, IMAGE_SIZE, 3)
        assert episode.is_success[-task.hold_steps :].all()
        assert (episode.actions >= task.action.low).all()
        assert (episode.actions <= task.action.high).all()
        assert np.abs(np.diff(episode.frames.astype(int), axis=0)).max() > 0


def test_counterfactual_pairs_show_the_cue_elsewhere_and_not_at_all(simulated_set):
    pairs = EpisodeStore.open(simulated_set).counterfactuals((0, 1))
    assert len(pairs["step"]) == 4
    for name in ("frames_moved", "frames_hidden"):
        changed = (pairs["frames"] != pairs[name]).any(axis=-1)
        assert changed.any(axis=(2, 3, 4)).all(), "every frame of the history differs"
        assert changed.mean() < 0.2, "and only where the cue is or was"
    assert np.abs(pairs["target"] - pairs["target_moved"]).max(axis=1).min() > 1e-4
    assert np.abs(pairs["cue_pose"] - pairs["cue_pose_moved"]).max(axis=1).min() > 1e-4


def test_stored_states_render_to_the_stored_frames(simulated_set):
    store = EpisodeStore.open(simulated_set)
    env = make_env(simulated_set.name, image_size=IMAGE_SIZE, observe_pixels=False)
    try:
        for seed in (1, 0):
            episode = store.episode(seed)
            for step in (0, episode.num_steps // 2, episode.num_steps - 1):
                env.set_state(episode.states[step])
                np.testing.assert_array_equal(env.render_frames(), episode.frames[step])
                np.testing.assert_array_equal(env.eef_state(), episode.eef_state[step])
    finally:
        env.close()
