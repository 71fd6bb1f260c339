"""The originator's claims C1 to C7, second round: plan, runs, verdicts.

smidgen-suite suite=studies.claims:ROUND_TWO         # runs what is not there yet
python -m studies.claims                             # verdicts from the records
"""

from typing import TYPE_CHECKING

from smidgen.runtime.lazy_names import lazy_names

if TYPE_CHECKING:
    from studies.claims.round_two import ROUND_TWO
else:
    __getattr__, __dir__ = lazy_names(__name__, {"ROUND_TWO": "studies.claims.round_two"})

__all__ = ["ROUND_TWO"]
