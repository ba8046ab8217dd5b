# A ternary matrix as packed chunks, unpacked on its way to the LUT unit: 3 rows x 16 columns, small enough to check by hand.
#
# Shows: weights that repeat take fewer bytes, without any loss (MEADOW). Four ternary weights are a byte, a chunk. Each chunk that
# occurs stands once in a table, the most frequent first. A row is four numbers of chunks, a packet, with as many bits each as the
# largest of them needs. `fetch.unpack` looks the chunks up while the bytes come, and returns where the next rows begin.
#
# Expected output:
#   row 0: -3
#   row 1: 1
#   row 2: 0
#   packed bytes: 5 of 12

    .include "lib/macros.s"
    .equ    ROWS, 3
    .equ    COLUMNS, 16
    .equ    ROW_BYTES, COLUMNS / 4

# t2 w0, w1, w2, w3: one byte of four ternary codes, each -1, 0 or 1
    .macro  t2 w0, w1, w2, w3
    .byte   (\w0 + 1) | (\w1 + 1) << 2 | (\w2 + 1) << 4 | (\w3 + 1) << 6
    .endm

    .section .data
packets:                            # of each row: the bits of a number, then its numbers, the first in the lowest bits
    .byte   1, 0b0100               # row 0: chunks 0 0 1 0
    .byte   2, 0b01000010          # row 1: chunks 2 0 0 1
    .byte   0                       # row 2: chunks 0 0 0 0 need no bits
activations:                        # (COLUMNS) int8
    .byte   1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16
    .balign 4
scale:
    .float  1.0                     # activations are plain integers here

    .section .sram
table:                              # three chunks of a byte
    t2       0,  0,  0,  0
    t2       1,  0,  0, -1
    t2      -1,  1,  1,  0
    .balign 4
weights:    .zero ROWS * ROW_BYTES  # (ROWS, COLUMNS) t2, once they are unpacked
sums:       .zero ROWS * 4          # (ROWS) int32, zero at the start

    .section .text
    .globl  _start
_start:
    la      t0, table
    csrw    fetch.chunk_table, t0
    csrwi   fetch.chunk_bytes, 1
    csrwi   fetch.table_rows, 3
    csrwi   fetch.row_bytes, ROW_BYTES
    la      a0, weights
    la      a1, packets
    li      a2, 2
    fetch.unpack a1, a0, a1, a2     # rows 0 and 1: now a1 is where row 2 begins
    addi    a0, a0, 2 * ROW_BYTES
    li      a2, 1
    fetch.unpack a1, a0, a1, a2     # the core waits for a1, and so for the weights

    la      a0, activations
    la      a1, scale
    li      a2, COLUMNS
    lut.build.i8 a0, a1, a2
    la      a0, sums
    la      a1, weights
    li      a2, ROWS
    lut.mac.t2 a0, a1, a2
    sync.fence

    la      a0, sums
    li      a1, ROWS
    call    print_rows

    print   "packed bytes: "
    csrr    a0, fetch.bytes
    call    print_int
    print   " of "
    li      a0, ROWS * ROW_BYTES
    call    print_int
    print   "\n"
    exit

    .include "lib/print.s"
