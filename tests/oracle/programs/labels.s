# Numeric labels, labels that share a line, symbols set again and again, symbols of every binding.
        .equ    count, 77
        .equ    offset, (count + 3) / 5
        .text
_start: 1: 2: nop
1:      beq     a0, a1, 1b
        beq     a0, a1, 1f
        j       2b
        j       2f
1:      j       1b
2:      j       2b
        bne     a0, a1, 10f
10:     bne     a0, a1, 10b
10:     bne     a0, a1, 10b
        .rept   4
0:      addi    a0, a0, -1
        bnez    a0, 0b
        beqz    a1, 0f
        .endr
0:      nop
        li      a0, count
        lw      a1, offset(sp)
        addi    a2, a2, -offset
        .set    here, .
        .set    value, 1
        li      a3, value
        .set    value, value * 5
        li      a3, value
        .set    value, value * 5
        li      a3, value
        j       here
        beq     a0, a1, here + 4
        j       . + 8
        j       . - 4
        bltu    a0, a1, . + 12
$dollar.and_under: j $dollar.and_under
.Llocal: j      .Llocal
        la      t0, .Llocal
        call    .Llocal
        .globl  visible
        .weak   soft
        .local  hidden
visible: nop
soft:   nop
hidden: nop
        j       visible
        beqz    a0, hidden
        j       hidden
größe:  j       größe                   # a name may hold any letter
        .type   visible, @function
        .size   visible, . - visible
        .data
        .byte   count, value, offset
        .dword  visible, .Llocal, here
