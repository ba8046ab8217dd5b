"""attn: kernels in a file for each theme, as in isa/units/attn."""

from emulator.units.attn import context, query, scores, softmax, transposed  # noqa: F401
