# Macros of the hand-written programs. Include it first.

    .equ SYS_EXIT, 93

# print "text": write a string literal to the console
    .macro print text
    .section .rodata
text_begin\@:
    .ascii  "\text"
text_end\@:
    .section .text
    la      a0, text_begin\@
    li      a1, text_end\@ - text_begin\@
    call    print_text
    .endm

# exit code: end the program
    .macro exit code=0
    li      a0, \code
    li      a7, SYS_EXIT
    ecall
    .endm

# Numbers that every assembler run makes anew and alike: a linear congruential generator over assembler symbols.
    .set    seed, 1
    .macro next_seed
    .set    seed, (seed * 1103515245 + 12345) & 0x7fffffff
    .endm

# random_f32 count: f32 values of random sign between 2^exponent and 2^(exponent + 1), written as bit patterns
    .macro random_f32 count, exponent=-4
    .rept   \count
    next_seed
    .word   ((127 + \exponent) << 23) | ((seed & 0x1000) << 19) | ((seed >> 8) & 0x7fffff)
    .endr
    .endm

# random_f16 count, exponent: fp16 numbers of random sign between 2^exponent and 2^(exponent + 1)
    .macro  random_f16 count, exponent
    .rept   \count
    next_seed
    .half   ((seed & 0x1000) << 3) | ((15 + \exponent) << 10) | ((seed >> 8) & 0x3ff)
    .endr
    .endm

# random_bytes count: bytes of random bits, such as packed codes
    .macro random_bytes count
    .rept   \count
    next_seed
    .byte   (seed >> 16) & 0xff
    .endr
    .endm

# random_ternary count: bytes of four ternary codes each, every code 0, 1 or 2 (weight -1, 0, +1)
    .macro random_ternary count
    .rept   \count
    next_seed
    .set    a, (seed >> 9) % 3
    .set    b, (seed >> 13) % 3
    .set    c, (seed >> 17) % 3
    .set    d, (seed >> 21) % 3
    .byte   a | (b << 2) | (c << 4) | (d << 6)
    .endr
    .endm
