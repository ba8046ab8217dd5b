"""One large operation on several threads: parallel.py is what kernels call, pool.py what the workers execute, workers.py starts and
ends them, words.py is the memory between them.
"""
