# Matrix-vector product of 64 x 256 in fp16 by a micro-program of Samsung's HBM-PIM, step by step, in one pseudo-channel.
#
# Shows: all that a memory controller does for it. A block works for an even and an odd bank; eight blocks have eight accumulators
# each (GRF_B), one for each output, of 16 lanes. The even banks hold the weights of inputs 0..127, the odd banks those of 128..255:
# bank 2 * b + h, row r, column 8 * i + j has W[8 * b + j][128 * h + 64 * r + 16 * i ...], 16 numbers. In SB the weights are written,
# in HAB registers are, and in HAB_PIM every read of a column makes all blocks multiply: one command, 128 MACs. In address-aligned
# mode (aam) row and column say which registers take part: GRF_A[4 * r + i] and GRF_B[j]. The lanes are added up by the host.
#
# The weights are made here: W[o][k] is number o + k of a pattern, so that a matrix of 32 KiB is not needed.
#
# Expected output:
#   y[0] = -1.966
#   y[21] = 1.787
#   y[42] = -1.361
#   y[63] = -0.965
#   commands that computed: 136 MACs: 16384
#   rows activated: 80 bytes that stayed in the banks: 34816

    .machine hbm2-pim
    .include "lib/macros.s"
    .equ    BANKS, 16
    .equ    COLUMNS, 32
    .equ    RESULT_ROW, 2

    .section .data
    .balign 4
pattern:    random_f16 64 + 256, -3
input:      random_f16 256, -1
thousand:   .float 1000.0

    .balign 4
program:                                        # 64 reads of even banks, 64 of odd ones, 8 writes to odd ones
    .crf    mac grf_b[0], grf_a[0], even_bank, aam
    .crf    jump 7, 2                           # aam takes eight commands; seven times back to it
    .crf    mac grf_b[0], grf_a[0], odd_bank, aam
    .crf    jump 7, 2
    .crf    nop 7                               # a write to a NOP stores GRF_B in the odd banks
    .crf    exit
    .crf    exit
    .crf    exit

    .section .sram
    .balign 4
partial:    .zero 2 * 16 * 64                   # (64 outputs, 16 lanes) f16
widened:    .zero 4 * 16 * 64
output:     .zero 4 * 64                        # (64) f32, then in thousandths

    .section .text
    .globl  _start
_start:
    csrwi   pim.channel_mask, 1                 # channel 0 alone

    li      s0, 0                               # SB: the weights, bank by bank (s0), row by row (s1), column by column (s2)
1:  li      s1, 0
2:  pim.act s0, s1
    li      s2, 0
3:  andi    t0, s0, 1                           # the input that the column begins with: 128 * (s0 % 2) + 64 * s1 + 16 * (s2 / 8)
    slli    t0, t0, 7
    slli    t1, s1, 6
    add     t0, t0, t1
    andi    t1, s2, ~7
    slli    t1, t1, 1
    add     t0, t0, t1
    andi    t1, s0, ~1                          # its output: 8 * (s0 / 2) + s2 % 8
    slli    t1, t1, 2
    add     t0, t0, t1
    andi    t1, s2, 7
    add     t0, t0, t1
    slli    t0, t0, 1
    la      a0, pattern
    add     a0, a0, t0
    pim.wr  a0, s0, s2
    addi    s2, s2, 1
    li      t0, COLUMNS
    bne     s2, t0, 3b
    pim.pre s0
    addi    s1, s1, 1
    li      t0, 2
    bne     s1, t0, 2b
    addi    s0, s0, 1
    li      t0, BANKS
    bne     s0, t0, 1b

    pim.mode.hab                                # HAB: the micro-program
    la      a0, program
    pim.wr.crf a0, zero
    li      t0, 2
    pim.mode.hab_pim t0                         # HAB_PIM: from its start, GRF_B = 0

    la      s3, input
    li      s0, 0                               # parity: even banks, then odd ones
4:  li      s1, 0
5:  pim.wr.grf_a s3, s1                         # 128 inputs, the same in every block
    addi    s3, s3, 32
    addi    s1, s1, 1
    li      t0, 8
    bne     s1, t0, 5b
    li      s1, 0                               # rows 0 and 1
6:  pim.act.hab s0, s1
    li      s2, 0
7:  pim.rd.pim s0, s2                           # 8 blocks x 16 lanes multiply and add
    addi    s2, s2, 1
    li      t0, COLUMNS
    bne     s2, t0, 7b
    pim.pre.hab s0
    addi    s1, s1, 1
    li      t0, 2
    bne     s1, t0, 6b
    addi    s0, s0, 1
    bne     s0, t0, 4b

    li      s0, 1                               # the accumulators to the odd banks
    li      s1, RESULT_ROW
    pim.act.hab s0, s1
    li      s2, 0
8:  pim.wr.pim s0, s2
    addi    s2, s2, 1
    li      t0, 8
    bne     s2, t0, 8b
    pim.pre.ab
    pim.mode.hab
    pim.mode.sb

    la      a0, partial                         # SB again: read them
    li      s0, 1
9:  pim.act s0, s1
    li      s2, 0
10: pim.rd  a0, s0, s2
    addi    a0, a0, 32
    addi    s2, s2, 1
    li      t0, 8
    bne     s2, t0, 10b
    pim.pre s0
    addi    s0, s0, 2
    li      t0, BANKS
    blt     s0, t0, 9b
    sync.fence

    la      a0, widened                         # the host adds up the lanes
    la      a1, partial
    li      a2, 16 * 64
    vec.cvt.f32.f16 a0, a1, a2
    la      s1, output
    li      s2, 64
    li      a2, 16
11: vec.sum.f32 t0, a0, a2
    sw      t0, 0(s1)
    addi    a0, a0, 4 * 16
    addi    s1, s1, 4
    addi    s2, s2, -1
    bnez    s2, 11b

    la      a0, output                          # what is printed: thousandths
    li      a2, 64
    la      a3, thousand
    lw      a3, 0(a3)
    vec.scale.f32 a0, a0, a3, a2
    vec.cvt.i32.f32 a0, a0, a2
    sync.fence
    li      s0, 0
12: print   "y["
    mv      a0, s0
    call    print_int
    print   "] = "
    la      t0, output
    slli    t1, s0, 2
    add     t0, t0, t1
    lw      a0, 0(t0)
    call    print_milli
    print   "\n"
    addi    s0, s0, 21
    li      t0, 64
    blt     s0, t0, 12b

    print   "commands that computed: "
    csrr    a0, pim.compute_commands
    call    print_int
    print   " MACs: "
    csrr    a0, pim.macs
    call    print_int
    print   "\nrows activated: "
    csrr    a0, pim.activations
    call    print_int
    print   " bytes that stayed in the banks: "
    csrr    a0, pim.bytes_stayed
    call    print_int
    print   "\n"
    exit

    .include "lib/print.s"
