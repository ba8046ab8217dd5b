"""The chapter on reset: what every piece of state is at power-up, and what loading, running again and restoring leave of it."""

from __future__ import annotations

from typing import Any, NamedTuple

from isa.counters import COUNTERS
from isa.csrs import CSRS
from isa.manual.document import Block, Heading, Paragraph, Table
from isa.units import UNITS


class Kept(NamedTuple):
    """A kind of state, and what becomes of it."""

    what: str
    power_up: str
    load: str               # a program is loaded
    again: str              # run is called again: after a limit, a stop, a trap, an exit
    restore: str            # a snapshot is restored


_SAVED = "as saved"
KEPT: tuple[Kept, ...] = (
    Kept("pc",                             "0",             "the program's entry",                         "stays", _SAVED),
    Kept("x1, x3..x31",                    "0",             "stay",                                        "stay",  _SAVED),
    Kept("x2 (sp)",                        "0",             "16 less than the end of dram",                "stays", _SAVED),
    Kept("CSRs",                           "see below",     "stay",                                        "stay",  _SAVED),
    Kept("counters",                       "0",             "stay",                                        "stay",  _SAVED),
    Kept("state inside units",             "see below",     "stays",                                       "stays", _SAVED),
    Kept("writable memory with a section", "0",             "the section's bytes, zeros of .bss too",     "stays", _SAVED),
    Kept("writable memory elsewhere",      "0",             "stays",                                       "stays", _SAVED),
    Kept("flash",                          "holds nothing", "the sections of this program alone",          "stays", "the sections"),
    Kept("registers of devices in mmio",   "0",             "stay",                                        "stay",  _SAVED),
    Kept("addresses of tohost, fromhost",  "in mmio",       "the program's symbols, or mmio",              "stay",  "as loaded"),
    Kept("whether the program has ended",  "no",            "no",                                          "stays", _SAVED),
    Kept("output, emitted tokens, prompt", "of the host",   "stay",                                        "stay",  _SAVED),
)

HEAD = """
State that a program can notice. Power-up is a new machine; the program is loaded next. There is no other reset: for a fresh start
take a new machine and load the program. A program that has ended does not go on when it is run again. All queues are empty
whenever a program is loaded and a snapshot is made or restored."""

LOADING = """
A program file's sections that are allocated and have bytes are placed at their addresses; each must lie in one region, and not in
mmio. The flags that sections have in the file protect nothing: all memory but mmio can be executed, all but flash written.
Nothing is placed if a section does not fit, or if the program needs a unit that the machine lacks. Flash has the bytes of
the program's sections alone, and an access must lie within one section.

Restoring a snapshot makes a new machine with the same preset, loads the same program, and then sets everything to what was saved.
The program cannot notice it. Breakpoints, watchpoints, hooks and profiles are not saved."""

TYPES = """
A type is a letter and its bytes: u unsigned, i signed, f floating point. So u8 is 64 bits here, and a byte in
[Number formats](numbers.md)."""

STATE = """
A length is a number or a product of sizes that the machine preset gives; a machine has the state of its units alone.
Floating-point arrays start as +0.0."""


def reset() -> tuple[list[Block], Any]:
    """(blocks, data) of the chapter."""
    arrays = [(unit, array) for unit in UNITS.values() for array in unit.state]
    settings = [csr for csr in CSRS.values() if csr.name not in COUNTERS]
    zero = [csr for csr in settings if not csr.reset]
    blocks: list[Block] = [
        Heading(1, "Reset"),
        Paragraph(HEAD),
        Table(("state", "at power-up", "when a program is loaded", "when it is run again", "when a snapshot is restored"),
              [tuple(kept) for kept in KEPT]),
        Paragraph(LOADING),
        Heading(2, "CSRs at power-up"),
        Table(("CSR", "number", "at power-up"), [
            (csr.name, f"{csr.address:#x}", f"{csr.reset:#x}") for csr in settings if csr.reset]),
        Paragraph(f"All others are 0: {', '.join(csr.name for csr in zero)}, and every counter."),
        Heading(2, "State inside units at power-up"),
        Paragraph(STATE),
        Paragraph(TYPES),
        Table(("unit", "array", "type", "length", "each element at power-up", "is"), [
            (unit.name, array.name, array.dtype, str(array.length), str(array.reset), array.text) for unit, array in arrays]),
    ]
    return blocks, {"kept": [kept._asdict() for kept in KEPT],
                    "csrs": {csr.name: csr.reset for csr in settings},
                    "state": [{"unit": unit.name, "array": array.name, "type": array.dtype, "length": array.length,
                               "reset": array.reset, "text": array.text} for unit, array in arrays]}
