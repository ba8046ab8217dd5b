# Activations of 16 bits in parts of four, as on Slim-Llama: ternary weights, 4 rows x 8 columns, small enough to check by hand.
#
# Shows: `lut.shift`. The tables of Slim-Llama hold activations of four bits; wider ones take several passes over the weights. The core
# cuts each activation into four parts of -8..7, so that x = p0 + 16 p1 + 256 p2 + 4096 p3. Each part is a vector of its own, and
# `lut.mac` adds its product shifted by 0, 4, 8 and 12. Sums are exact, so the result is that of the whole activations. Each pass
# counts its steps: 16 bits take four times those of 4 bits, 8 bits twice.
#
# Expected output:
#   row 0: -10738
#   row 1: 19135
#   row 2: 32129
#   row 3: 53001
#   steps of a part: 7 of all: 28

    .include "lib/macros.s"
    .equ    ROWS, 4
    .equ    COLUMNS, 8
    .equ    PARTS, 4

# t2 w0, w1, w2, w3: one byte of four ternary weights, each -1, 0 or 1
    .macro  t2 w0, w1, w2, w3
    .byte   (\w0 + 1) | (\w1 + 1) << 2 | (\w2 + 1) << 4 | (\w3 + 1) << 6
    .endm

    .section .data
weights:                            # (ROWS, COLUMNS) t2, two bytes a row
    t2       1,  1,  1,  1
    t2       1,  1,  1,  1
    t2      -1,  0,  1,  0
    t2       0, -1,  0,  1
    t2       0,  0,  0, -1
    t2       1,  0,  0,  0
    t2       1, -1,  1, -1
    t2       0,  0,  0,  0
activations:                        # (COLUMNS) int16
    .half   1000, -1, 20000, -32000, 129, -128, 255, 7
    .balign 4
unit_scale:
    .float  1.0                     # activations are plain integers here

    .section .sram
    .balign 4
sums:       .zero ROWS * 4          # (ROWS) int32, zero at the start
parts:      .zero PARTS * COLUMNS   # (PARTS, COLUMNS) int8

    .section .text
    .globl  _start
_start:
    la      t0, activations
    la      t1, parts
    li      t2, COLUMNS
1:  lh      t3, 0(t0)               # an activation, cut into its parts
    mv      t4, t1
    li      t5, PARTS
2:  addi    t6, t3, 8
    andi    t6, t6, 15
    addi    t6, t6, -8              # its lowest four bits as -8..7
    sb      t6, 0(t4)
    sub     t3, t3, t6
    srai    t3, t3, 4
    addi    t4, t4, COLUMNS
    addi    t5, t5, -1
    bnez    t5, 2b
    addi    t0, t0, 2
    addi    t1, t1, 1
    addi    t2, t2, -1
    bnez    t2, 1b

    la      a0, parts
    la      a1, unit_scale
    li      a2, COLUMNS
    la      a3, sums
    la      a4, weights
    li      a5, ROWS
    li      s1, 0                   # how far the part is shifted
3:  lut.build.i8 a0, a1, a2
    csrw    lut.shift, s1
    lut.mac.t2 a3, a4, a5           # sums[r] += (weights[r] . part) << shift
    bnez    s1, 4f
    csrr    s2, lut.steps           # of the first part
4:  addi    a0, a0, COLUMNS
    addi    s1, s1, 4
    li      t0, 4 * PARTS
    bne     s1, t0, 3b
    sync.fence

    la      a0, sums
    li      a1, ROWS
    call    print_rows

    print   "steps of a part: "
    mv      a0, s2
    call    print_int
    print   " of all: "
    csrr    a0, lut.steps
    call    print_int
    print   "\n"
    exit

    .include "lib/print.s"
