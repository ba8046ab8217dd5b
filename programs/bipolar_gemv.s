# Bipolar integers, bit plane by bit plane: 2-bit weights x 3-bit activations, 4 rows x 8 columns, small enough to check by hand.
#
# Shows: a number format without zero (APT-LLM). Each bit is worth +1 or -1: a code u of n bits is 2 u - (2^n - 1), an odd number
# from -(2^n - 1) to 2^n - 1. So a product is a sum over pairs of planes, and a pair needs no multiplication: agreements less
# disagreements, times 2^(i + j). `lut.plane` cuts a plane out of the activations, `lut.build.b1` loads it, `lut.xnor` compares it
# with a plane of the weights. Weights are stored by planes: all lower bits, then all upper bits.
#
# Expected output:
#   row 0: -6
#   row 1: 38
#   row 2: -16
#   row 3: 0
#   steps: 24

    .include "lib/macros.s"
    .equ    ROWS, 4
    .equ    COLUMNS, 8
    .equ    WEIGHT_BITS, 2
    .equ    ACTIVATION_BITS, 3

    .section .data
weights:                            # (WEIGHT_BITS, ROWS, COLUMNS) b1, a byte a row
    .byte   0b01110101, 0b10110000, 0b01011010, 0b11111111      # lower bits
    .byte   0b10110011, 0b01101100, 0b01010101, 0b11111111      # upper bits
                                    # row 0:  3  1 -1 -3  3  3 -1  1
                                    # row 1: -3 -3  1  1 -1  3  1 -1
                                    # row 2:  1 -1  1 -1  3 -3  3 -3
                                    # row 3:  3  3  3  3  3  3  3  3
codes:                              # (COLUMNS) u8: activations -7 -5 -3 -1 1 3 5 7
    .byte   0, 1, 2, 3, 4, 5, 6, 7

    .section .sram
    .balign 4
sums:       .zero ROWS * 4          # (ROWS) int32, zero at the start
plane:      .zero COLUMNS / 8       # (COLUMNS) b1: a plane of the activations

    .section .text
    .globl  _start
_start:
    la      a0, plane
    la      a1, codes
    li      a3, COLUMNS
    la      a4, sums
    li      a6, ROWS
    li      s1, 0                   # j, of the activations
1:  lut.plane a0, a1, s1, a3
    lut.build.b1 a0, a3
    la      a5, weights
    li      s2, 0                   # i, of the weights
2:  add     t0, s1, s2
    csrw    lut.shift, t0
    lut.xnor a4, a5, a6             # sums[r] += (agreements - disagreements) << (i + j)
    addi    a5, a5, ROWS * COLUMNS / 8
    addi    s2, s2, 1
    li      t0, WEIGHT_BITS
    bne     s2, t0, 2b
    addi    s1, s1, 1
    li      t0, ACTIVATION_BITS
    bne     s1, t0, 1b
    sync.fence

    la      a0, sums
    li      a1, ROWS
    call    print_rows

    print   "steps: "
    csrr    a0, lut.steps
    call    print_int
    print   "\n"
    exit

    .include "lib/print.s"
