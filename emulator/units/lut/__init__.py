"""lut: kernels.py has the kernels by instruction. What they do stands beside it:

    products.py     matrix times vector, row by row         columns.py      transposed products
    rows.py         64 bytes of a row times activations     layouts.py      how weights lie in 64 bytes
    counts.py       what lut.mode 0 counts along rows       plain.py        one weight at a time: what vector code leaves
"""

from emulator.units.lut import kernels  # noqa: F401
