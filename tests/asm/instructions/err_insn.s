        .insn   r OPX, 0, 0, a0, a1, a2         # error: unknown opcode `OPX` # hint: did you mean `OP`?
        .insn   q OP, 0                         # error: .insn has no format `q` # hint: r r4 i s b sb u j uj
        .insn   r OP, 8, 0, a0, a1, a2          # error: 8 is out of range for the funct3 of .insn r: 0..7
        .insn   r OP, 0, 128, a0, a1, a2        # error: 128 is out of range for the funct7
        .insn   r OP, 0, 0, a0, a1              # error: takes 6 or 7 operands # hint: `.insn r opcode, funct3, funct7, rd, rs1, rs2`
        .insn   r OP, 0, 0, a0, a1, 5           # error: operand 6 of .insn r is the number 5: expected a register
        .insn   r OP, late, 0, a0, a1, a2       # error: undefined symbol `late` # hint: defined above
        .insn   r 0x34, 0, 0, a0, a1, a2        # error: 0x34 is not an opcode of a 4-byte instruction
        .insn   r 0x1f, 0, 0, a0, a1, a2        # error: 0x1f is not an opcode of a 4-byte instruction
        .insn   r 128, 0, 0, a0, a1, a2         # error: 128 is out of range for the opcode
        .insn   i OP_IMM, 0, a0, a1, 2048       # error: 2048 is out of range for the immediate
        .insn   i OP_IMM, 0, a0, a1, a2         # error: operand 5 of .insn i is register a2
        .insn   b BRANCH, 0, a0, 4(a1)          # error: .insn b takes 5 operands
        .insn   4, 0x10                         # error: 0x10 is not an instruction of 4 bytes # hint: lowest bits
        .insn   0x7f                            # error: 0x7f is not an instruction
        .insn   -1                              # error: -0x1 is not an instruction
        .insn   1, 2, 3                         # error: .insn takes a format
        .insn   "text"                          # error: .insn expects a number here
        .insn                                   # error: .insn takes a format
        .insn   later                           # error: undefined symbol `later`
        .set    late, 1
