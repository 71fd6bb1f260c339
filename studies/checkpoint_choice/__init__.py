"""Which checkpoint? How well ``smidgen-check rank`` orders policies, against their success in closed loop.

Every policy of the search for a recipe (``studies.recipe``) and of the official leaderboard is scored on held-out
demonstrations alone. The order is compared with that of its success, beside what people usually choose by: the held-out
loss.
"""
