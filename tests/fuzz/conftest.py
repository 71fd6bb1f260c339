"""What holds after every test of hostile input."""

import sys
from collections.abc import Iterator

import pytest

from tests.fuzz.hostile import CANARY


@pytest.fixture(autouse=True)
def nothing_was_imported() -> Iterator[None]:
    """The module that hostile files name was not loaded."""
    yield
    assert CANARY not in sys.modules
