"""The units, a file or a folder each. Importing this package fills the instruction table.

A unit defines `UNIT` and its rows. To add a unit, write the file and name it here. The order is that of the manual; the
core's units come first, `sync` last.
"""

# isort: off
from isa.unit import Unit
from isa.units import rv64i, rv64m, zicsr
from isa.units import vec, lut, sp, cim, thr, fetch, pim, attn
from isa.units import sync

UNITS: dict[str, Unit] = {module.UNIT.name: module.UNIT
                          for module in (rv64i, rv64m, zicsr, vec, lut, sp, cim, thr, fetch, pim, attn, sync)}

sync.define_rows(UNITS.values())
