# A register's name is a symbol's where a symbol can stand. An immediate that starts with one is a mistake, as to GNU as.
        .set    t1, 5
        addi    a0, a0, t1              # error: operand 3 of addi is register t1: expected a number -2048..2047
        addi    a0, a0, t1 + 4          # error: expected a number -2048..2047
        lw      a0, t1(a1)              # error: operand 2 of lw is a memory operand whose offset starts with a register
        jr      a1, t1                  # error: operand 2 of jr is register t1
        lui     a0, t1                  # error: operand 2 of lui is register t1
        fence   t1, t1                  # error: operand 1 of fence is register t1
        li      a0, a1                  # error: register a1 where a number or label is expected # hint: there is no symbol a1
        lla     a0, a2                  # error: register a2 where a number or label is expected
        j       a3                      # error: register a3 where a number or label is expected # hint: `jr a3`
        slli    a0, a0, a4              # error: register a4 where a number or label is expected
        .zero   a5                      # error: register a5 where a number or label is expected
        .if     a6                      # error: register a6 where a number or label is expected
        .endif
