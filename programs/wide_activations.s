# Activations of 16 bits in parts of four, as on Slim-Llama: ternary weights, 4 rows x 8 columns, small enough to check by hand.
#
# Shows: `lut.part.i16` and `lut.shift`. The tables of Slim-Llama hold activations of four bits; wider ones take several passes over
# the weights. An activation of 16 bits is cut into four parts, x = p0 + 16 p1 + 256 p2 + 4096 p3: the lower three are 0..15, the
# uppermost -8..7. Each part is a vector of its own, and `lut.mac` adds its product shifted by 0, 4, 8 and 12. Sums are exact, so the
# result is that of the whole activations. Each pass counts its steps: 16 bits take four times those of 4 bits, 8 bits twice.
# `--activations i16x4` compiles models so.
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
    .balign 4
activations:                        # (COLUMNS) integers of 16 bits, in words, as vec.cvt.i32.f32 writes them
    .word   1000, -1, 20000, -32000, 129, -128, 255, 7
unit_scale:
    .float  1.0                     # activations are plain integers here

    .section .sram
    .balign 4
sums:       .zero ROWS * 4          # (ROWS) int32, zero at the start
parts:      .zero PARTS * COLUMNS   # (PARTS, COLUMNS) int8

    .section .text
    .globl  _start
_start:
    la      s0, activations
    la      a0, parts
    la      a1, unit_scale
    li      a2, COLUMNS
    la      a3, sums
    la      a4, weights
    li      a5, ROWS
    li      s1, 0                   # number of the part
1:  lut.part.i16 a0, s0, s1, a2
    lut.build.i8 a0, a1, a2
    slli    t0, s1, 2
    csrw    lut.shift, t0
    lut.mac.t2 a3, a4, a5           # sums[r] += (weights[r] . part) << shift
    bnez    s1, 2f
    csrr    s2, lut.steps           # of the first part
2:  addi    a0, a0, COLUMNS
    addi    s1, s1, 1
    li      t0, PARTS
    bne     s1, t0, 1b
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
