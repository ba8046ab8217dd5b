"""Zicsr and the machine-mode instructions of the control core.

Source: The RISC-V Instruction Set Manual, Volume I, chapter "Zicsr"; Volume II, chapter "Machine-Level ISA".
`csrrs`/`csrrc` with source x0 do not write, `csrrw` with destination x0 does not read: so a read-only CSR may be read.
"""

from __future__ import annotations

from isa.instruction import instruction
from isa.unit import Unit

UNIT = Unit("zicsr", "Control and status registers", "CSR access and machine-mode returns of the control core.")


@instruction("csrrw   CSR  opcode=0x73 funct3=1", "t = csr; csr = x[rs1]; x[rd] = t",
             example="li    t0, 4\n"
                     "csrrw t1, vec.cols, t0    # t1 = the columns before\n"
                     "csrrw zero, vec.cols, t1  # and back")
def csrrw(m, csr, rs1):
    return m.swap_csr(csr, lambda old: rs1)


@instruction("csrrs   CSR  opcode=0x73 funct3=2", "t = csr; csr = t | x[rs1]; x[rd] = t; no write if rs1 is x0",
             example="csrrs a0, core.instructions, zero    # read a counter: `csrr`")
def csrrs(m, csr, rs1):
    return m.swap_csr(csr, (lambda old: old | rs1) if m.fields["rs1"] else None)


@instruction("csrrc   CSR  opcode=0x73 funct3=3", "t = csr; csr = t & ~x[rs1]; x[rd] = t; no write if rs1 is x0",
             example="li    t0, 8\n"
                     "csrrc zero, mstatus, t0   # interrupts off")
def csrrc(m, csr, rs1):
    return m.swap_csr(csr, (lambda old: old & ~rs1) if m.fields["rs1"] else None)


@instruction("csrrwi  CSRI opcode=0x73 funct3=5", "t = csr; csr = zimm; x[rd] = t",
             example="csrrwi zero, lut.mode, 1  # `csrwi lut.mode, 1`\n"
                     "csrrwi zero, lut.mode, 0")
def csrrwi(m, csr, zimm):
    return m.swap_csr(csr, lambda old: zimm)


@instruction("csrrsi  CSRI opcode=0x73 funct3=6", "t = csr; csr = t | zimm; x[rd] = t; no write if zimm is 0",
             example="csrrsi zero, pim.channel_mask, 2     # channel 1 too")
def csrrsi(m, csr, zimm):
    return m.swap_csr(csr, (lambda old: old | zimm) if zimm else None)


@instruction("csrrci  CSRI opcode=0x73 funct3=7", "t = csr; csr = t & ~zimm; x[rd] = t; no write if zimm is 0",
             example="csrrci zero, pim.next_bank, 1        # MACs take the global buffer again")
def csrrci(m, csr, zimm):
    return m.swap_csr(csr, (lambda old: old & ~zimm) if zimm else None)


@instruction("mret    SYSTEM opcode=0x73 funct3=0 funct12=0x302", "pc = mepc; mstatus.MIE = mstatus.MPIE; mstatus.MPIE = 1",
             example="la t0, 1f\n"
                     "csrw mepc, t0\n"
                     "mret                      # go on at 1\n"
                     "ebreak\n"
                     "1:")
def mret(m):
    m.return_from_trap()


@instruction("wfi     SYSTEM opcode=0x73 funct3=0 funct12=0x105", "no operation: no interrupt source is modelled",
             example="wfi                       # nothing to wait for: goes on")
def wfi(m):
    return None
