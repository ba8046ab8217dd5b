"""int8 networks for microcontrollers: from network.json and its arrays to a program, and its runs.

    reading.py      the files, checked: steps and tensors
    graph.py        what each step reads and makes, without copies and changes of layout that only move bytes
    meaning.py      each operation in NumPy, for `verify`
    plan.py         where values lie in RAM
    code.py         how assembly is written: CSRs, constants in flash, fences
    lowering.py     the operations as instructions
    program.py      the whole program, and what it takes of flash and RAM
    running.py      images in, classes and logits out
"""
