# One tile of a digital CIM, step by step: a matrix of 2 rows x 8 columns, 2 of 4, in one macro of FlexCiM.
#
# Shows: where the values of a sparse matrix stand in the cells, how a column of cells becomes a sum, and that weights which stay
# in a macro are not loaded again.
#
#       row 0    0  5  0 -3 | 7  0  0  0         cells   5 -3  7  0     places  1 3 0 1
#       row 1    1  0  0  2 | 0 -4  6  0         cells   1  2 -4  6     places  0 3 1 2
#
# A row of the matrix goes into a column of the macro. Cell c of a column is in sub-macro c mod 4. Its place says which of the four
# inputs of its group it multiplies: the upper bit chooses a pair, the lower bit one of the pair. Each sub-macro adds up its own
# cells, then the four sums are merged.
#
# The program first does this for row 0 with scalar instructions, then `cim.load.nm` and `cim.mac` do it for both rows. A second
# vector needs no second load.
#
# Expected output:
#   row 0 by hand: sub-macros 10 -12 35 0 together 33
#   first vector: 33 27 columns written 2 cells 8 steps 1 selected 8 added up 6
#   second vector: 9 5 columns written 0 cells 0 steps 1 selected 8 added up 6

    .machine flexcim
    .include "lib/macros.s"
    .equ    ROWS, 2
    .equ    COLUMNS, 8
    .equ    CELLS, 4                    # of a column: two for each group of four
    .equ    SUB_MACROS, 4

    .section .data
values:                                 # (ROWS, CELLS) int8
    .byte   5, -3,  7, 0
    .byte   1, 2,  -4, 6
places:                                 # (ROWS, CELLS) two bits each, the first in the lowest: a row is a byte
    .byte   1 | 3 << 2 | 0 << 4 | 1 << 6
    .byte   0 | 3 << 2 | 1 << 4 | 2 << 6
first:                                  # (COLUMNS) int8
    .byte   1, 2, 3, 4, 5, 6, 7, 8
second:
    .byte   1, 1, 1, 1, 1, 1, 1, 1
    .balign 4
unit_scale:
    .float  1.0                         # the vectors are plain integers here

    .section .sram
    .balign 4
by_hand: .zero  SUB_MACROS * 4          # (SUB_MACROS) int32
sums:   .zero   ROWS * 4                # (ROWS) int32

    .section .text
    .globl  _start
_start:
    # row 0 by hand: s2 is the number of the cell
    la      s3, by_hand
    lbu     s4, places                  # the places of row 0
    li      s2, 0
1:  srli    t0, s2, 1                   # the group of the cell: two cells each
    slli    t0, t0, 2                   # its first input
    andi    t1, s4, 3                   # the place of the cell
    srli    s4, s4, 2
    andi    t2, t1, 2                   # the multiplexer chooses a pair ...
    add     t0, t0, t2
    andi    t2, t1, 1                   # ... and the cell one of the two
    add     t0, t0, t2
    la      t1, first
    add     t1, t1, t0
    lb      t1, 0(t1)                   # the input
    la      t2, values
    add     t2, t2, s2
    lb      t2, 0(t2)                   # the weight
    mul     t1, t1, t2
    andi    t0, s2, SUB_MACROS - 1      # the sub-macro of the cell
    slli    t0, t0, 2
    add     t0, t0, s3
    lw      t2, 0(t0)
    add     t2, t2, t1
    sw      t2, 0(t0)                   # its adder tree
    addi    s2, s2, 1
    li      t0, CELLS
    bne     s2, t0, 1b

    print   "row 0 by hand: sub-macros"
    li      s2, SUB_MACROS
    li      s4, 0
2:  print   " "
    lw      a0, 0(s3)
    add     s4, s4, a0                  # merging
    call    print_int
    addi    s3, s3, 4
    addi    s2, s2, -1
    bnez    s2, 2b
    print   " together "
    mv      a0, s4
    call    print_int
    print   "\n"

    # the same by the unit, for both rows: the tile goes into macro 0
    li      t0, 2 | 4 << 8              # N and M; this is also what cim.nm has at reset
    csrw    cim.nm, t0
    csrwi   cim.cols, COLUMNS
    la      t0, places
    csrw    cim.meta, t0
    csrwi   cim.first, 0
    la      a0, values
    li      s0, ROWS
    cim.load.nm a0, s0                  # a column of the macro for each row

    print   "first vector: "
    la      a0, first
    call    product
    print   "second vector: "
    la      a0, second
    call    product                     # the tile is still there
    exit

# product: the sums of the matrix and the vector at a0; what the counters have grown by since the last product (s5 to s9)
product:
    addi    sp, sp, -16
    sd      ra, 8(sp)
    la      t0, unit_scale
    csrw    cim.x_scales, t0
    li      a1, COLUMNS
    cim.build.i8 a0, a1
    la      a0, sums                    # cim.mac adds to what is there
    sw      zero, 0(a0)
    sw      zero, 4(a0)
    cim.mac a0, zero, s0                # the matrix in macros from 0 on
    sync.fence                          # results are visible to scalar loads from here
    lw      a0, sums
    call    print_int
    print   " "
    lw      a0, sums + 4
    call    print_int
    print   " columns written "
    csrr    t0, cim.lines_written
    sub     a0, t0, s5
    mv      s5, t0
    call    print_int
    print   " cells "
    csrr    t0, cim.cells_written
    sub     a0, t0, s6
    mv      s6, t0
    call    print_int
    print   " steps "
    csrr    t0, cim.steps
    sub     a0, t0, s7
    mv      s7, t0
    call    print_int
    print   " selected "
    csrr    t0, cim.mux_selects
    sub     a0, t0, s8
    mv      s8, t0
    call    print_int
    print   " added up "
    csrr    t0, cim.merges
    sub     a0, t0, s9
    mv      s9, t0
    call    print_int
    print   "\n"
    ld      ra, 8(sp)
    addi    sp, sp, 16
    ret

    .include "lib/print.s"
