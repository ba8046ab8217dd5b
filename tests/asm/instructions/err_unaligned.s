# Code after data that is not a multiple of 4 long: the first such instruction is named.
    .text
    .ascii  "abc"
    nop                         # error: instruction at 0x80000003, which is not a multiple of 4 # hint: .balign 4
    nop
