# Sparse matrix-vector product, 2 rows x 16 columns, packed by hand: first 2 of 4, then with a bitmask.
#
# Shows: how a matrix with zeros lies in memory, and what the sp unit saves. Of the 32 weights 21 are zero:
#
#       row 0    0  5  0 -3 | 0  0  0  9 | 7  0 -2  0 | 0  0  0  0
#       row 1    1  0  0  2 | 0 -4  6  0 | 0  0  0  0 | 3  0  0 -1
#
# No group of four has more than two that are not zero, so "2 of 4" can hold it: exactly two values of each group, and for
# each value its place in the group, two bits. Where a group has fewer, zeros are stored at its lowest free places. A
# bitmask has a bit for each weight instead, and stores no zeros.
#
# A product needs `sp.build.i8`, which loads the vector, and `sp.meta`, the address of the places or the mask. Both layouts
# give the same sums, for a zero that is left out would add nothing.
#
# Expected output:
#   2 of 4: 69 20 values 16 of metadata 4 products 11 left out 21
#   bitmask: 69 20 values 11 of metadata 4 products 11 left out 21

    .include "lib/macros.s"
    .equ    ROWS, 2
    .equ    COLUMNS, 16

# places p0, p1, q0, q1: one byte of the places of two groups, the first in the lowest bits
    .macro  places p0, p1, q0, q1
    .byte   \p0 | \p1 << 2 | \q0 << 4 | \q1 << 6
    .endm

    .section .data
values_2_of_4:                          # (ROWS, 8) int8: two of each group
    .byte   5, -3,   0, 9,   7, -2,   0, 0
    .byte   1, 2,   -4, 6,   0, 0,    3, -1
places_2_of_4:                          # (ROWS, 8) two bits each: a row is two bytes
    places  1, 3,  0, 3                 # the 9 stands at place 3, the stored zero at the lowest free place, 0
    places  0, 2,  0, 1                 # a group of zeros stores places 0 and 1
    places  0, 3,  1, 2
    places  0, 1,  0, 3
values_masked:                          # the values that are not zero, row after row
    .byte   5, -3, 9, 7, -2
    .byte   1, 2, -4, 6, 3, -1
mask:                                   # (ROWS, COLUMNS) bits, the first column in the lowest bit
    .byte   0b10001010, 0b00000101      # columns 1 3 7, then 8 10
    .byte   0b01101001, 0b10010000      # columns 0 3 5 6, then 12 15
input:                                  # (COLUMNS) int8
    .byte   1, 2, 3, 4, 5, 6, 7, 8, -1, -2, -3, -4, -5, -6, -7, -8
    .balign 4
unit_scale:
    .float  1.0                         # the input is plain integers here

    .section .sram
    .balign 4
sums:   .zero   ROWS * 4                # (ROWS) int32

    .section .text
    .globl  _start
_start:
    la      a0, input
    la      a1, unit_scale
    li      a2, COLUMNS
    sp.build.i8 a0, a1, a2              # stays in the unit for both products

    li      t0, 2 | 4 << 8              # N and M; this is also what sp.nm has at reset
    csrw    sp.nm, t0
    la      t0, places_2_of_4
    csrw    sp.meta, t0
    la      a0, sums
    la      a1, values_2_of_4
    li      a2, ROWS
    sp.mac.nm.i8 a0, a1, a2             # sums[r] += row r . input
    sync.fence                          # results are visible to scalar loads from here
    print   "2 of 4: "
    call    report

    la      a0, sums                    # sp.mac adds to what is there
    sw      zero, 0(a0)
    sw      zero, 4(a0)
    la      t0, mask
    csrw    sp.meta, t0
    la      a1, values_masked
    li      a2, ROWS
    sp.mac.bm.i8 a0, a1, a2             # sp.block is 1 at reset: a bit for each column
    sync.fence
    print   "bitmask: "
    call    report
    exit

# report: print the sums, and what the counters have grown by since the last report (s1, s2, s3, s4)
report:
    addi    sp, sp, -16
    sd      ra, 8(sp)
    lw      a0, sums
    call    print_int
    print   " "
    lw      a0, sums + 4
    call    print_int
    print   " values "
    csrr    t0, sp.values
    sub     a0, t0, s1
    mv      s1, t0
    call    print_int
    print   " of metadata "
    csrr    t0, sp.meta_bytes
    sub     a0, t0, s2
    mv      s2, t0
    call    print_int
    print   " products "
    csrr    t0, sp.macs
    sub     a0, t0, s3
    mv      s3, t0
    call    print_int
    print   " left out "
    csrr    t0, sp.macs_skipped
    sub     a0, t0, s4
    mv      s4, t0
    call    print_int
    print   "\n"
    ld      ra, 8(sp)
    addi    sp, sp, 16
    ret

    .include "lib/print.s"
