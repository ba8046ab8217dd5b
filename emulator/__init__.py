"""Runs a program fast.

    machine.py          the fast engine: a machine that runs programs
    decode.py           instruction words to rows of integers
    loop.py             the compiled loop over them
    load_kernels.py     compiled code by name; compile_ahead.py compiles what a program needs, on all cores
    kernel.py           what a kernel is: a function, and in front of it what follows from the row of its instruction
    kernel_words.py     the words in which kernels speak
    units/              the kernels: a file or folder a unit, named as in isa/units
    simd/, threads/     what kernels of several units share: vectors; one operation on several threads
    native/             machine code: how it is made, kept and linked, and the memory that it shares with a machine
    observe/, debug/    looking on while a program runs; stopping it to look

Imports isa only. What an instruction means is not decided here: a kernel must agree with the meaning in isa/units in every bit
and every counter.
"""
