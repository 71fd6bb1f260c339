"""The ladder of synthetic data sets that the claims are tested on; no simulator."""

from studies.synthetic.config import LadderConfig
from studies.synthetic.ladder import LADDERS, LadderData, make_ladder
from studies.synthetic.oracle import SOLVABLE_R2, solvability_oracle

__all__ = ["LADDERS", "SOLVABLE_R2", "LadderConfig", "LadderData", "make_ladder", "solvability_oracle"]
