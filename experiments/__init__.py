"""Complete experiments: the demo, and suites as grids of jobs."""
