"""Tensors in, tensors out: input transforms, the Perceiver, baselines, normalisation and checkpoints."""
