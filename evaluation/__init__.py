"""Frozen protocol, closed-loop rollouts, collapse measures, statistics, result records and the leaderboard."""
