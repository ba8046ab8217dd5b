    nop
    .section .bss
    nop                             # error: an instruction in section .bss, which holds only zeros
    .word   4
    .section .text, "aw"            # error: section .text had the flags "ax" before
    .section foo, "q"               # error: unknown section flag 'q'
    .section                        # error: .section cannot be read # hint: `.section name
    .section .symtab, ""            # error: section .symtab cannot be written by hand
    .popsection                     # error: .popsection without .pushsection
    .text
    nop
    .address 0x80000000             # error: .address must come before the contents
    .org    2                       # error: would move backwards
    .machine slm                    # error: no machine preset 'slm'
