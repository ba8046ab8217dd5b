    .data
    .set    i, 0
    .rept   3
    .byte   0x11                    # = 0x11
    .set    i, i + 1
    .endr
    .byte   i                       # = 0x03
    .rept   0
    .word   nothing
    .endr
    .rept   2
    .rept   2
    .byte   0x22; .byte 0x33        # = 0x22 0x33
    .endr
    .endr
    .irp    n, 7, 7
    .byte   \n                      # = 0x07
    .endr
    .irpc   n, 55
    .byte   \n                      # = 0x05
    .endr
