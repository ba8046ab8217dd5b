"""A program at work: generate.py from a prompt to text, cache.py programs that are kept, parameters.py what the host tells a
program, neurons.py what it counted, alive.py and moved.py tokens that are left and keys and values that moved.
"""
