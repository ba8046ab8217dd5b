"""Runs a program fast.

Will hold: the numba engine, one kernel file per unit (emulator/units/UNIT.py, of the same name as isa/units/UNIT.py), timing and
energy estimates from counters, trace, debugger. Imports isa only. What an instruction means is not decided here: the meaning
beside its row in isa/units is, and a kernel must agree with it in every bit and every counter.
"""
