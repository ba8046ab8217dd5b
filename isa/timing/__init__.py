"""Time: how long a machine takes, from what its operations did and from the rates of its preset.

    rates.py     what a unit declares and a preset gives, and how exact such a figure is; what a rule is
    figures.py   which figures of time and energy a machine file has to give
    memories.py  memories that a machine file can name

No kernel and no meaning knows a cycle. Energy: isa/energy.py.
"""
