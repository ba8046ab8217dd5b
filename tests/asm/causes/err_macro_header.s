        .macro  load 1x                 # error: `1x` is not a parameter
        .endm
        load    a0
        load    a1
        loda    a1                      # error: unknown instruction `loda`
