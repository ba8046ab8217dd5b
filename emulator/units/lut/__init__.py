"""lut: kernels.py has the kernels of products by instruction, loading.py those of everything else. What they do stands beside them:

    operands.py     operands, state and counters            plain.py        one weight at a time: what vector code leaves
    products.py     matrix times vector, row by row         columns.py      transposed products
    rows.py         64 bytes of a row times activations     layouts.py      how weights lie in 64 bytes
    groups.py       groups of columns with scales           tiles.py        rows times many vectors, by tile registers
    counts.py       what lut.mode 0 counts along rows       reuse.py        lut.reuse
"""

from emulator.units.lut import kernels, loading, reuse  # noqa: F401
