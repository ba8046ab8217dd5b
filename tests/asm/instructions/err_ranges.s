# Numbers that do not fit, with the legal range.
near:
    addi    a0, a0, 5000        # error: 5000 is out of range for the immediate of addi: -2048..2047
    addi    a0, a0, -2049       # error: -2049 is out of range
    lw      a0, 5000(a1)        # error: the immediate of lw: -2048..2047
    sw      a0, 2048(a1)        # error: the immediate of sw: -2048..2047
    slli    a0, a0, 64          # error: 64 is out of range for the shift amount of slli: 0..63
    slliw   a0, a0, 32          # error: 0..31
    lui     a0, 0x100000        # error: 0x100000 is out of range for the immediate of lui: 0..1048575
    lui     a0, near            # error: out of range for the immediate of lui # hint: %hi
    csrwi   vec.cols, 32        # error: 32 is out of range for the immediate of csrwi: 0..31
    csrr    a0, 4096            # error: 4096 is out of range for the CSR number of csrr: 0..4095
    li      a0, 0x1ffffffffffffffff     # error: does not fit a register
    beq     a0, a1, near + 1    # error: an odd distance
    jal     a0, 0x10000000      # error: jal reaches -1048576..1048574 # hint: `call`
    lui     a0, %hi(near)       # error: 0x80000000 is out of range for %hi # hint: `la` reaches any address; of a compiler: -mcmodel=medany
    lui     a0, %foo(near)      # error: unknown modifier %foo: known are %hi %lo
    lui     a0, %lo(near)       # error: %lo does not fit lui
    addi    a0, a0, %pcrel_lo(near)     # error: %pcrel_lo needs the label of an auipc
    addi    a0, a0, 1 + %lo(near)       # error: %lo can only be the whole immediate
