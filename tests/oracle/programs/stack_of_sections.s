# .pushsection, .popsection, .previous, sections without contents, symbols with types and sizes, pieces taken up again.
        .text
        .globl  main
        .type   main, @function
main:   li      a0, 1
        .pushsection .rodata.strings, "a"
text1:  .asciz  "first"
        .pushsection .data
value1: .dword  text1
        .popsection
text2:  .asciz  "second"
        .popsection
        la      a1, text1
        la      a2, text2
        ld      a3, value1
        .section .rodata
        .word   1
        .previous
        nop
        .previous
        .word   2
        .text
        ret
        .size   main, . - main

        .section .scratch, "aw", @nobits
        .balign 32
scratch: .skip  100
        .section .init_table, "a", @progbits
        .dword  main, scratch, 0
        .data
        .half   1
        .balign 4
        .word   scratch - scratch + 4
