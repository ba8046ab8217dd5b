# .if in all its forms, nested and skipped, around data, instructions and definitions.
        .equ    rows, 12
        .equ    columns, 0x40
        .equ    debug, 0

        .text
_start:
        .if     rows
        li      a0, rows
        .endif
        .if     debug
        this is not assembled at all (
        .if     1
        nor this
        .else
        nor that
        .endif
        .else
        li      a1, columns
        .endif
        .if     rows > 10
        .if     columns >= 65
        li      a2, 1
        .elseif columns == 64
        li      a2, 2
        .elseif columns == 64
        li      a2, 3
        .else
        li      a2, 4
        .endif
        .endif
        .if     ((rows * columns) & 0xff) == 0
        nop
        .endif
        .if     rows < 10 || columns <= 64
        li      a3, 5
        .endif
        .if     rows != 12 && columns
        li      a3, 6
        .endif
        .ifdef  debug
        li      a4, 7
        .endif
        .ifndef release
        li      a4, 8
        .equ    release, 9
        .endif
        .ifdef  release
        li      a4, release
        .endif
start_of_data:
        ret
        .data
        .if     . - . == 0
        .word   1
        .else
        .word   2
        .endif
