"""What every command runs on: command line, atomic files, worker processes, progress. Imports nothing of ours."""
