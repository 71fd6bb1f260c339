"""Data sets that tests share."""

import dataclasses

import numpy as np
import pytest
from collection_fakes import fake_config, open_fake_collector

from smidgen.data_collection.collect import collect
from smidgen.data_collection.episode import empty_counterfactuals, manifest_row, write_episode
from smidgen.data_collection.manifest import HEADER_FIELDS, MANIFEST_NAME, build_manifest
from smidgen.data_collection.store import EPISODES_NAME, EpisodeStore
from smidgen.runtime.files import write_json_atomic


@pytest.fixture(scope="session")
def finished_set(tmp_path_factory):
    """A finished data set of the fake task: ten attempts with failures and broken-off ones among them. Read-only."""
    directory = tmp_path_factory.mktemp("finished") / "set"
    collect(fake_config(directory, episodes=10), open_fake_collector)
    return directory


@pytest.fixture(scope="session")
def touched_set(finished_set, tmp_path_factory):
    """Two attempts of the fake task, of which the first touched success and lost it again. Read-only."""
    store, directory = EpisodeStore.open(finished_set), tmp_path_factory.mktemp("touched") / "set"
    header = {name: store.manifest[name] for name in HEADER_FIELDS}
    first, second = (store.episode(seed) for seed in store.training_seeds[:2])
    touches = np.arange(first.num_steps) == 1
    rows = []
    for episode in (dataclasses.replace(first, success=False, is_success=touches), second):
        row = write_episode(directory / EPISODES_NAME, header, episode, empty_counterfactuals(header))
        rows.append(manifest_row(directory / EPISODES_NAME, row))
    write_json_atomic(directory / MANIFEST_NAME, build_manifest(header, rows))
    return directory
