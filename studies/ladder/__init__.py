"""Many small Perceivers trained side by side on the synthetic data sets."""
