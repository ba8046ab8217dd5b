"""Pseudo-instructions: other ways to write base instructions.

One row each: name, operands, expansion. Operands are fields of the base formats, or `near` (branch target), `far` (jump
target), `symbol` (any address), `constant` (any 64-bit value). In an expansion operands appear by name; an expansion that
starts with auipc stands for "reach this address": beyond +-2 GiB the address is built as a constant instead.

Source: RISC-V Assembly Programmer's Manual, "Pseudoinstructions"; and the forms that GNU as takes besides.
"""

from __future__ import annotations

_TABLE = """
nop        |                 | addi x0, x0, 0
unimp      |                 | csrrw x0, cycle, x0
li         | rd, constant    | li
la         | rd, symbol      | auipc rd, symbol; addi rd, rd, lo
lla        | rd, symbol      | auipc rd, symbol; addi rd, rd, lo

mv         | rd, rs1         | addi rd, rs1, 0
move       | rd, rs1         | addi rd, rs1, 0
not        | rd, rs1         | xori rd, rs1, -1
neg        | rd, rs1         | sub rd, x0, rs1
negw       | rd, rs1         | subw rd, x0, rs1
sext.b     | rd, rs1         | slli rd, rs1, 56; srai rd, rd, 56
sext.h     | rd, rs1         | slli rd, rs1, 48; srai rd, rd, 48
sext.w     | rd, rs1         | addiw rd, rs1, 0
zext.b     | rd, rs1         | andi rd, rs1, 255
zext.h     | rd, rs1         | slli rd, rs1, 48; srli rd, rd, 48
zext.w     | rd, rs1         | slli rd, rs1, 32; srli rd, rd, 32
seqz       | rd, rs1         | sltiu rd, rs1, 1
snez       | rd, rs1         | sltu rd, x0, rs1
sltz       | rd, rs1         | slt rd, rs1, x0
sgtz       | rd, rs1         | slt rd, x0, rs1
sgt        | rd, rs1, rs2    | slt rd, rs2, rs1
sgtu       | rd, rs1, rs2    | sltu rd, rs2, rs1

beqz       | rs1, near       | beq rs1, x0, near
bnez       | rs1, near       | bne rs1, x0, near
blez       | rs1, near       | bge x0, rs1, near
bgez       | rs1, near       | bge rs1, x0, near
bltz       | rs1, near       | blt rs1, x0, near
bgtz       | rs1, near       | blt x0, rs1, near
bgt        | rs1, rs2, near  | blt rs2, rs1, near
ble        | rs1, rs2, near  | bge rs2, rs1, near
bgtu       | rs1, rs2, near  | bltu rs2, rs1, near
bleu       | rs1, rs2, near  | bgeu rs2, rs1, near

j          | far             | jal x0, far
jal        | far             | jal x1, far
jr         | rs1             | jalr x0, 0(rs1)
jr         | i_imm(rs1)      | jalr x0, i_imm(rs1)
jr         | rs1, i_imm      | jalr x0, i_imm(rs1)
jalr       | rs1             | jalr x1, 0(rs1)
jalr       | i_imm(rs1)      | jalr x1, i_imm(rs1)
jalr       | rd, rs1         | jalr rd, 0(rs1)
jalr       | rs1, i_imm      | jalr x1, i_imm(rs1)
jalr       | rd, rs1, i_imm  | jalr rd, i_imm(rs1)
ret        |                 | jalr x0, 0(x1)
call       | symbol          | auipc x1, symbol; jalr x1, lo(x1)
call       | rd, symbol      | auipc x6, symbol; jalr rd, lo(x6)
tail       | symbol          | auipc x6, symbol; jalr x0, lo(x6)
jump       | symbol, rd      | auipc rd, symbol; jalr x0, lo(rd)

rdcycle    | rd              | csrrs rd, cycle, x0
rdtime     | rd              | csrrs rd, time, x0
rdinstret  | rd              | csrrs rd, instret, x0
csrr       | rd, csr         | csrrs rd, csr, x0
csrw       | csr, rs1        | csrrw x0, csr, rs1
csrs       | csr, rs1        | csrrs x0, csr, rs1
csrc       | csr, rs1        | csrrc x0, csr, rs1
csrwi      | csr, zimm       | csrrwi x0, csr, zimm
csrsi      | csr, zimm       | csrrsi x0, csr, zimm
csrci      | csr, zimm       | csrrci x0, csr, zimm
csrw       | csr, zimm       | csrrwi x0, csr, zimm
csrs       | csr, zimm       | csrrsi x0, csr, zimm
csrc       | csr, zimm       | csrrci x0, csr, zimm
csrrw      | rd, csr, zimm   | csrrwi rd, csr, zimm
csrrs      | rd, csr, zimm   | csrrsi rd, csr, zimm
csrrc      | rd, csr, zimm   | csrrci rd, csr, zimm

fence      |                 | fence iorw, iorw
pause      |                 | fence w, 0
scall      |                 | ecall
sbreak     |                 | ebreak

add        | rd, rs1, i_imm  | addi rd, rs1, i_imm
and        | rd, rs1, i_imm  | andi rd, rs1, i_imm
or         | rd, rs1, i_imm  | ori rd, rs1, i_imm
xor        | rd, rs1, i_imm  | xori rd, rs1, i_imm
slt        | rd, rs1, i_imm  | slti rd, rs1, i_imm
sltu       | rd, rs1, i_imm  | sltiu rd, rs1, i_imm
addw       | rd, rs1, i_imm  | addiw rd, rs1, i_imm
sll        | rd, rs1, shamt6 | slli rd, rs1, shamt6
srl        | rd, rs1, shamt6 | srli rd, rs1, shamt6
sra        | rd, rs1, shamt6 | srai rd, rs1, shamt6
sllw       | rd, rs1, shamt5 | slliw rd, rs1, shamt5
srlw       | rd, rs1, shamt5 | srliw rd, rs1, shamt5
sraw       | rd, rs1, shamt5 | sraiw rd, rs1, shamt5
"""

LOADS = ("lb", "lh", "lw", "ld", "lbu", "lhu", "lwu")
STORES = ("sb", "sh", "sw", "sd")

# (name, operands, expansion)
PSEUDO: tuple[tuple[str, str, str], ...] = (
    *((name, syntax, expansion) for name, syntax, expansion in
      ((part.strip() for part in line.split("|")) for line in _TABLE.splitlines() if line)),
    *((name, "rd, symbol", f"auipc rd, symbol; {name} rd, lo(rd)") for name in LOADS),
    *((name, "rs2, symbol, rd", f"auipc rd, symbol; {name} rs2, lo(rd)") for name in STORES),
)
