    .rept   -1                      # error: repetition count -1
    .endr
    .rept   later - 1               # error: undefined symbol `later`
    .endr
    .rept   2
    .byte   300                     # error: does not fit 1 byte # error: does not fit 1 byte # note: in the repetition that .rept starts here
    .endr
    .endr                           # error: .endr without .rept
    .irp                            # error: .irp needs a parameter name
    .endr
    .rept   2                       # error: unterminated .rept: its .endr is missing
    nop
