"""The search for a recipe: which settings take a policy to its task, arm by arm, on seeds that are never ranked.

smidgen-suite suite=studies.recipe:SCREEN            # runs what is not there yet
python -m studies.recipe markdown=docs/recipe.md     # the page's table from the records
"""

from typing import TYPE_CHECKING

from smidgen.runtime.lazy_names import lazy_names

if TYPE_CHECKING:
    from studies.recipe.screen import SCREEN
else:
    __getattr__, __dir__ = lazy_names(__name__, {"SCREEN": "studies.recipe.screen"})

__all__ = ["SCREEN"]
