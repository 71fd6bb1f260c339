"""docs/recipe.md names every option that ``--help`` only lists, with its default."""

from __future__ import annotations

from pathlib import Path

import pytest

from smidgen.policies.registry import TRAINED
from smidgen.runtime.flat_config import is_later
from smidgen.training.config import command_line_schema

PAGE = (Path(__file__).parents[2] / "docs/recipe.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", TRAINED)
def test_the_page_has_every_later_option_with_its_default(kind: str) -> None:
    for name, each in command_line_schema(kind).__dataclass_fields__.items():
        if is_later(each) and each.default is not None:
            assert f"{name}={each.default}" in PAGE
        assert not is_later(each) or name in PAGE
