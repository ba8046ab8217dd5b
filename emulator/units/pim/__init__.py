"""pim: kernels of commands in a file for each level as in isa/units/pim; those of macro forms in three, by what they do."""

from emulator.units.pim import (
    columns,  # noqa: F401
    commands,  # noqa: F401
    elementwise,  # noqa: F401
    macs,  # noqa: F401
    microprograms,  # noqa: F401
)
