"""The claims C1 to C7, first round: plan, runs and verdicts, most of them withdrawn since.

smidgen-suite suite=studies.first_round:ROUND_ONE [form=smoke]     # runs what is not there yet
python -m studies.first_round                                      # verdicts from the records
"""

from typing import TYPE_CHECKING

from smidgen.runtime.lazy_names import lazy_names

if TYPE_CHECKING:
    from studies.first_round.suite import ROUND_ONE
else:
    __getattr__, __dir__ = lazy_names(__name__, {"ROUND_ONE": "studies.first_round.suite"})

__all__ = ["ROUND_ONE"]
