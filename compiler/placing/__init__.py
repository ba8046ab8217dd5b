"""Where things lie: weights.py in the program file, memory_plan.py activations and caches, bank_placement.py matrices in the
banks of a PIM memory, residency.py what stays in the scratchpad, near_caches.py whose keys and values come there. made.py: contents
of a file that are made while it is written.
"""
