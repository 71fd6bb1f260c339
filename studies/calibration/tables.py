"""The calibration's tables, computed from its record."""

from __future__ import annotations

from collections.abc import Sequence

from smidgen.evaluation.collapse.labels import BLIND, MEANINGS, PARTLY_BLIND, SEES, VERDICTS, spoken
from smidgen.evaluation.statistics import wilson_interval
from smidgen.runtime.markdown import left, markdown_table, right
from studies.calibration.ground_truth import families
from studies.calibration.record import Calibration, Found

DETECTORS = {
    "verdict_of_pairs": "pairs alone",
    "verdict_of_paths": "paths alone",
    "verdict": "both, as a record has it",
}


def counted(k: int, n: int) -> str:
    """k of n with the Wilson interval in percent."""
    if n == 0:
        return "-"
    low, high = wilson_interval(k, n)
    return f"{k}/{n} [{100 * low:.1f}, {100 * high:.1f}] %"


def wrong(policies: Sequence[Found], truth: str, detector: str, called: Sequence[str]) -> tuple[int, int]:
    """How many policies of one truth a detector called one of some labels, of how many on which it gave a verdict."""
    labels = [getattr(each, detector) for each in policies if each.truth == truth]
    spoken = [label for label in labels if label is not None]
    return sum(label in called for label in spoken), len(spoken)


def _others(label: str) -> list[str]:
    return [other for other in VERDICTS if other != label]


def detector_table(calibration: Calibration) -> str:
    """Errors of each detector, with intervals."""
    errors = ("seeing, called otherwise", "blind, called otherwise", "seeing, called blind", "blind, called seeing")
    heads, rows = left("asked") + right(*errors, "partly blind, called otherwise"), []
    for detector, name in DETECTORS.items():
        cells = [
            counted(*wrong(calibration.policies, truth, detector, called))
            for truth, called in (
                (SEES, _others(SEES)),
                (BLIND, _others(BLIND)),
                (SEES, [BLIND]),
                (BLIND, [SEES]),
                (PARTLY_BLIND, _others(PARTLY_BLIND)),
            )
        ]
        rows.append([name, *cells])
    return markdown_table(heads, rows)


def family_table(calibration: Calibration) -> str:
    """The labels that each family received."""
    calls = ("n", "sees", "partly blind", "blind", "undecided", "called mean-collapsed")
    heads, rows = left("policies", "truth") + right(*calls), []
    for name, family in families(calibration.network_steps).items():
        members = [each for each in calibration.policies if each.family == name and each.truth is not None]
        counts = [sum(each.verdict == label for each in members) for label in (*VERDICTS, None)]
        truth = f"{spoken(family.truth)}{' at the mean' if family.at_the_mean else ''}"
        collapsed = sum(bool(each.mean_collapsed) for each in members)
        rows.append([family.meaning, truth, *map(str, (len(members), *counts, collapsed))])
    return markdown_table(heads, rows)


def mean_counts(calibration: Calibration) -> dict[str, tuple[int, int]]:
    """Misses and false alarms of mean collapse among the policies that were labelled blind."""
    blind = [each for each in calibration.policies if each.verdict == BLIND and each.at_the_mean is not None]
    at_the_mean = [each for each in blind if each.at_the_mean]
    elsewhere = [each for each in blind if not each.at_the_mean]
    return {
        "at the mean, not called mean-collapsed": (
            sum(not each.mean_collapsed for each in at_the_mean),
            len(at_the_mean),
        ),
        "elsewhere, called mean-collapsed": (sum(bool(each.mean_collapsed) for each in elsewhere), len(elsewhere)),
    }


def mean_table(calibration: Calibration) -> str:
    """Errors of the call of mean collapse."""
    rows = [[name, counted(*count)] for name, count in mean_counts(calibration).items()]
    return markdown_table(left("blind policies") + right("errors"), rows)


def words_table() -> str:
    """The words for a policy's status and their meanings, which depend only on the thresholds."""
    return markdown_table(left("status", "meaning"), [[spoken(word), meaning] for word, meaning in MEANINGS.items()])


TABLES = {"detectors": detector_table, "families": family_table, "means": mean_table}
