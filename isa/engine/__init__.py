"""What a machine is made of while it runs. isa/reference.py is the reference engine, which puts it together.

    state.py            registers, memory, counters, CSRs, what is inside the units
    memory.py           the bytes of the regions
    pages.py            how the host's virtual memory holds them
    devices.py          registers in mmio: HTIF, the console
    vocabulary.py       the words in which meanings speak
    operand_checks.py   what is checked before a meaning is called
    exclusive.py        one thread at a time
    watchdog.py         Ctrl-C and time limits
    snapshot.py         a machine as a file
"""
