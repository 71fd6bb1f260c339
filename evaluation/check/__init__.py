"""``smidgen-check``: does a policy use its cameras? Asked of a data set and a policy, without a simulator.

From the data to the page: ``subject`` opens both, ``probes`` alters what a policy is shown, ``answers`` asks it,
``measures`` compares its answers, ``decision`` decides, ``words`` says what that means, ``report`` and ``page`` write
it down.
"""
