# Ternary LUT matrix-vector product, 4 rows x 8 columns, small enough to check by hand.
#
# Shows: the two steps of the LUT unit. `lut.build` takes int8 activations and builds a table over every group of four;
# `lut.mac` then walks the weight codes and adds one table entry per group, so no weight is ever multiplied.
# A group whose four weights are all zero costs nothing and is counted as skipped.
#
# Weights are ternary codes, four to a byte, first weight in the low bits: code 0 is -1, code 1 is 0, code 2 is +1.
#
# Expected output:
#   row 0: 36
#   row 1: -36
#   row 2: 10
#   row 3: 0
#   look-ups: 5 groups skipped: 3

    .include "lib/macros.s"
    .equ    ROWS, 4
    .equ    COLUMNS, 8

# t2 w0, w1, w2, w3: one byte of four ternary weights, each -1, 0 or 1
    .macro  t2 w0, w1, w2, w3
    .byte   (\w0 + 1) | (\w1 + 1) << 2 | (\w2 + 1) << 4 | (\w3 + 1) << 6
    .endm

    .section .data
weights:                            # (ROWS, COLUMNS) t2, two bytes a row
    t2       1,  1,  1,  1
    t2       1,  1,  1,  1
    t2      -1, -1, -1, -1
    t2      -1, -1, -1, -1
    t2       1,  1,  1,  1
    t2       0,  0,  0,  0
    t2       0,  0,  0,  0
    t2       0,  0,  0,  0
activations:                        # (COLUMNS) int8
    .byte   1, 2, 3, 4, 5, 6, 7, 8
    .balign 4
unit_scale:
    .float  1.0                     # activations are plain integers here

    .section .sram
    .balign 4
sums:       .zero ROWS * 4          # (ROWS) int32 accumulators, zero at the start

    .section .text
    .globl  _start
_start:
    la      a0, activations
    la      a1, unit_scale
    li      a2, COLUMNS
    lut.build.i8 a0, a1, a2         # two tables, one per group of four activations

    la      a0, sums
    la      a1, weights
    li      a2, ROWS
    lut.mac.t2 a0, a1, a2           # sums[r] += weights[r] . activations
    sync.fence                      # results are visible to scalar loads from here

    li      s0, 0
    la      s1, sums
1:  print   "row "
    mv      a0, s0
    call    print_int
    print   ": "
    lw      a0, 0(s1)
    call    print_int
    print   "\n"
    addi    s0, s0, 1
    addi    s1, s1, 4
    li      t0, ROWS
    bne     s0, t0, 1b

    print   "look-ups: "
    csrr    a0, lut.lookups
    call    print_int
    print   " groups skipped: "
    csrr    a0, lut.groups_skipped
    call    print_int
    print   "\n"
    exit

    .include "lib/print.s"
