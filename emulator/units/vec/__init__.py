"""vec: kernels.py has the kernels by instruction. What they do stands beside it by theme:

    elementwise.py      one or two vectors to one           normalisation.py    softmax, norms, rope, quantisation
    reductions.py       a vector to a number                dense.py            matrix-vector products
"""

from emulator.units.vec import kernels  # noqa: F401
