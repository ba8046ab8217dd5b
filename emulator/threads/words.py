"""The words of a pool: memory through which its workers and the thread that runs the machine see each other."""

from __future__ import annotations

# What several threads write to often has a cache line of its own.
SHARE, LEAST, FUNCTION, ARGUMENTS, ROWS, GRAIN, PARTS, STOP = range(8)     # SHARE: what emulator/threads/parallel.py calls
DOOR, LEFT, FINISHED, SLEEPERS, FAILED, MUTEX, CONDITION, WORDS = range(8, 72, 8)

# The door: number of the job, how many workers have joined it, whether others still may.
OPEN, ONE_WORKER, ONE_JOB = 1, 2, 1 << 16
# What is left of a job, as numbers of grains: the first that is not taken, plus this times the one behind the last.
ONE_AT_BACK = 1 << 32
