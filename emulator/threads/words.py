"""The words of a pool: memory through which its workers and the thread that runs the machine see each other."""

from __future__ import annotations

# What several threads write to often has a cache line of its own. LEFT and what stands beside it is what a worker reads of a job.
SHARE, LEAST, THREADS, STOP = range(4)                                  # SHARE: what emulator/threads/parallel.py calls
LEFT, FUNCTION, ARGUMENTS, ROWS, GRAIN = range(8, 13)
DONE, FAILED = 16, 17                                                   # DONE: grains that workers have done, of all jobs
SLEEPERS, MUTEX, CONDITION, WORDS = range(24, 56, 8)

# What is left of a job, as numbers of grains: the first that is not taken, the one behind the last, then the number of the job.
MOST = (1 << 16) - 1
ONE_AT_BACK, ONE_JOB = 1 << 16, 1 << 32
