"""What the official leaderboard costs, and how long it takes on so many cores.

python -m studies.scale markdown=docs/scale.md                  # the page's part, computed from results/scale
python -m studies.scale measure=true                            # the costs again; a minute on one core
python -m studies.scale.each_policy demos=PATH device=cuda      # one training of each policy on a device
python -m studies.scale.efficiency                              # two workers against one, on an idle machine
"""
