# Several statements on a line: bodies begin and end inside of lines, what follows a macro call comes after what it brings in.
        .text
_start:
        .rept 2; addi a0, a0, 1; .endr; addi a1, a1, 1
        .macro one; addi a2, a2, 1; .endm
        .macro two x, y
        addi a3, a3, \x ; one ; addi a3, a3, \y
        .endm
        one ; two 1, 2 ; addi a4, a4, 1
        .macro leave
        one ; .exitm ; addi a5, a5, 1
        addi a5, a5, 2
        .endm
        leave ; addi a6, a6, 1
        one ; .if 1
        addi a7, a7, 1
        .endif ; .if 0 ; addi a7, a7, 2
        .else ; addi a7, a7, 3 ; .endif
        .irp reg, s1, s2; addi \reg, \reg, 1; .rept 2
        addi \reg, \reg, 2; .endr; addi \reg, \reg, 3; .endr
        .rept 2; .endr
        la a0, 0x1234 ; la a1, -0x5678
        .set known, 0x5eadbeef
        la a2, known
        .data
        .byte 1
        .balign 8, ','
        .byte 2
