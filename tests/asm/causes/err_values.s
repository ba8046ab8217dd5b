        .set    x, 1 / 0                # error: division by zero
        .set    y, x + 1
        .equ    z, nowhere              # error: undefined symbol `nowhere`
        li      a0, x
        li      a0, y
        la      a0, z
        .word   x, z
        .if     x
        .endif
