# One cause, one message: what the file would have defined is unknown, and nothing more is said of it. What is wrong anyway is.
        unknown a0                      # error: unknown instruction `unknown`
        .include "nothing_there.inc"    # error: file not found: nothing_there.inc # hint: -I DIR
        .include "nor_there.inc"        # error: file not found: nor_there.inc
        load_twice a0, a1
        la      a0, table
        li      a1, ROWS
        .if     ROWS > 4
        .endif
        .rept   ROWS
        .endr
        .word   table, ROWS * 4
        .set    bytes, ROWS * 4
        .zero   bytes
        beq     a0, a1, done
        j       1f
        .globl  done
        .size   done, ROWS
        .own_directive
        addi    a0, a0, 5000            # error: 5000 is out of range
