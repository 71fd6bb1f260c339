"""Windows, batches, and one readable training loop."""
