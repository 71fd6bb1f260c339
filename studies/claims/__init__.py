"""The originator's claims C1 to C7, second round: plan, runs, decisions.

smidgen-suite suite=studies.claims:ROUND_TWO         # runs what is not there yet
smidgen-suite suite=studies.claims:ROUND_TWO_B       # where a Perceiver starts looking, beside it
python -m studies.claims                             # decisions from the records
"""

from typing import TYPE_CHECKING

from smidgen.runtime.lazy_names import lazy_names

if TYPE_CHECKING:
    from studies.claims.round_two import ROUND_TWO
    from studies.claims.round_two_b import ROUND_TWO_B
else:
    __getattr__, __dir__ = lazy_names(
        __name__, {"ROUND_TWO": "studies.claims.round_two", "ROUND_TWO_B": "studies.claims.round_two_b"}
    )

__all__ = ["ROUND_TWO", "ROUND_TWO_B"]
