        la      a0, table
        nop     /* never closed            error: in the line's own words # error: unterminated comment
table:  .word   1
