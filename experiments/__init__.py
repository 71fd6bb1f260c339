"""Suites of idempotent jobs over tasks, policies, transforms, optimisers and seeds."""
