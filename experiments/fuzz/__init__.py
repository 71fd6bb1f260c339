"""Hostile input for every reader of outside files: what is planted, how it is spoiled, what reading it may not do."""
