"""pim: kernels in a file for each level, as in isa/units/pim."""

from emulator.units.pim import (
    commands,  # noqa: F401
    macros,  # noqa: F401
)
