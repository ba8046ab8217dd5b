"""sp: kernels.py has the kernels by instruction. What they do stands beside them:

    operands.py     the vector, the matrix and its layout, what an operation counts
    rows.py         int8 values by vector code, some rows at a time
    bitmask.py      what it does with a row of a bitmask
    gather.py       what it does with rows of N of M
    places.py       places of N of M unpacked and checked
    listed.py       int8 values of listed columns and of blocks
    plain.py        stored values one at a time: every layout and number format
    dense.py        to the dense matrix and back
    streams.py      convolutions with a run-length stream
"""

from emulator.units.sp import dense, kernels, streams  # noqa: F401
