"""What the official leaderboard says: the tables of docs/findings.md, computed from its records.

``entries`` reads the records, ``contrasts`` says which recipes are compared and why, ``measures`` compares them,
``tables`` puts that into Markdown. The sentences of the page are written by hand and cite these tables.
"""
