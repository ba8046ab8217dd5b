"""The kernels: a file or package for each unit with a queue, of the same name as in isa/units. Importing registers them."""

from emulator.kernel import KERNELS as KERNELS
from emulator.units import attn, cim, fetch, lut, pim, sp, sync, thr, vec  # noqa: F401
