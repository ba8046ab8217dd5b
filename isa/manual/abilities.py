"""Which machine can do what: units, memories with their ports, formats and banks, from the presets and the instruction rows."""

from __future__ import annotations

from collections.abc import Sequence

from isa.instruction import rows
from isa.manual.document import Block, Heading, Paragraph, Table
from isa.numbers import FORMATS
from isa.preset import CORE_UNITS, Preset
from isa.regions import REGIONS
from isa.units import UNITS

_SIZES = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


def abilities(machines: Sequence[Preset]) -> list[Block]:
    """Four tables that compare machines."""
    return [Heading(2, "Which machine can do what"),
            Paragraph("""
Every machine has the control core: rv64i, rv64m and zicsr. A program that uses a unit that its machine lacks does not
assemble. Rates, energies and powers, clock_hz, latency_cycles and bytes_per_cycle, memory, channels and speed are figures of time
and energy: no result and no counter depends on them. On facts nothing depends."""),
            _units(machines),
            Heading(3, "Memories"),
            Paragraph("""
The size of each memory, and the units that have a port to it. The core reaches every memory. An instruction of a unit traps if
it touches a memory to which the unit has no port. The compiler brings the data to a memory that the unit reaches."""),
            _memories(machines),
            Heading(3, "Formats"),
            Paragraph("The number formats in the names of a unit's instructions, and the machines where these instructions work."),
            _formats(machines),
            Heading(3, "Banks"),
            Paragraph("Machines with the pim unit multiply in the banks of hbm. A row has `columns` accesses of 32 bytes."),
            _banks(machines)]


def _units(machines: Sequence[Preset]) -> Table:
    names = [name for name in UNITS if name not in CORE_UNITS]
    return Table(("machine", *names), [(m.name, *("yes" if m.has_unit(name) else "-" for name in names)) for m in machines])


def _memories(machines: Sequence[Preset]) -> Table:
    def cell(machine: Preset, name: str) -> str:
        found = [region for region in machine.regions if region.name == name]
        return f"{_size(found[0].size)}: {_ports(machine, found[0].ports)}" if found else "-"

    names = [name for name in REGIONS if name != "mmio"]
    return Table(("machine", *names), [(m.name, *(cell(m, name) for name in names)) for m in machines])


def _ports(machine: Preset, ports: frozenset[str]) -> str:
    units = [name for name, unit in UNITS.items() if unit.queue and machine.has_unit(name)]
    there = [name for name in units if name in ports]
    return "the core alone" if not there else "all units" if there == units else " ".join(there)


def _size(size: int) -> str:
    for unit, name in _SIZES:
        if size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size:,} bytes"


def _formats(machines: Sequence[Preset]) -> Table:
    table = []
    for unit in UNITS.values():
        used = {part for row in rows(unit.name) for part in row.mnemonic.split(".")} & set(FORMATS)
        if used:
            there = [m.name for m in machines if m.has_unit(unit.name)]
            table.append((unit.name, " ".join(name for name in FORMATS if name in used),
                          "all" if len(there) == len(machines) else ", ".join(there)))
    return Table(("unit", "formats", "machines"), table)


def _banks(machines: Sequence[Preset]) -> Table:
    keys = "channels", "banks", "rows", "columns"
    return Table(("machine", *keys, "capacity", "processors a channel"),
                 [(m.name, *(f"{m.parameter(f'pim.{key}'):,}" for key in keys), _size(m.region("hbm").size),
                   str(m.parameter("pim.blocks"))) for m in machines if m.has_unit("pim")])
