"""The ladder of synthetic data sets that settle the claims; no simulator."""

from smidgen.data_collection.synthetic.config import LadderConfig
from smidgen.data_collection.synthetic.ladder import LADDERS, LadderData, make_ladder

__all__ = ["LADDERS", "LadderConfig", "LadderData", "make_ladder"]
