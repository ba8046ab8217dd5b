"""Runs a program fast.

In the order in which a program meets them: decode.py (words to rows of integers), engine.py (the machine), loop.py (the compiled
loop), context.py (what kernels see), kernels.py (their registry), units/ (one kernel file per unit, named as in isa/units), and
the rooms that kernels share: lanes.py and recipes.py (vectors of 16 fp32), dense.py, elementwise.py, reductions.py,
normalisation.py (vec), integer_simd.py and lut_*.py (lut), threads.py and pool.py (one operation on several threads), features.py
(what the host's SIMD can do), machine_code.py. errors.py is what a user can ask in vain.
observe/ looks on while a program runs, debug/ stops it to look.

Imports isa only. What an instruction means is not decided here: a kernel must agree with the meaning in isa/units in every bit
and every counter.
"""
