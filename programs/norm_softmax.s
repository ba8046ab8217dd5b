# RMSNorm and softmax: what surrounds every attention layer, in three instructions.
#
# Shows: f32 vector operations, the epsilon CSR, and how a program turns f32 results into printable integers.
#
# Expected output:
#   rmsnorm: 0.365 0.730 0.548 0.730
#   softmax: 0.032 0.087 0.237 0.644
#   sum: 1.000

    .include "lib/macros.s"
    .equ    N, 4

    .section .data
    .balign 4
input:      .float  1.0, 2.0, 3.0, 4.0
gain:       .float  1.0, 1.0, 0.5, 0.5
thousand:   .float  1000.0

    .section .sram
    .balign 4
normed:     .zero   N * 4
weights:    .zero   N * 4
printable:  .zero   N * 4
total:      .zero   4

    .section .text
    .globl  _start
_start:
    li      t0, 0x358637bd          # 1e-6 as f32 bits
    csrw    vec.eps, t0
    li      s1, N

    print   "rmsnorm: "
    la      s0, normed
    la      a1, input
    la      a2, gain
    vec.rmsnorm.f32 s0, a1, a2, s1
    call    print_vector
    print   "\n"

    print   "softmax: "
    la      a1, input
    la      s0, weights
    vec.softmax.f32 s0, a1, s1
    call    print_vector
    print   "\n"

    print   "sum: "
    vec.sum.f32 t0, s0, s1
    la      s0, total
    sw      t0, 0(s0)
    li      s1, 1
    call    print_vector
    print   "\n"
    exit

# print_vector: print the s1 elements of the f32 array at s0 with three decimals, blanks between
print_vector:
    addi    sp, sp, -32
    sd      ra, 24(sp)
    sd      s2, 16(sp)
    sd      s3, 8(sp)
    la      s2, printable
    lw      t0, thousand
    vec.scale.f32 s2, s0, t0, s1
    vec.cvt.i32.f32 s2, s2, s1
    sync.fence
    mv      s3, s1
1:  lw      a0, 0(s2)
    call    print_milli
    addi    s2, s2, 4
    addi    s3, s3, -1
    beqz    s3, 2f
    print   " "
    j       1b
2:  ld      s3, 8(sp)
    ld      s2, 16(sp)
    ld      ra, 24(sp)
    addi    sp, sp, 32
    ret

    .include "lib/print.s"
