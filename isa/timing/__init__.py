"""Time: how long a machine takes, from what its operations did and from the rates of its preset.

    rates.py           what a unit declares and a preset gives, and how exact such a figure is; what a rule is
    figures.py         which figures of time and energy a machine file has to give
    memories.py        memories that a machine file can name
    clock_rules.py     the queues: when an operation starts, when it ends, and what it waited for
    clock_figures.py   what a preset says, as these rules read it
    clock.py           what users see of them: the time of a run, the clock of a machine
    banks.py           memories with processors; bank_state.py, bank_commands.py: their state, single commands
    memory_rules.py    plain DRAM, by row and bank; flash_rules.py: NAND, by page; fetched.py: which rows and pages an operation of
                       fetch touches there. For all others such a region is a latency and a bandwidth
    attention.py       memories with attention units
    what_if.py         the preset of a machine with other rates

No kernel and no meaning knows a cycle. Energy: isa/energy.py. A rule is written once, in the part of Python that numba compiles:
the reference engine calls it as it is, the fast engine compiles it (emulator/clock.py). So both cannot differ.
"""
