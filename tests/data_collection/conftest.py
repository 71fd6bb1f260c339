"""Data sets that tests share."""

import pytest
from collection_fakes import fake_config, open_fake_collector

from smidgen.data_collection.collect import collect


@pytest.fixture(scope="session")
def finished_set(tmp_path_factory):
    """A finished data set of the fake task: ten attempts with failures and broken-off ones among them. Read-only."""
    directory = tmp_path_factory.mktemp("finished") / "set"
    collect(fake_config(directory, episodes=10), open_fake_collector)
    return directory
