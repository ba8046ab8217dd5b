"""The commands of `slimulator`, a file for each family: their options and their output. What they do stands in the packages.

Import of a file here must cost nothing: a command imports what it needs when it runs. command_line.py adds them to its group.
"""
