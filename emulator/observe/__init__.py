"""Those who look on while a program runs: what `slimulator run` can show besides the program's own output.

trace.py and commit_log.py make lines about instructions, line_log.py is the file that they go to, mix.py says what was executed
how often, hazards.py (with intervals.py) which waits are missing, report.py how a run ended.
"""
