"""Whole experiments over the other folders: the demo, the benchmarks, the README's picture."""
