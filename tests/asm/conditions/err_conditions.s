    .if                             # error: .if needs one expression
    .endif
    .if     unknown                 # error: undefined symbol `unknown` # hint: defined above
    .endif
    .else                           # error: .else without .if
    .endif                          # error: .endif without .if
    .if     1
    .else
    .else                           # error: .else after .else
    .endif
    .error  "said so"               # error: said so
    .warning "careful"              # warning: careful
    .ifdef                          # error: .ifdef needs one symbol
    .endif
    .if     1                       # error: unterminated .if: its .endif is missing
    nop
