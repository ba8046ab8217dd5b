# .insn in every format that a core without compressed instructions has, each opcode by its name.
        .set    k, 3
start:
        .irp    opcode, LOAD, LOAD_FP, CUSTOM_0, MISC_MEM, OP_IMM, AUIPC, OP_IMM_32, STORE, STORE_FP, CUSTOM_1, AMO, OP, LUI, OP_32
        .insn   r \opcode, 1, 2, a0, s1, t3
        .endr
        .irp    opcode, MADD, MSUB, NMADD, NMSUB, OP_FP, OP_V, CUSTOM_2, BRANCH, JALR, JAL, SYSTEM, CUSTOM_3
        .insn   r \opcode, 1, 2, a0, s1, t3
        .endr
        .insn   r 0x33, 0, 0, a0, a1, a2
        .insn   r OP, k, k + 1, x31, x30, x29
        .insn   r OP, 1 + 1, 1 << 2, a0, a1, a2
        .insn   r CUSTOM_0, 7, 0x7f, x10, x11, x12
        .insn   r CUSTOM_0, 7, 3, x10, x11, x12, x13
        .insn   r4 CUSTOM_0, 7, 3, x10, x11, x12, x13
        .insn   r4 0x5b, 0, 2, zero, ra, sp, gp
        .insn   i OP_IMM, 0, a0, a1, 5
        .insn   i OP_IMM, 7, a0, a1, -2048
        .insn   i OP_IMM, 0, a0, a1, k * k
        .insn   i OP_IMM, 0, a0, a1, %lo(k)
        .insn   i LOAD, 2, a0, 4(a1)
        .insn   i LOAD, 3, a0, (a1)
        .insn   i LOAD, 3, a0, -8(sp)
        .insn   i LOAD, 3, a0, %lo(k)(a1)
        .insn   i JALR, 0, ra, 2047(a1)
        .insn   s STORE, 2, a0, 4(a1)
        .insn   s STORE, 2, a0, (a1)
        .insn   s STORE, 3, a0, -2048(sp)
        .insn   s STORE, 3, a0, %lo(k)(a1)
        .insn   sb BRANCH, 0, a0, a1, start
        .insn   b BRANCH, 7, a0, a1, end
        .insn   b BRANCH, 1, a0, a1, . + 8
        .insn   b BRANCH, 4, a0, a1, far
        .insn   sb BRANCH, 5, a0, a1, far
        .insn   u LUI, a0, 0x12345
        .insn   u LUI, a0, %hi(k)
1:      .insn   u AUIPC, a0, %pcrel_hi(far)
        .insn   i OP_IMM, 0, a0, a0, %pcrel_lo(1b)
        .insn   uj JAL, a0, start
        .insn   j JAL, zero, far
        .insn   j JAL, a0, . - 4
        .insn   0x00a50533
        .insn   4, 0x00a50533
        .insn   4, k << 4 | 3
        .insn   0x7fffffffffffffbf
        .insn   2, 1
        .half   0
        .insn   4
        .half   0
        .insn   6, 0x1f
        .half   0
        .insn   8, 0x3f
end:    nop
        .zero   6000
far:    .insn   r OP, 0, 0, a0, a1, a2
