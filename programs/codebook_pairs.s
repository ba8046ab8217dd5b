# Weights as indices into a codebook, looked up in pairs: 2-bit codes, 4 rows x 8 columns, small enough to check by hand.
#
# Shows: `lut.codebook.i8` and `lut.pairs`. Four values stand in the codebook, and a weight is the number of one. FLUTE makes a table of
# all pairs of values, sixteen here, so that one look-up by two neighbouring codes is two weights. The same product is made twice: the
# results are the same, and pairs take half the steps.
#
# Expected output:
#   row 0: -90
#   row 1: -28
#   row 2: 0
#   row 3: 252
#   steps: 32
#   row 0: -90
#   row 1: -28
#   row 2: 0
#   row 3: 252
#   steps: 16

    .include "lib/macros.s"
    .equ    ROWS, 4
    .equ    COLUMNS, 8

# c2 a, b, c, d: one byte of four codes, each 0..3
    .macro  c2 a, b, c, d
    .byte   \a | \b << 2 | \c << 4 | \d << 6
    .endm

    .section .data
codebook:                           # the weights that the codes 0, 1, 2, 3 stand for
    .byte   -7, -2, 2, 7
weights:                            # (ROWS, COLUMNS) c2, two bytes a row
    c2      0, 1, 2, 3
    c2      0, 1, 2, 3
    c2      3, 3, 3, 3
    c2      3, 3, 3, 3
    c2      1, 1, 1, 1
    c2      2, 2, 2, 2
    c2      3, 0, 3, 0
    c2      3, 0, 3, 0
activations:                        # (COLUMNS) int8
    .byte   1, -2, 3, -4, 5, -6, 7, -8
    .balign 4
unit_scale:
    .float  1.0                     # activations are plain integers here

    .section .sram
    .balign 4
sums:       .zero ROWS * 4          # (ROWS) int32

    .section .text
    .globl  _start
_start:
    la      a0, codebook
    li      a1, 4
    lut.codebook.i8 a0, a1
    la      a0, activations
    la      a1, unit_scale
    li      a2, COLUMNS
    lut.build.i8 a0, a1, a2
    li      s1, 0                   # lut.pairs: first each code by itself, then two at a time
    li      s2, 0                   # steps so far
1:  csrw    lut.pairs, s1
    la      a3, sums
    li      a5, ROWS
    vec.fill.32 a3, zero, a5
    sync.fence
    la      a4, weights
    lut.mac.c2 a3, a4, a5           # sums[r] += codebook[weights[r]] . activations
    sync.fence

    la      a0, sums
    li      a1, ROWS
    call    print_rows
    print   "steps: "
    csrr    a0, lut.steps
    sub     t0, a0, s2
    mv      s2, a0
    mv      a0, t0
    call    print_int
    print   "\n"
    addi    s1, s1, 1
    li      t0, 2
    bne     s1, t0, 1b
    exit

    .include "lib/print.s"
