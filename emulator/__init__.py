"""Runs a program fast.

In the order in which a program meets them: decode.py (words to rows of integers), engine.py (the machine), block.py (what compiled
code sees of it), workers.py (its threads), objects.py (compiled code, as it is kept and linked), ahead.py (processes that compile
it). What is compiled, and so imported only where it is: loop.py (the loop), units/ (kernels, a file per unit, named as in
isa/units; kernels.py is their registry), context.py (the words in which they speak), and the rooms that they share: lanes.py and
recipes.py (vectors of 16 fp32), dense.py, elementwise.py, reductions.py, normalisation.py (vec), integer_simd.py and lut_*.py
(lut), threads.py and pool.py (one operation on several threads), machine_code.py. features.py is what the host's SIMD can do,
object_code.py the way to the compiler, errors.py what a user can ask in vain.
observe/ looks on while a program runs, debug/ stops it to look.

Imports isa only. What an instruction means is not decided here: a kernel must agree with the meaning in isa/units in every bit
and every counter.
"""
