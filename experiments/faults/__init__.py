"""Faults on purpose: real commands, killed and stopped at random moments, end in the bytes of an undisturbed run."""
