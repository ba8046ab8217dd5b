# Expressions without a value.
    .data
    .word   nowhere                 # error: undefined symbol `nowhere`
    .word   counted + 1             # error: undefined symbol `counted` # hint: did you mean `counter`?
    .byte   1 / 0                   # error: division by zero
    .byte   1 << -1                 # error: shift by -1
    .equ    a, b                    # error: defined in terms of itself
    .equ    b, a                    # error: defined in terms of itself
    .byte   256, -129               # error: 256 does not fit 1 byte: -128..255
    .byte   counter                 # error: does not fit 1 byte
    .word   1b                      # error: undefined local label 1b: there is no `1:` before
    .word   1f                      # error: undefined local label 1f: there is no `1:` after
    .fill   3, 9, 1                 # error: 9 is out of range for the size of an element
    .zero   -1                      # error: -1 is out of range for the size
    .balign 3                       # error: alignment 3 is not a power of two # hint: 2 and 4
    .align  40                      # error: 0..30
    .word   a0                      # error: register a0 where a number or label is expected
counter: .word 0
