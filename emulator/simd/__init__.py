"""Vectors, in the words of kernels.

    lanes.py        sixteen lanes as one value
    folds.py        across lanes: moves and folds
    functions.py    isa/arithmetic.py on sixteen lanes
    half.py         isa/half.py on sixteen lanes
    bytes64.py      64 bytes as one LLVM vector, for integer kernels
"""
