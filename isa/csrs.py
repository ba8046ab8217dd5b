"""Control and status registers: the standard machine-mode ones, the units' settings, the counters.

Source for numbers and reset values of the standard registers: The RISC-V Instruction Set Manual, Volume II, "CSR Listing"
and "Machine-Level CSRs". Registers of other privilege modes and of unimplemented extensions do not exist: access is an
illegal instruction. Bits that a write cannot change keep their reset value.
"""

from __future__ import annotations

from isa.counters import COUNTERS, csr_address
from isa.unit import Csr
from isa.units import UNITS

MSTATUS_MIE, MSTATUS_MPIE, MSTATUS_MPP = 1 << 3, 1 << 7, 3 << 11
_MSTATUS_WRITABLE = MSTATUS_MIE | MSTATUS_MPIE
_MISA_RV64IM = (2 << 62) | (1 << (ord("I") - ord("A"))) | (1 << (ord("M") - ord("A")))

STANDARD: tuple[Csr, ...] = (
    #   name           number  meaning                                                        reset           writable bits
    Csr("mstatus",     0x300, "machine status: MIE, MPIE; MPP is always machine mode",      MSTATUS_MPP,    _MSTATUS_WRITABLE),
    Csr("misa",        0x301, "RV64IM",                                                     _MISA_RV64IM,   0),
    Csr("mie",         0x304, "interrupt enables; no interrupt source is modelled",         0,              0x888),
    Csr("mtvec",       0x305, "trap handler, direct mode; 0 means none: a trap ends the run", 0,              ~3 % (1 << 64)),
    Csr("mscratch",    0x340, "for the trap handler's use"),
    Csr("mepc",        0x341, "pc of the trapped instruction",                              0,              ~3 % (1 << 64)),
    Csr("mcause",      0x342, "why the trap was taken: a number of the table of traps"),
    Csr("mtval",       0x343, "offending address, instruction word or operand"),
    Csr("mip",         0x344, "pending interrupts: none",                                   0,              0),
    Csr("mcycle",      0xB00, "instructions retired, offset by what was written to it; the emulator has no cycles of its own"),
    Csr("minstret",    0xB02, "instructions retired, offset by what was written"),
    Csr("cycle",       0xC00, "read-only view of mcycle",                                   0,              0),
    Csr("time",        0xC01, "read-only view of mcycle",                                   0,              0),
    Csr("instret",     0xC02, "read-only view of minstret",                                 0,              0),
    Csr("mvendorid",   0xF11, "0: not a commercial implementation",                         0,              0),
    Csr("marchid",     0xF12, "0: not registered",                                          0,              0),
    Csr("mimpid",      0xF13, "0: not given",                                               0,              0),
    Csr("mhartid",     0xF14, "0: the only hart",                                           0,              0),
    Csr("mconfigptr",  0xF15, "0: no configuration structure",                              0,              0),
)

CSRS: dict[str, Csr] = {csr.name: csr for csr in (
    *STANDARD,
    *(csr for unit in UNITS.values() for csr in unit.csrs),
    *(Csr(c.name, csr_address(c.slot), f"counter: {c.text}", 0, 0) for c in COUNTERS.values()))}

BY_ADDRESS: dict[int, Csr] = {csr.address: csr for csr in CSRS.values()}

COUNTER_BY_ADDRESS: dict[int, str] = {csr_address(counter.slot): counter.name for counter in COUNTERS.values()}

# mcycle, cycle and time all show the count of retired instructions; each writable one has its own offset.
INSTRUCTION_COUNTS: dict[str, str] = {
    "mcycle": "mcycle", "cycle": "mcycle", "time": "mcycle", "minstret": "minstret", "instret": "minstret"}


def csr_text(address: int) -> str:
    """The name of a CSR, its number where there is none."""
    return BY_ADDRESS[address].name if address in BY_ADDRESS else f"{address:#x}"


def is_read_only(address: int) -> bool:
    """True for CSR numbers whose top two bits are 11: writing one is an illegal instruction."""
    return address >> 10 == 3
