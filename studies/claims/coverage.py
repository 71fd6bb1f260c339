"""``python -m studies.claims.coverage``: how often the second round's intervals cover the truth, into coverage.json.

Paired log ratios of areas are simulated as the difference of two arms' Gaussian log areas, whose deviation was 0.36
(centred) to 1.5 (not centred) in the first round; an outlier seed (one in ten) stays at the mean, up to a hundred times
longer. Outliers stand in both arms, in one, or in none. The truth is the centre of the simulated law itself (the median
of the mean of two draws), outliers included. Two minutes on one core; the result is the same on every run.

Shape suffixes: R samples, S seeds.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from smidgen.runtime.command_line import run_command
from smidgen.runtime.files import write_json_atomic
from studies.claims.estimator import Array, skipped_means, walsh_means

OUT = Path("results/claims/round-2/coverage.json")
NUM_SAMPLES = 20_000
NUM_TRUTH = 4_000_000
OUTLIER_SHARE = 0.1
# The logarithm of how much longer an outlier stays: between twice and a hundred times.
OUTLIER_LOG_RANGE = (np.log(2.0), np.log(100.0))
OUTLIERS = {"none": (0.0, 0.0), "one arm": (OUTLIER_SHARE, 0.0), "both arms": (OUTLIER_SHARE, OUTLIER_SHARE)}
DEVIATIONS = (0.36, 1.0, 1.5)
NUM_SEEDS = (10, 30)
LEAST_COVERAGE = 0.93
SEED = 20_261_128


def simulate(
    generator: np.random.Generator, shape: tuple[int, ...], deviation: float, shares: tuple[float, float]
) -> Array:
    """Paired log ratios.

    Args:
        generator: Where they come from.
        shape: Of the result.
        deviation: Of a paired log ratio without outliers.
        shares: Share of outliers in either arm.
    """
    arms = []
    for share in shares:
        arm = generator.normal(0.0, deviation / np.sqrt(2), shape)
        arm += (generator.random(shape) < share) * generator.uniform(*OUTLIER_LOG_RANGE, shape)
        arms.append(arm)
    return arms[0] - arms[1]


def hodges_lehmann_covers(values_RS: Array, truth: float, confidence: float) -> float | None:
    """Share of samples whose signed-rank interval contains the true value; None if there is no such interval."""
    skipped = skipped_means(values_RS.shape[1], confidence)
    if skipped is None:
        return None
    walsh_RW = walsh_means(values_RS)
    low, high = walsh_RW[:, skipped], walsh_RW[:, -1 - skipped]
    return float(((low <= truth) & (truth <= high)).mean())


def student_covers(values_RS: Array, truth: float, confidence: float) -> float:
    """The same of Student's interval of the mean, for comparison."""
    num_seeds = values_RS.shape[1]
    half = stats.t.isf((1 - confidence) / 2, num_seeds - 1) * values_RS.std(axis=1, ddof=1) / np.sqrt(num_seeds)
    return float((np.abs(values_RS.mean(axis=1) - truth) <= half).mean())


def bootstrap_covers(generator: np.random.Generator, values_RS: Array, truth: float, confidence: float) -> float:
    """The same of the percentile bootstrap of the mean, for comparison; of as many samples as it has time for."""
    values_RS = values_RS[:2_000]
    draws = generator.integers(0, values_RS.shape[1], (1_000, values_RS.shape[1]))
    low, high = np.quantile(
        np.stack([sample_S[draws].mean(axis=1) for sample_S in values_RS]),
        [(1 - confidence) / 2, (1 + confidence) / 2],
        axis=1,
    )
    return float(((low <= truth) & (truth <= high)).mean())


def coverage_table(
    confidences: tuple[float, ...], num_samples: int = NUM_SAMPLES, num_truth: int = NUM_TRUTH
) -> list[dict[str, Any]]:
    """One row for every deviation, kind of outliers, number of seeds and confidence."""
    rows = []
    for deviation in DEVIATIONS:
        for place, shares in OUTLIERS.items():
            generator = np.random.default_rng(SEED)
            pairs = simulate(generator, (num_truth, 2), deviation, shares).mean(axis=1)
            # Only one-sided outliers move the centre of the distribution away from 0.
            truth, mean = float(np.median(pairs)), float(pairs.mean())
            for num_seeds in NUM_SEEDS:
                values_RS = simulate(generator, (num_samples, num_seeds), deviation, shares)
                for confidence in confidences:
                    covered = hodges_lehmann_covers(values_RS, truth, confidence)
                    rows.append(
                        {
                            "deviation": deviation,
                            "outliers": place,
                            "num_seeds": num_seeds,
                            "confidence": confidence,
                            "signed_rank": None if covered is None else round(covered, 4),
                            "student": round(student_covers(values_RS, mean, confidence), 4),
                            "bootstrap": round(bootstrap_covers(generator, values_RS, mean, confidence), 4),
                        }
                    )
    return rows


def main(arguments: list[str]) -> None:
    """Writes the table."""
    from studies.claims.design import CONFIDENCE, DECIDING_LOOK, EQUIVALENCE_CONFIDENCE

    rows = coverage_table((CONFIDENCE, EQUIVALENCE_CONFIDENCE, DECIDING_LOOK.confidence))
    lowest = min(row["signed_rank"] for row in rows if row["confidence"] == CONFIDENCE)
    table = {
        "num_samples": NUM_SAMPLES,
        "outlier_share": OUTLIER_SHARE,
        "least_coverage_at_95": LEAST_COVERAGE,
        "lowest_signed_rank_at_95": lowest,
        "used": "signed_rank",
        "rows": rows,
    }
    assert lowest >= LEAST_COVERAGE, f"the signed-rank interval covers {lowest}"
    write_json_atomic(OUT, table)
    print(f"wrote {OUT}: lowest coverage of the 95 % signed-rank interval {lowest:.1%}")


if __name__ == "__main__":
    sys.exit(run_command(main))
