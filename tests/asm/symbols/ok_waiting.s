# What a symbol was given before a name in it had a meaning follows that name, whatever it is given later.
    .data
    .set    c, v + 1
    .set    d, c + 1
    .set    v, 1
    .word   c, d                    # = 0x00000002 0x00000003
    .set    v, 5
    .word   c, d                    # = 0x00000006 0x00000007
x:  .word   d                       # = 0x00000007
y:
    .set    v, y - x
    .word   c, d                    # = 0x00000005 0x00000006
    .set    v, 9
    .word   c, d                    # = 0x0000000a 0x0000000b
