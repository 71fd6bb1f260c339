"""The numbers that decide, in one place; to change one, change ``CHECK_VERSION``.

Slopes count by the limits of the collapse detector (``smidgen.evaluation.collapse.labels`` and ``verdict``): sees from
0.8, blind up to 0.2, known to within 0.2 over at least ten episodes.
"""

CHECK_VERSION = 1
# Share of what comes next that the arm's history must leave open in a part of the episode, for it to count.
OPEN_FROM = 0.5
# Parts of an episode after its first step.
NUM_TIME_PARTS = 6
# Share of the differences between demonstrations below which an answer to other frames counts as the same.
SAME_BELOW = 0.02
# Share of what all cameras do together from which one counts as used.
CAMERA_FROM = 0.1
