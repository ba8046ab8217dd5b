# Binary matrix-vector product by centres and differences, 4 rows x 8 columns, small enough to check by hand.
#
# Shows: output reuse, as on Slim-Llama. The columns are cut into two pieces of four. Each piece of each row is near one of two
# centres, which all pieces share. The products of the centres are made once: the two pieces of the activations are loaded as two
# vectors, so one `lut.mac` makes all four sums. `lut.reuse` adds to each row the sums of its centres. What is left are differences of
# weights, -2, 0 or 2. They are stored halved, as ternary codes, and multiplied with `lut.shift` = 1. Most are zero: in buffer mode
# (`lut.mode` = 1) only the others take a step.
#
# Expected output:
#   row 0: 36
#   row 1: 0
#   row 2: 24
#   row 3: -6
#   differences: 32 of which zero: 30 steps for the others: 2

    .include "lib/macros.s"
    .equ    ROWS, 4
    .equ    COLUMNS, 8
    .equ    PIECES, 2
    .equ    CENTRES, 2

# t2 w0, w1, w2, w3: one byte of four ternary codes, each -1, 0 or 1
    .macro  t2 w0, w1, w2, w3
    .byte   (\w0 + 1) | (\w1 + 1) << 2 | (\w2 + 1) << 4 | (\w3 + 1) << 6
    .endm

    .section .data
centres:                            # (CENTRES, COLUMNS / PIECES) b1: bit 1 is +1, bit 0 is -1
    .byte   0b1111                  #  1  1  1  1
    .byte   0b0101                  #  1 -1  1 -1
assigned:                           # (ROWS, PIECES) u8: the centre of each piece
    .byte   0, 0,  0, 1,  1, 0,  1, 1
differences:                        # (ROWS, COLUMNS) t2: half of what the weights are more than their centres
    t2       0,  0,  0,  0          # row 0:  1  1  1  1 |  1  1  1  1
    t2       0,  0,  0,  0
    t2       0,  0,  0, -1          # row 1:  1  1  1 -1 |  1 -1  1 -1
    t2       0,  0,  0,  0
    t2       0,  0,  0,  0          # row 2:  1 -1  1 -1 |  1  1  1  1
    t2       0,  0,  0,  0
    t2      -1,  0,  0,  0          # row 3: -1 -1  1 -1 |  1 -1  1 -1
    t2       0,  0,  0,  0
activations:                        # (COLUMNS) int8
    .byte   1, 2, 3, 4, 5, 6, 7, 8
    .balign 4
scales:
    .float  1.0, 1.0                # of each vector: activations are plain integers here

    .section .sram
    .balign 4
centre_sums: .zero PIECES * CENTRES * 4     # (PIECES, CENTRES) int32, zero at the start
sums:       .zero ROWS * 4                  # (ROWS) int32, zero at the start

    .section .text
    .globl  _start
_start:
    la      a0, activations
    la      a1, scales
    li      a2, COLUMNS / PIECES
    csrwi   lut.vectors, PIECES     # each piece is a vector
    lut.build.i8 a0, a1, a2

    la      a0, centre_sums
    la      a1, centres
    li      a2, CENTRES
    lut.mac.b1 a0, a1, a2           # 10 -2 of piece 0, 26 -2 of piece 1

    la      a1, sums
    la      a2, assigned
    li      a3, ROWS
    csrwi   lut.pieces, PIECES
    csrwi   lut.centres, CENTRES
    lut.reuse.u8 a1, a0, a2, a3     # sums[r] += centre_sums[0][assigned[r][0]] + centre_sums[1][assigned[r][1]]

    la      a4, activations
    la      a5, scales
    li      a6, COLUMNS
    csrwi   lut.vectors, 0          # all of them are one vector
    lut.build.i8 a4, a5, a6
    csrr    s2, lut.macs_skipped
    csrr    s3, lut.steps
    csrwi   lut.mode, 1             # two activations with a weight a step
    csrwi   lut.shift, 1
    la      a4, differences
    lut.mac.t2 a1, a4, a3           # sums[r] += 2 * (differences[r] . activations)
    sync.fence

    la      a0, sums
    li      a1, ROWS
    call    print_rows

    print   "differences: "
    li      a0, ROWS * COLUMNS
    call    print_int
    print   " of which zero: "
    csrr    a0, lut.macs_skipped
    sub     a0, a0, s2
    call    print_int
    print   " steps for the others: "
    csrr    a0, lut.steps
    sub     a0, a0, s3
    call    print_int
    print   "\n"
    exit

    .include "lib/print.s"
