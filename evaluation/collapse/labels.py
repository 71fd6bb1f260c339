"""The detector's labels and thresholds; does not import PyTorch, so that readers of records stay fast.

The numbers are frozen: to change one, change `DETECTOR_VERSION`.
"""

# The definition of the term, for every command and page.
CUE = "what in the picture decides what to do, e.g. where the cube lies"

DETECTOR_VERSION = 1
SEES, PARTLY_BLIND, BLIND, UNDECIDED = "sees", "partly_blind", "blind", "undecided"
VERDICTS = (SEES, PARTLY_BLIND, BLIND)
SEES_FROM = 0.8
BLIND_TO = 0.2
# A mixture with a slope of exactly 0.8 sees, despite rounding.
ROUNDING = 1e-6
CUE_SLOPE, PATH_SLOPE = "cue_slope", "path_slope"
# The only status labels in training, records, tables and pages. Escape is an event, not a status.
MEANINGS = {
    SEES: f"the output follows the cue: a slope of {SEES_FROM} or more",
    PARTLY_BLIND: f"it follows the cue in part: a slope between {BLIND_TO} and {SEES_FROM}",
    BLIND: f"it does not follow the cue, be it at the mean or elsewhere: a slope of {BLIND_TO} or less; while training "
    f"without a cue slope, an R² of {BLIND_TO} or less",
    UNDECIDED: "what was measured cannot tell: no slope, or one that is not known well enough; while training without "
    f"a cue slope, an R² above {BLIND_TO}",
}


def label_of(slope: float) -> str:
    """The label of a slope: sees from 0.8, blind up to 0.2, partly blind between."""
    if slope >= SEES_FROM - ROUNDING:
        return SEES
    return BLIND if slope <= BLIND_TO + ROUNDING else PARTLY_BLIND


def spoken(label: str) -> str:
    """A label in words: ``partly blind``."""
    return label.replace("_", " ")


def slope_text(slope: float) -> str:
    """A slope with two decimals, or as many more as it takes not to read like another label's: 0.799, not 0.80."""
    texts = (f"{slope:z.{digits}f}" for digits in range(2, 7))
    return next((text for text in texts if label_of(float(text)) == label_of(slope)), f"{slope:z.6f}")


# The possible bases of a verdict, in words.
SOURCES = {CUE_SLOPE: "cue slope", PATH_SLOPE: "path slope"}
