# Printing for hand-written programs: text, integers, fixed-point numbers, by the `write` service of the environment.
# Include it at the end of a program that includes macros.s at its beginning.
# Functions follow the RISC-V calling convention: arguments in a0.., t0-t6 are lost.

    .section .text
    .equ SYS_WRITE, 64

# print_text: write a1 bytes at a0 to the console
print_text:
    mv      a2, a1
    mv      a1, a0
    li      a0, 1
    li      a7, SYS_WRITE
    ecall
    ret

# print_int: write the signed integer in a0 in decimal
print_int:
    addi    sp, sp, -48
    sd      ra, 40(sp)
    addi    t0, sp, 32              # digits grow downwards from here
    mv      t1, a0
    li      t2, 10
    neg     t3, t1
    bgtz    t3, 1f
    mv      t3, t1                  # t3 = |a0|
1:  remu    t4, t3, t2
    addi    t4, t4, '0'
    addi    t0, t0, -1
    sb      t4, 0(t0)
    divu    t3, t3, t2
    bnez    t3, 1b
    bgez    t1, 2f
    li      t4, '-'
    addi    t0, t0, -1
    sb      t4, 0(t0)
2:  mv      a0, t0
    addi    a1, sp, 32
    sub     a1, a1, t0
    call    print_text
    ld      ra, 40(sp)
    addi    sp, sp, 48
    ret

# print_milli: write a0 / 1000 with three decimals; a0 is a signed integer in thousandths
print_milli:
    addi    sp, sp, -32
    sd      ra, 24(sp)
    sd      s0, 16(sp)
    mv      s0, a0
    bgez    s0, 1f
    print   "-"
    neg     s0, s0
1:  li      t0, 1000
    divu    a0, s0, t0
    call    print_int
    li      t0, 1000
    remu    s0, s0, t0
    addi    t1, sp, 0               # four characters: "." and three digits
    li      t2, '.'
    sb      t2, 0(t1)
    li      t3, 100
    divu    t2, s0, t3
    addi    t2, t2, '0'
    sb      t2, 1(t1)
    remu    s0, s0, t3
    li      t3, 10
    divu    t2, s0, t3
    addi    t2, t2, '0'
    sb      t2, 2(t1)
    remu    t2, s0, t3
    addi    t2, t2, '0'
    sb      t2, 3(t1)
    mv      a0, t1
    li      a1, 4
    call    print_text
    ld      s0, 16(sp)
    ld      ra, 24(sp)
    addi    sp, sp, 32
    ret

# print_rows: write a line "row r: value" for each of the a1 words at a0
print_rows:
    addi    sp, sp, -32
    sd      ra, 24(sp)
    sd      s0, 16(sp)
    sd      s1, 8(sp)
    sd      s2, 0(sp)
    li      s0, 0
    mv      s1, a0
    mv      s2, a1
1:  print   "row "
    mv      a0, s0
    call    print_int
    print   ": "
    lw      a0, 0(s1)
    call    print_int
    print   "\n"
    addi    s0, s0, 1
    addi    s1, s1, 4
    bne     s0, s2, 1b
    ld      s2, 0(sp)
    ld      s1, 8(sp)
    ld      s0, 16(sp)
    ld      ra, 24(sp)
    addi    sp, sp, 32
    ret
