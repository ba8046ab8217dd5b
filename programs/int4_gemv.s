# Int4 matrix-vector product with a scale per group of weights, from f32 input to f32 output.
#
# Shows: the usual chain of a quantised layer. Activations are quantised to int8 with one scale (absmax), the LUT unit
# multiplies by 4-bit weights bit plane by bit plane, and `lut.gemv` applies the scales of the weight groups and of the
# activations at once. The result is compared with the dense f32 product of the same numbers.
#
# Expected output:
#   row 0: int4 2.745 f32 2.748
#   row 1: int4 2.532 f32 2.554

    .include "lib/macros.s"
    .equ    ROWS, 2
    .equ    COLUMNS, 64
    .equ    GROUP, 32
    .equ    GROUPS, COLUMNS / GROUP

    .section .data
    .balign 4
codes:      random_bytes ROWS * COLUMNS / 2             # (ROWS, COLUMNS) i4, two a byte, two's complement
    .balign 4
scales:                                                 # (ROWS, GROUPS) f32
    .float  0.125, 0.25
    .float  0.0625, 0.5
input:      random_f32 COLUMNS, -1                      # (COLUMNS) f32
thousand:   .float  1000.0

    .section .sram
    .balign 4
quantised:      .zero   COLUMNS                         # (COLUMNS) int8
input_scale:    .zero   4
output:         .zero   ROWS * 4                        # (ROWS) f32 from int4 weights
widened:        .zero   COLUMNS                         # one row of codes as int8
dense_row:      .zero   COLUMNS * 4                     # the same row as f32
dense:          .zero   ROWS * 4                        # (ROWS) f32 from f32 weights
printable:      .zero   2 * 4

    .section .text
    .globl  _start
_start:
    la      a0, quantised
    la      a1, input
    la      a2, input_scale
    li      a3, COLUMNS
    vec.quant.i8 a0, a1, a2, a3     # one scale for all: vec.scale_group is 0 at reset
    sync.fence

    li      t0, GROUP
    lut.build.i8 a0, a2, a3         # one activation scale, as it was quantised
    csrw    lut.scale_group, t0
    la      a0, output
    la      a1, codes
    la      a2, scales
    li      a3, ROWS
    lut.gemv.i4 a0, a1, a2, a3
    sync.fence                      # the vector unit, which scales the output for printing, has a queue of its own

    # the same rows in f32: unpack nibbles with scalar code, scale, dot product
    li      s0, 0                   # row
1:  la      t0, codes
    slli    t1, s0, 5               # COLUMNS / 2 bytes a row
    add     t0, t0, t1
    la      t1, widened
    li      t2, COLUMNS / 2
2:  lb      t3, 0(t0)
    slli    t4, t3, 60
    srai    t4, t4, 60              # low nibble, sign extended
    sb      t4, 0(t1)
    srai    t3, t3, 4               # high nibble
    sb      t3, 1(t1)
    addi    t0, t0, 1
    addi    t1, t1, 2
    addi    t2, t2, -1
    bnez    t2, 2b

    li      t0, GROUP
    csrw    vec.scale_group, t0
    la      a0, dense_row
    la      a1, widened
    la      a2, scales
    slli    t1, s0, 3               # GROUPS scales of 4 bytes a row
    add     a2, a2, t1
    li      a3, COLUMNS
    vec.dequant.i8 a0, a1, a2, a3
    la      a1, input
    vec.dot.f32 t0, a0, a1, a3
    la      t1, dense
    slli    t2, s0, 2
    add     t1, t1, t2
    sw      t0, 0(t1)
    addi    s0, s0, 1
    li      t0, ROWS
    bne     s0, t0, 1b

    li      s0, 0
3:  print   "row "
    mv      a0, s0
    call    print_int
    print   ": int4 "
    la      a0, output
    call    print_element
    print   " f32 "
    la      a0, dense
    call    print_element
    print   "\n"
    addi    s0, s0, 1
    li      t0, ROWS
    bne     s0, t0, 3b
    exit

# print_element: print element s0 of the f32 array at a0 with three decimals
print_element:
    addi    sp, sp, -16
    sd      ra, 8(sp)
    slli    t0, s0, 2
    add     a1, a0, t0
    la      a0, printable
    lw      t0, thousand
    li      a2, 1
    vec.scale.f32 a0, a1, t0, a2
    vec.cvt.i32.f32 a0, a0, a2
    sync.fence
    lw      a0, printable
    call    print_milli
    ld      ra, 8(sp)
    addi    sp, sp, 16
    ret

    .include "lib/print.s"
