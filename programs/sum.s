# Sum: the same reduction twice, by a scalar loop over integers and by one vector instruction over f32.
#
# Shows: a loop, loads, numeric local labels, a unit operation, and reading a counter through its CSR.
#
# Expected output:
#   scalar sum: 5050
#   vector sum: 5050.000
#   elements the vector unit worked on: 200

    .include "lib/macros.s"
    .equ    N, 100

    .section .data
    .balign 4
numbers:
    .set    i, 1
    .rept   N
    .word   i
    .set    i, i + 1
    .endr
thousand:       .float  1000.0

    .section .sram
    .balign 4
values:         .zero   N * 4
total:          .zero   4

    .section .text
    .globl  _start
_start:
    print   "scalar sum: "
    la      t0, numbers
    li      t1, N
    li      a0, 0
1:  lw      t2, 0(t0)
    add     a0, a0, t2
    addi    t0, t0, 4
    addi    t1, t1, -1
    bnez    t1, 1b
    call    print_int
    print   "\n"

    # i32 -> f32, then the sum over 16 lanes, which arrives in a register as the bits of an f32
    print   "vector sum: "
    la      a0, values
    la      a1, numbers
    li      a2, N
    vec.cvt.f32.i32 a0, a1, a2
    vec.sum.f32 s0, a0, a2
    csrr    s1, vec.elements

    # thousandths as an integer, for printing
    la      t0, total
    sw      s0, 0(t0)
    lw      t1, thousand
    li      t2, 1
    vec.scale.f32 t0, t0, t1, t2
    vec.cvt.i32.f32 t0, t0, t2
    sync.fence                      # the core sees the vector unit's result from here
    lw      a0, total
    call    print_milli
    print   "\n"

    print   "elements the vector unit worked on: "
    mv      a0, s1
    call    print_int
    print   "\n"
    exit

    .include "lib/print.s"
