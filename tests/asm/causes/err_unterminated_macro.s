        la      a0, table
        .macro  load                    # error: unterminated .macro
        nop
table:  .word   1
