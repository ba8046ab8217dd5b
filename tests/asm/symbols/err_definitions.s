# Names that are taken.
x:  nop                             # a first
x:  nop                             # error: `x` is defined twice # note: err_definitions.s:2
    .equ    x, 5                    # error: `x` is defined twice # note: first definition
    .equiv  y, 1
    .equiv  y, 2                    # error: `y` is defined twice
    .equ    a0, 5                   # error: `a0` is the name of a register
    .globl  notdefined              # error: undefined symbol `notdefined`
    .type   x, @func                # error: unknown symbol type # hint: did you mean `function`?
    .size   x                       # error: .size takes 2 operands, 1 given
    .option rvc                     # error: .option rvc is not supported # hint: compressed
