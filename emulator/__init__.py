"""Runs a program fast.

In the order in which a program meets them: decode.py (words to rows of integers), engine.py (the machine), loop.py (the compiled
loop), context.py (what kernels see), kernels.py (their registry), units/ (one kernel file per unit, named as in isa/units), and
the rooms that kernels share: lanes.py and recipes.py (vectors of 16 fp32), dense.py, elementwise.py, reductions.py,
normalisation.py (vec), integer_simd.py and lut_*.py (lut), features.py (what the host's SIMD can do), machine_code.py.
Those who look on: trace.py and commit_log.py (lines about instructions), line_log.py (the file that they go to), mix.py (what was
executed how often), report.py (how a run ended), hazards.py (missing waits) with intervals.py.

To stop and look: access.py, expressions.py, places.py and call_stack.py ask a machine that stands still; debug_session.py lets it
go on; command_reader.py, viewer.py, inspection.py and debugger.py are the commands, gdb_*.py is the server for gdb.

Imports isa only. What an instruction means is not decided here: a kernel must agree with the meaning in isa/units in every bit
and every counter.
"""
