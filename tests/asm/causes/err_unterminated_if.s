        la      a0, table
        .if     0                       # error: unterminated .if
table:  .word   1
