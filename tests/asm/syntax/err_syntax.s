# What cannot be read.
    add     a0 a1, a2           # error: a comma is missing before `a1`
    add     a0,, a1             # error: an operand is missing before this comma
    add     a0, a1,             # error: an operand is missing after the comma
    lw      a0, 4(a1            # error: unbalanced parenthesis: this ( is never closed
    lw      a0, 4)              # error: unbalanced parenthesis: this ) closes nothing
    addi    a0, a0, ()          # error: an expression is missing before the )
    addi    a0, a0, 1 +         # error: the line ends where
    addi    a0, a0, 08          # error: 08 is not an octal number
    addi    a0, a0, 1 $$ 2      # error: a comma is missing before `$$`
    addi    a0, a0, [1]         # error: unexpected [ # hint: offset(register)
    addi    a0, a0, ?           # error: unexpected character '?'
    .ascii  "abc                # error: unterminated string
    .ascii  "a\qb"              # error: unknown escape \q
    addi    a0, a0, 'é'         # error: a character constant is one byte
    }                           # error: unexpected `}`
    3x: nop                     # error: `3x` cannot be a label
    .float  abc                 # error: a floating-point number is expected
    .word   1.5                 # error: a floating-point number is not allowed here
    .incbin "\xff"              # error: file not found
    .error  "\xff"              # error: not UTF-8
    .word   1 << 1000 << 1000   # error: the value has more than 1024 bits
    .float  1e6000              # error: 1e6000 is out of range for a floating-point number
