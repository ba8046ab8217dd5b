# Operands that do not fit the instruction.
label:
    sub     a0, a1, 4           # error: operand 3 of sub is the number 4: expected a register # hint: addi with the negative
    mul     a0, a1, 4           # error: expected a register # hint: with `li`
    add     a0, a1, a9          # error: undefined symbol `a9` # hint: there is no register a9
    add     a0, a9, a1          # error: unknown register `a9` # hint: registers are x0..x31
    addi    x32, a0, 1          # error: unknown register `x32`
    lw      a0, 4(q1)           # error: unknown register `q1` # hint: x0..x31
    add     a0, a1, (a2)        # error: register a2 where a number or label is expected
    addi    a0, a1              # error: addi takes 3 operands, 2 operands given # hint: written as `addi rd, rs1, imm`
    nop     a0                  # error: nop takes no operands, 1 operand given
    beqz    a0                  # error: beqz takes 2 operands # hint: `beqz rs1, label`
    call                        # error: call takes 1 or 2 operands, 0 operands given
    lw      a0, a1              # error: register a1 where a number or label is expected # hint: written 0(a1)
    sw      a0, label           # error: operand 2 of sw is `label`: expected offset(register) # hint: `sw rs2, symbol, rd`
    addi    a0, a0, a1          # error: operand 3 of addi is register a1: expected a number -2048..2047
    addi    a0, a0, "4"         # error: is a string
    fence   x, y                # error: a set of the letters i, o, r, w
    csrr    a0, vec.col         # error: unknown CSR `vec.col` # hint: did you mean `vec.cols`?
    vec.add.f32 a0, a1, a2, 5   # error: operand 4 of vec.add.f32 is the number 5 # hint: registers only
    vec.add.f32 a0, a1, a2      # error: vec.add.f32 takes 4 operands, 3 operands given # hint: `vec.add.f32 dst, a, b, n`
    addd    a0, a1, a2          # error: unknown instruction `addd` # hint: did you mean `add`?
    lut.mc.t2 a0, a1, a2        # error: unknown instruction `lut.mc.t2` # hint: did you mean `lut.mac.t2`?
    .wrod   5                   # error: unknown directive `.wrod` # hint: did you mean `.word`?
    fadd.s  a0, a1, a2          # error: unknown instruction `fadd.s` # hint: the core is RV64IM
    vec.fil.32 a0, a1, a2       # error: unknown instruction `vec.fil.32` # hint: did you mean `vec.fill.32`?
    addi    A0, a0, 1           # error: unknown register `A0` # hint: did you mean `a0`?
