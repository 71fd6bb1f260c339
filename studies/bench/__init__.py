"""Speed and memory against what a user would run instead; docs/benchmarks.md says what each row means."""
