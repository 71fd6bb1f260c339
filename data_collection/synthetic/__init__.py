"""The ladder of synthetic data sets that settle the claims; no simulator."""

from smidgen.data_collection.synthetic.config import LadderConfig
from smidgen.data_collection.synthetic.ladder import LADDERS, LadderData, make_ladder
from smidgen.data_collection.synthetic.oracle import SOLVABLE_R2, solvability_oracle

__all__ = ["LADDERS", "SOLVABLE_R2", "LadderConfig", "LadderData", "make_ladder", "solvability_oracle"]
