"""Shared by every command: command line, atomic files, worker processes, progress. Imports no other smidgen folder."""
