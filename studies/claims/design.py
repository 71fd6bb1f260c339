"""What the second round fixes for all claims: seeds, looks, margins, rates, horizons."""

from __future__ import annotations

from studies.claims.estimator import o_brien_fleming

NUM_CLAIMS = 7
ALPHA = 0.05 / NUM_CLAIMS
# New ones: the first round's plan was written in knowledge of 0 to 9, 100 and 101, the pilots of this one saw 300, 301.
SEEDS = tuple(range(200, 230))
TUNING_SEEDS = (310, 311, 312, 313)
FIRST_LOOK, LAST_LOOK = 10, 30
BLOCKS = {"a": SEEDS[:10], "b": SEEDS[10:20], "c": SEEDS[20:]}
LOOKS = o_brien_fleming((FIRST_LOOK, LAST_LOOK), ALPHA)
DECIDING_LOOK = LOOKS[-1]
# Of contrasts that stay at ten seeds.
(SINGLE_LOOK,) = o_brien_fleming((FIRST_LOOK,), ALPHA)
# An interval inside the margins shows equivalence at level alpha where each end is one-sided at alpha (two tests).
EQUIVALENCE_CONFIDENCE = round(1 - 2 * ALPHA, 9)
CONFIDENCE = 0.95

LEAST_RATIO, LEAST_RATIO_UNCENTRED = 1.5, 3.0
EQUIVALENCE = (0.8, 1.25)
SATURATED_BELOW = 0.2

# Half a decade apart, as far as a search may go.
RATES = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
# A search that has seen so many ends.
MAX_RATES = 7
WARMUP_STEPS, LONG_WARMUP_STEPS = 20, 2_000
MEASURE_EVERY, SPARSE_AFTER = 2, 200
CLIP_NORM = 1.0
SETTLE_STEPS = 500
AREA_HORIZONS = (500, 1_000, 2_000, 3_000, 4_000, 6_000)
FVU_STEPS = (500, 2_000)

BUDGET_CORE_HOURS = 24.0
