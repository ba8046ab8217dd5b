"""Observers of a running program: what `slimulator run` can show besides the program's own output.

trace.py and commit_log.py make a line for each instruction, line_log.py writes the lines to a file. mix.py counts what was executed
how often, hazards.py (with intervals.py) finds missing waits, report.py says how a run ended, cost.py what it took on the machine.
breakdown.py splits that, timeline.py shows what ran when; both find the operations of a model by marks.py. memory_trace.py writes
what a memory sees, tensors.py counts bytes by tensor.
"""
