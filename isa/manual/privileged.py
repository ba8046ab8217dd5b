"""The chapter on the privileged architecture: which part of Volume II a machine has, and what it does instead of the rest."""

from __future__ import annotations

from typing import Any

from isa.csrs import STANDARD
from isa.manual.document import Block, Heading, Paragraph, Table

# CSRs of The RISC-V Instruction Set Manual, Volume II, "CSR Listing", that there are not: (first number, last, what for, names).
ABSENT: tuple[tuple[int, int, str, str], ...] = (
    (0x001, 0x003, "floating point",                  "fflags, frm, fcsr"),
    (0x008, 0x00F, "vectors",                         "vstart, vxsat, vxrm, vcsr"),
    (0x100, 0x1FF, "supervisor mode",                 "sstatus to satp, and all others of that mode"),
    (0x200, 0x2FF, "hypervisor",                      "vsstatus to vsatp"),
    (0x302, 0x303, "delegation of traps",             "medeleg, mideleg"),
    (0x306, 0x306, "other modes' use of counters",    "mcounteren"),
    (0x30A, 0x30F, "configuration of other modes",    "menvcfg, mstateen0 to mstateen3"),
    (0x310, 0x31F, "upper halves, of RV32 alone",     "mstatush, medelegh, menvcfgh, mstateen0h to mstateen3h"),
    (0x320, 0x33F, "control of counters",             "mcountinhibit, mhpmevent3 to mhpmevent31"),
    (0x34A, 0x34B, "hypervisor",                      "mtinst, mtval2"),
    (0x3A0, 0x3EF, "memory protection",               "pmpcfg0 to pmpcfg15, pmpaddr0 to pmpaddr63"),
    (0x600, 0x6FF, "hypervisor",                      "hstatus to hgatp"),
    (0x747, 0x747, "security configuration",          "mseccfg"),
    (0x7A0, 0x7AF, "debug and trace",                 "tselect, tdata1 to tdata3, mcontext"),
    (0x7B0, 0x7B3, "debug and trace",                 "dcsr, dpc, dscratch0, dscratch1"),
    (0xB03, 0xB1F, "counters of events",              "mhpmcounter3 to mhpmcounter31"),
    (0xB80, 0xB9F, "upper halves, of RV32 alone",     "mcycleh to mhpmcounter31h"),
    (0xC03, 0xC1F, "counters of events",              "hpmcounter3 to hpmcounter31"),
    (0xC20, 0xC22, "vectors",                         "vl, vtype, vlenb"),
    (0xC80, 0xC9F, "upper halves, of RV32 alone",     "cycleh to hpmcounter31h"),
    (0xDA0, 0xDA0, "supervisor mode",                 "scountovf"),
    (0xE12, 0xE12, "hypervisor",                      "hgeip"),
)

HEAD = """
The control core is one hart with RV64I, M, Zicsr, Zicntr and Zifencei, in machine mode alone. There are no other modes, no
address translation, no memory protection and no interrupts: nothing but an instruction of the program makes it trap. Extensions
A, B, C, D, F, H, Q and V and the event counters of Zihpm are absent: their instructions are reserved, their CSRs do not exist.
The X bit of misa is 0 although Xslim is there; which units a machine has, its preset says.

Where this chapter is silent, Volume II of The RISC-V Instruction Set Manual holds."""

CSRS_TEXT = """
Every machine has all CSRs and all counters, also those of units and regions that it lacks: such a counter is 0, such a CSR can be
written and nothing uses it.

What a write leaves in a CSR: the writable bits take the written value, all others keep their reset value. No write is refused for
its value. So a unit's CSR takes any number, and an operation that uses it checks it. A read gives what the last write has left,
but mcycle and minstret go on counting.

csrrw and csrrwi write always. csrrs and csrrc with rs1 = x0, csrrsi and csrrci with 0 do not write; with another register they
write, even if it holds 0. A write to a CSR whose number begins with the bits 11 is illegal, even if it would change nothing. The
numbers of misa and mip do not: a write to them is legal and changes nothing."""

CAN_HOLD: dict[str, str] = {
    "mstatus":  "MIE (bit 3) and MPIE (bit 7) can be written. They change at a trap and at mret, and nothing depends on them. MPP "
                "is 3. All other fields are 0: there is no FS, VS, XS, SD, MPRV, TVM, TW, TSR, SUM, MXR, SPP, MBE",
    "misa":     "MXL = 2, I, M. No extension can be switched off",
    "mie":      "MSIE, MTIE and MEIE (bits 3, 7 and 11) can be written. No interrupt ever comes, so nothing depends on them",
    "mtvec":    "MODE (bits 1..0) is 0, direct: every trap goes to BASE. A write with another mode leaves mode 0 and takes BASE. "
                "0 means that there is no handler: a trap ends the run",
    "mscratch": "any 64 bits",
    "mepc":     "bits 1..0 are 0: instructions are words",
    "mip":      "0: no interrupt is pending, and none can be made so",
    "mcause":   "any 64 bits, also numbers of no cause",
    "mtval":    "any 64 bits",
    "mcycle":   "the instructions retired since reset, plus a number of its own. A read does not count the reading instruction "
                "itself. A write sets that number: the instruction after it reads what was written. A write of minstret does not "
                "change it. A machine with a clock may count its cycles here instead; then no result of a program may depend on it",
    "minstret": "as mcycle, with a number of its own",
    "cycle":    "mcycle, read-only",
    "time":     "mcycle, read-only",
    "instret":  "minstret, read-only",
}
"""What the standard CSRs can hold; of the others their text says it."""

OTHERS = """
Every number without a CSR is illegal to read and to write: those that are neither in the table above, nor among the units'
[CSRs](csrs.md), nor those of a [counter](counters.md). Here are most of those that Volume II defines:"""

TRAPS = """
A trap with mtvec not 0 sets mepc to the address of the instruction, mcause to the cause (bit 63 is 0), mtval to what
[Traps](traps.md) says, mstatus.MPIE to mstatus.MIE, mstatus.MIE to 0, and pc to mtvec. A trap inside the handler does the same
again: mepc, mcause, mtval and MPIE of the first are lost unless the handler has saved them.

mret sets pc to mepc, mstatus.MIE to mstatus.MPIE, and mstatus.MPIE to 1. It never traps, and may be executed outside of a
handler.

A trap with mtvec = 0 ends the run: no CSR changes, pc stays at the instruction, core.traps counts it, and the host gets cause,
mtval and pc. If the run goes on from there, the same instruction is executed again.

wfi, fence, fence.tso and fence.i do nothing and never wait. pause and the other hints are executed as the instructions whose bits
they have, and change nothing. sret, dret, sfence.vma and the others of absent modes are illegal."""


def privileged() -> tuple[list[Block], Any]:
    """(blocks, data) of the chapter."""
    blocks: list[Block] = [
        Heading(1, "Privileged architecture"),
        Paragraph(HEAD),
        Heading(2, "What a CSR can hold"),
        Paragraph(CSRS_TEXT),
        Table(("CSR", "reset", "writable bits", "can hold"), [
            (csr.name, f"{csr.reset:#x}", f"{csr.writable:#x}" if csr.writable else "none", CAN_HOLD.get(csr.name, csr.text))
            for csr in STANDARD]),
        Heading(2, "CSRs that do not exist"),
        Paragraph(OTHERS),
        Table(("number", "for", "CSRs of RISC-V"), [
            (f"{first:#05x}" + (f"..{last:#05x}" if last > first else ""), what, names) for first, last, what, names in ABSENT]),
        Heading(2, "Traps and returns"),
        Paragraph(TRAPS),
    ]
    absent = [{"first": first, "last": last, "for": what, "csrs": names} for first, last, what, names in ABSENT]
    return blocks, {"extensions": ["I", "M", "Zicsr", "Zicntr", "Zifencei"], "modes": ["M"], "interrupts": [],
                    "absent_csrs": absent}
