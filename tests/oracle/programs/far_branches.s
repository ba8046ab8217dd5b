# Branches at and beyond their reach, in both directions, with alignment in between: each long one may push the next.
        .text
_start: beq     a0, a1, reach
        bne     a0, a1, reach
        blt     a0, a1, reach
        bge     a0, a1, reach
        bltu    a0, a1, reach
        bgeu    a0, a1, reach
        bgt     a0, a1, reach
        ble     a0, a1, reach
        bgtu    a0, a1, reach
        bleu    a0, a1, reach
        beqz    a0, reach
        bnez    a0, reach
        blez    a0, reach
        bgez    a0, reach
        bltz    a0, reach
        bgtz    a0, reach
        .rept   1010
        addi    a0, a0, 1
        .endr
reach:  .balign 64
        .rept   16
        beqz    a0, _start
        beqz    a1, reach
        beqz    a2, forward
        .balign 16
        .endr
        .rept   980
        nop
        .endr
forward:
        .zero   4096 - 64
        .rept   20
        bnez    a0, forward
        bnez    a1, end
        .endr
        .zero   4000
end:    j       _start
        jal     _start
        jal     t0, end
        .zero   0x20000
        j       _start
        call    _start
