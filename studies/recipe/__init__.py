"""The search for a recipe: which settings take a policy to its task, arm by arm, on seeds that are never ranked.

smidgen-suite suite=studies.recipe:SCREEN            # runs what is not there yet
smidgen-suite suite=studies.recipe:BARS              # the recipe that was found, over training seeds, on other episodes
python -m studies.recipe markdown=docs/recipe.md     # the page's table from the records
"""

from typing import TYPE_CHECKING

from smidgen.runtime.lazy_names import lazy_names

if TYPE_CHECKING:
    from studies.recipe.bars import BARS
    from studies.recipe.screen import SCREEN
else:
    __getattr__, __dir__ = lazy_names(__name__, {"BARS": "studies.recipe.bars", "SCREEN": "studies.recipe.screen"})

__all__ = ["BARS", "SCREEN"]
