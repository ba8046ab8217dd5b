"""Zicsr and the machine-mode instructions of the control core.

Source: The RISC-V Instruction Set Manual, Volume I, chapter "Zicsr"; Volume II, chapter "Machine-Level ISA".
`csrrs`/`csrrc` with source x0 do not write, `csrrw` with destination x0 does not read: so a read-only CSR may be read.
"""

from __future__ import annotations

from isa.instruction import instruction
from isa.unit import Unit

UNIT = Unit("zicsr", "Control and status registers", "CSR access and machine-mode returns of the control core.")


@instruction("csrrw   CSR  opcode=0x73 funct3=1", "t = csr; csr = x[rs1]; x[rd] = t")
def csrrw(m, csr, rs1):
    return m.swap_csr(csr, lambda old: rs1)


@instruction("csrrs   CSR  opcode=0x73 funct3=2", "t = csr; csr = t | x[rs1]; x[rd] = t; no write if rs1 is x0")
def csrrs(m, csr, rs1):
    return m.swap_csr(csr, (lambda old: old | rs1) if m.fields["rs1"] else None)


@instruction("csrrc   CSR  opcode=0x73 funct3=3", "t = csr; csr = t & ~x[rs1]; x[rd] = t; no write if rs1 is x0")
def csrrc(m, csr, rs1):
    return m.swap_csr(csr, (lambda old: old & ~rs1) if m.fields["rs1"] else None)


@instruction("csrrwi  CSRI opcode=0x73 funct3=5", "t = csr; csr = zimm; x[rd] = t")
def csrrwi(m, csr, zimm):
    return m.swap_csr(csr, lambda old: zimm)


@instruction("csrrsi  CSRI opcode=0x73 funct3=6", "t = csr; csr = t | zimm; x[rd] = t; no write if zimm is 0")
def csrrsi(m, csr, zimm):
    return m.swap_csr(csr, (lambda old: old | zimm) if zimm else None)


@instruction("csrrci  CSRI opcode=0x73 funct3=7", "t = csr; csr = t & ~zimm; x[rd] = t; no write if zimm is 0")
def csrrci(m, csr, zimm):
    return m.swap_csr(csr, (lambda old: old & ~zimm) if zimm else None)


@instruction("mret    SYSTEM opcode=0x73 funct3=0 funct12=0x302", "pc = mepc; mstatus.MIE = mstatus.MPIE; mstatus.MPIE = 1")
def mret(m):
    m.return_from_trap()


@instruction("wfi     SYSTEM opcode=0x73 funct3=0 funct12=0x105", "no operation: no interrupt source is modelled")
def wfi(m):
    return None
