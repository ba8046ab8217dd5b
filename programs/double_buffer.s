# Double buffering: the DMA engine brings the next tile of weights while the LUT unit works on the current one.
#
# Shows: asynchronous transfers with tags. A `fetch` operation issued under `fetch.tag` signals that tag when it is done;
# `sync.signal.lut` puts a signal behind the LUT unit's work; `sync.wait.fetch` holds back the DMA engine until the buffer is free.
# Tags 1 and 2: buffer 0 and 1 are full. Tags 3 and 4: buffer 0 and 1 are free.
#
# Expected output:
#   tiles: 4
#   checksum: -202086530
#   bytes fetched: 1024

    .include "lib/macros.s"
    .equ    COLUMNS, 64
    .equ    ROW_BYTES, COLUMNS / 4              # t2: four weights a byte
    .equ    TILE_ROWS, 16
    .equ    TILE_BYTES, TILE_ROWS * ROW_BYTES
    .equ    TILES, 4
    .equ    FULL, 1
    .equ    FREE, 3

    .section .flash.weights, "a"
weights:    random_ternary TILES * TILE_BYTES   # (TILES * TILE_ROWS, COLUMNS) t2

    .section .data
activations:
    .set    value, -32
    .rept   COLUMNS
    .byte   value
    .set    value, value + 1
    .endr
    .balign 4
unit_scale: .float  1.0

    .section .sram
    .balign 64
buffers:    .zero   2 * TILE_BYTES
sums:       .zero   TILES * TILE_ROWS * 4

    .section .text
    .globl  _start
_start:
    la      a0, activations
    la      a1, unit_scale
    li      a2, COLUMNS
    lut.build.i8 a0, a1, a2

    la      s0, buffers             # buffer of the current tile
    la      s1, buffers + TILE_BYTES # buffer of the next tile
    la      s2, weights             # next tile in flash
    la      s3, sums                # results of the current tile
    li      s4, TILES               # tiles still to compute
    li      s5, TILE_BYTES
    li      s6, TILE_ROWS
    li      s7, FULL                # tag: current buffer is full
    li      s8, FULL + 1            # tag: next buffer is full
    li      s9, FREE                # tag: current buffer is free
    li      s10, FREE + 1           # tag: next buffer is free

    csrw    fetch.tag, s7
    fetch.copy s0, s2, s5           # first tile
    add     s2, s2, s5
    sync.signal.lut s10             # the other buffer is free from the start

tile:
    addi    s4, s4, -1
    beqz    s4, compute             # no tile after this one
    sync.wait.fetch s10             # the DMA engine waits until the next buffer is free ...
    csrw    fetch.tag, s8
    fetch.copy s1, s2, s5           # ... and fills it while the current tile is computed
    add     s2, s2, s5
compute:
    sync.wait.lut s7                # the LUT unit waits until its tile has come
    lut.mac.t2 s3, s0, s6
    sync.signal.lut s9              # after that the buffer is free again
    addi    s3, s3, TILE_ROWS * 4

    mv      t0, s0                  # exchange the buffers and their tags
    mv      s0, s1
    mv      s1, t0
    mv      t0, s7
    mv      s7, s8
    mv      s8, t0
    mv      t0, s9
    mv      s9, s10
    mv      s10, t0
    bnez    s4, tile

    sync.fence
    print   "tiles: "
    li      a0, TILES
    call    print_int
    print   "\nchecksum: "
    la      t0, sums
    li      t1, TILES * TILE_ROWS
    li      a0, 0
1:  lw      t2, 0(t0)
    slli    t3, a0, 5
    sub     a0, t3, a0              # a0 = 31 * a0 + t2
    addw    a0, a0, t2
    addi    t0, t0, 4
    addi    t1, t1, -1
    bnez    t1, 1b
    call    print_int
    print   "\nbytes fetched: "
    csrr    a0, fetch.bytes
    call    print_int
    print   "\n"
    exit

    .include "lib/print.s"
