"""The kernels: a file or package for each unit with a queue, of the same name as in isa/units. Importing registers them."""

from emulator.units import (
    attn,  # noqa: F401
    fetch,  # noqa: F401
    lut,  # noqa: F401
    pim,  # noqa: F401
    sync,  # noqa: F401
    thr,  # noqa: F401
    vec,  # noqa: F401
)
