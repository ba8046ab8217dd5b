"""cim: kernels.py has the kernels by instruction. What they do stands beside them:

    operands.py     sizes of the machine's macros, state, what an operation counts
    loading.py      vectors, tiles and blocks into the unit
    tiles.py        products with a matrix in tiles
    cells.py        what vector code does with a row of the matrix
    blocks.py       products with block-diagonal factors
"""

from emulator.units.cim import blocks, loading, tiles  # noqa: F401
