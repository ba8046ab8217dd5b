"""The kernels, one file for each unit that issues to a queue, of the same name as in isa/units. Importing registers them."""

from emulator.units import lut  # noqa: F401
from emulator.units import sync  # noqa: F401
from emulator.units import fetch  # noqa: F401
from emulator.units import thr  # noqa: F401
from emulator.units import vec  # noqa: F401
