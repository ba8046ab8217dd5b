    .data
    .equ    one, 1
    .if     one == 1
    .byte   1                       # = 0x01
    .else
    .word   nothing
    .endif
    .if     one == 2
    .if     1
    .word   nothing
    .else
    unknown anything "
    .endif
    .elseif one == 1
    .byte   2                       # = 0x02
    .elseif 1
    .word   nothing
    .else
    .word   nothing
    .endif
    .ifdef  one
    .byte   3                       # = 0x03
    .endif
    .ifndef one
    .word   nothing
    .endif
    .ifc    abc, abc
    .byte   4                       # = 0x04
    .endif
    .ifb
    .byte   5                       # = 0x05
    .endif
    .ifgt   one
    .byte   6                       # = 0x06
    .endif
