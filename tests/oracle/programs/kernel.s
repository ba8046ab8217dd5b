# A ternary matrix-vector product on the control core: the kind of program that people write by hand.
        .equ    ROWS, 8
        .equ    COLUMNS, 16
        .equ    STDOUT, 1
        .equ    SYS_WRITE, 64
        .equ    SYS_EXIT, 93

        .macro  print text, bytes
        li      a0, STDOUT
        la      a1, \text
        li      a2, \bytes
        li      a7, SYS_WRITE
        ecall
        .endm

        .section .rodata
good:   .ascii  "ok\n"
        .equ    good_size, . - good
bad:    .ascii  "bad\n"

        .text
        .globl  _start
_start: la      s0, weights
        la      s1, activations
        la      s2, results
        li      s3, ROWS
row:    li      s4, COLUMNS
        mv      t0, s1
        li      t3, 0                   # accumulator
column: lb      t1, (s0)
        lb      t2, (t0)
        beqz    t1, skip
        bgtz    t1, plus
        subw    t3, t3, t2
        j       skip
plus:   addw    t3, t3, t2
skip:   addi    s0, s0, 1
        addi    t0, t0, 1
        addi    s4, s4, -1
        bnez    s4, column
        sw      t3, (s2)
        addi    s2, s2, 4
        addi    s3, s3, -1
        bgtz    s3, row

        la      s2, results
        lw      t0, 0(s2)
        li      t1, -24
        bne     t0, t1, wrong
        print   good, good_size
        li      a0, 0
        j       leave
wrong:  print   bad, 4
        li      a0, 1
leave:  li      a7, SYS_EXIT
        ecall

        .data
weights:
        .set    seed, 1
        .rept   ROWS * COLUMNS
        .byte   (seed % 3) - 1
        .set    seed, (seed * 1103515245 + 12345) & 0x7fffffff
        .endr
activations:
        .set    index, 0
        .rept   COLUMNS
        .byte   (index * 37) % 64 - 32
        .set    index, index + 1
        .endr

        .bss
        .balign 4
results:
        .zero   ROWS * 4
