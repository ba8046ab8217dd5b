# Sparse 1 x 1 convolution from a run-length stream, 2 x 2 pixels of 4 channels to 3 outputs, step by step.
#
# Shows: how weights with zeros lie in flash on a microcontroller (TinyFormer), and what one instruction does with them.
#
#       output 0    0  5  0 -3          the same 12 weights in a row, in blocks of two that begin where the next one is that is
#       output 1    0  0  9  0          not zero:    0 [5  0][-3 0] 0 [9  0][2  0] 0 [1  .]
#       output 2    2  0  0  1
#
# In front of each block stands how far it is from the last weight of the block before (at first from weight 0), plus 128. The last
# block goes on behind the end; what it has there must be 0.
#
# The core reads the stream first: each weight is added to the sums of all pixels, times the pixel's channel. `vec.requant.i8` makes
# int8 of the sums. Then `sp.conv.rl.i8` does all of it. Here the stream is longer than the 12 weights; with 70 % zeros in blocks of
# two it has less than half of their bytes.
#
# Expected output:
#   output 0 channel 1: 5
#   output 0 channel 3: -3
#   output 1 channel 2: 9
#   output 2 channel 0: 2
#   output 2 channel 3: 1
#   by hand: 5 8 5 9 26 11 7 -19 -1 -24 -50 22
#   sp.conv: 5 8 5 9 26 11 7 -19 -1 -24 -50 22
#   products 20 left out 28 bytes 15

    .include "lib/macros.s"
    .equ    CHANNELS, 4
    .equ    OUTPUTS, 3
    .equ    PIXELS, 4
    .equ    BLOCK, 2
    .equ    X_OFFSET, 1                 # added to each element of the image

    .section .data
stream:
    .byte   128 + 1, 5, 0               # 0 + 1: weight 1
    .byte   128 + 1, -3, 0              # the block has ended at weight 2; 2 + 1
    .byte   128 + 2, 9, 0               # 4 + 2
    .byte   128 + 1, 2, 0               # 7 + 1
    .byte   128 + 2, 1, 0               # 9 + 2; weight 12 is there no more
stream_end:
image:                                  # (PIXELS, CHANNELS) int8
    .byte   1, 2, 3, 4,   5, 6, 7, 8,   -1, -2, -3, -4,   10, 0, -10, 20
shift:  .byte   0
    .balign 4
bias:   .word   10, -20, 0              # of each output
half:   .word   1 << 30                 # times 2**31: what results are of their sums

    .section .sram
    .balign 4
sums:   .zero   PIXELS * OUTPUTS * 4    # int32
by_hand:
        .zero   PIXELS * OUTPUTS        # int8
by_unit:
        .zero   PIXELS * OUTPUTS

    .section .text
    .globl  _start
_start:
    la      s0, stream
    la      s1, stream_end
    li      s2, 0                       # the weight that the stream has come to

next_block:
    bgeu    s0, s1, all_read
    lbu     t0, 0(s0)
    addi    t0, t0, 128
    andi    t0, t0, 255
    add     s2, s2, t0                  # the distance
    addi    t1, s0, 1
    bgeu    t1, s1, block
    lbu     t2, 0(t1)
    bnez    t2, block
    addi    s0, s0, 2                   # an escape: no block begins with 0. There is none here
    j       next_block
block:
    li      s3, 0                       # a weight of the block
one_weight:
    add     t0, s2, s3
    add     t1, s0, s3
    lb      s4, 1(t1)
    beqz    s4, weight_done
    li      t2, CHANNELS
    divu    s5, t0, t2                  # its output
    remu    s6, t0, t2                  # its channel
    print   "output "
    mv      a0, s5
    call    print_int
    print   " channel "
    mv      a0, s6
    call    print_int
    print   ": "
    mv      a0, s4
    call    print_int
    print   "\n"
    la      t0, image
    add     t0, t0, s6
    la      t1, sums
    slli    t2, s5, 2
    add     t1, t1, t2
    li      t2, PIXELS
one_pixel:                              # sums[pixel, output] += (image[pixel, channel] + X_OFFSET) * weight
    lb      t3, 0(t0)
    addi    t3, t3, X_OFFSET
    mul     t3, t3, s4
    lw      t4, 0(t1)
    add     t4, t4, t3
    sw      t4, 0(t1)
    addi    t0, t0, CHANNELS
    addi    t1, t1, 4 * OUTPUTS
    addi    t2, t2, -1
    bnez    t2, one_pixel
weight_done:
    addi    s3, s3, 1
    li      t0, BLOCK
    blt     s3, t0, one_weight
    addi    s2, s2, BLOCK - 1
    addi    s0, s0, 1 + BLOCK
    j       next_block

all_read:
    la      t0, bias
    csrw    vec.bias, t0
    la      t0, half
    csrw    vec.multipliers, t0
    la      t0, shift
    csrw    vec.shifts, t0
    csrwi   vec.outputs, OUTPUTS
    csrwi   vec.offsets, X_OFFSET       # of the other operand and of results: 0
    la      a0, by_hand
    la      a1, sums
    li      a2, PIXELS
    vec.requant.i8 a0, a1, a2

    csrwi   vec.cols, CHANNELS
    li      t0, 1 << 16 | PIXELS        # a line of four windows, of one pixel each
    csrw    vec.windows, t0
    csrwi   vec.step, CHANNELS
    csrwi   sp.block, BLOCK
    li      t0, stream_end - stream
    csrw    sp.stream, t0
    la      a0, by_unit
    la      a1, image
    la      a2, stream
    sp.conv.rl.i8 a0, a1, a2
    sync.fence                          # results are visible to scalar loads from here

    print   "by hand:"
    la      s0, by_hand
    call    print_results
    print   "sp.conv:"
    la      s0, by_unit
    call    print_results
    print   "products "
    csrr    a0, sp.macs
    call    print_int
    print   " left out "
    csrr    a0, sp.macs_skipped
    call    print_int
    print   " bytes "
    csrr    a0, sp.weight_bytes
    csrr    t0, sp.meta_bytes
    add     a0, a0, t0
    call    print_int
    print   "\n"
    exit

# print_results: PIXELS * OUTPUTS int8 at s0
print_results:
    addi    sp, sp, -16
    sd      ra, 8(sp)
    li      s1, PIXELS * OUTPUTS
one_result:
    print   " "
    lb      a0, 0(s0)
    call    print_int
    addi    s0, s0, 1
    addi    s1, s1, -1
    bnez    s1, one_result
    print   "\n"
    ld      ra, 8(sp)
    addi    sp, sp, 16
    ret

    .include "lib/print.s"
