"""vec: kernels.py has the kernels by instruction. What they do stands beside it by theme:

    elementwise.py      one or two vectors to one           normalisation.py    softmax, norms, rope, quantisation
    reductions.py       a vector to a number                dense.py            matrix-vector products
    convolutions.py     products of int8 networks           probabilities.py    softmax of int8

networks.py has the kernels of int8 networks.
"""

from emulator.units.vec import kernels, networks  # noqa: F401
