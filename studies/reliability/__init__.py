"""Figures of the reliability page."""
