"""The claims C1 to C7, first round: its records, and the decisions computed from them, most of them withdrawn since.

What trained its arms is no longer here: commit 818b99f has it.
"""
