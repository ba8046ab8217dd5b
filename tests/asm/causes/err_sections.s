        nop
        .section .symtab                # error: cannot be written by hand
        .word   1
        nop
x:      .byte   1
        .section .data, "q"             # error: unknown section flag
        .word   x
        .pushsection .text, "aw"        # error: section .text had the flags
        .word   1
        .popsection
        .section                        # error: .section cannot be read
        .byte   1
        .bss
        .word   1                       # error: data in section .bss
        .word   2
        .text
        la      a0, x
        nop
