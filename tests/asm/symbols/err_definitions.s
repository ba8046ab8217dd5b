# Names that are taken.
x:  nop                             # a first
x:  nop                             # error: `x` is defined twice # note: err_definitions.s:2
    .equ    x, 5                    # error: `x` is defined twice # note: first definition
    .equiv  y, 1
    .equiv  y, 2                    # error: `y` is defined twice
    .globl  notdefined              # error: undefined symbol `notdefined`
    .type   x, @func                # error: unknown symbol type # hint: did you mean `function`?
    .size   x                       # error: .size takes 2 operands, 1 given
    .option rvc                     # error: .option rvc is not supported # hint: compressed
    .size   x, gone                 # error: undefined symbol `gone`
    .set    wide, 1 << 70           # error: `wide` cannot be 0x400000000000000000: a symbol has 64 bits
    .type   x, "\xff"               # error: not UTF-8
