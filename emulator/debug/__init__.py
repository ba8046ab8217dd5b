"""The debugger: stop a program, look at it, change it, go on (`slimulator debug`).

access.py, expressions.py, places.py and call_stack.py read and change a machine that stands still. session.py lets it go on.
command_reader.py, viewer.py, inspection.py and debugger.py are the commands. gdb_*.py is the server for gdb.
"""
