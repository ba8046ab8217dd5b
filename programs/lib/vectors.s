# Printing for programs that have the vector unit. Include it behind print.s.

    .section .text

# print_vector: write " x" for each of the a1 f32 at a0, with three decimals, and end the line; a2: room for as many words
print_vector:
    addi    sp, sp, -32
    sd      ra, 24(sp)
    sd      s0, 16(sp)
    sd      s1, 8(sp)
    mv      s0, a2
    mv      s1, a1
    li      t0, 0x447a0000                  # 1000.0
    sync.fence                              # what another unit has written is there
    vec.scale.f32 s0, a0, t0, s1
    vec.cvt.i32.f32 s0, s0, s1
    sync.fence
1:  print   " "
    lw      a0, 0(s0)
    call    print_milli
    addi    s0, s0, 4
    addi    s1, s1, -1
    bnez    s1, 1b
    print   "\n"
    ld      s1, 8(sp)
    ld      s0, 16(sp)
    ld      ra, 24(sp)
    addi    sp, sp, 32
    ret
