    nop
    nop  /* error: is never closed                              # error: unterminated comment
    nop
