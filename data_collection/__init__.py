"""Scripted experts, the episode store, and the commands that collect, verify and preview demonstrations."""
