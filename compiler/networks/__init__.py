"""int8 networks for microcontrollers: from files to a program, and its runs.

    steps.py        operations as all frontends give them, and what does not fit together
    reading.py      network.json and its arrays
    tflite.py       TFLite files; tflite_file.py reads their bytes, tflite_layers.py and tflite_moves.py have the operators,
                    tflite_scales.py their factors, tflite_sparse.py sparse tensors
    graph.py        what each step reads and makes, without copies and changes of layout that only move bytes
    meaning.py      each operation in NumPy, for `verify`
    plan.py         where values lie in RAM
    code.py         how assembly is written: CSRs, constants in flash, fences
    lowering.py     the operations as instructions
    program.py      the whole program, and what it takes of flash and RAM
    saved.py        programs of networks as files
    running.py      images in, classes and logits out
"""
