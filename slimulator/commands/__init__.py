"""The commands of `slimulator`, a file for each family: their options and their output. The work is done in the other packages.

To import a file of this package must cost nothing: a command imports what it needs when it runs. command_line.py adds them to its
group.
"""
