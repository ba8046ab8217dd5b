# Matrix-vector product of 4096 x 1024 in fp16 by GDDR6-AiM's macro forms: eight all-bank MACs.
#
# Shows: the whole life of a matrix in the banks. Every bank has a processor, 32 channels x 16 banks are 512 of them, so a row of each
# bank holds a tile: 512 rows of the matrix, each 1024 fp16 numbers or 64 columns. The input goes once to the global buffer of
# every channel; then, for each tile, WR_BIAS sets the accumulators, one MAC_ABK multiplies a row in all banks of all channels,
# and RD_MAC reads 512 results. The controller opens and closes the rows. A thousandth of what stays in the banks leaves them.
#
# The weights are made here: row r of the matrix is numbers r .. r + 1023 of a pattern, so that a file of 8 MiB is not needed.
#
# Expected output:
#   y[0] = -2.938
#   y[1365] = 4.891
#   y[2730] = 0.061
#   y[4095] = -3.193
#   rows activated: 4096 MAC commands: 16384 MACs: 4194304
#   bytes that stayed in the banks: 8388608 that left: 8192

    .machine gddr6-aim
    .include "lib/macros.s"
    .equ    TILES, 8
    .equ    BANKS, 32 * 16
    .equ    COLUMNS, 64                         # of 32 bytes in a row: 1024 numbers
    .equ    ROW_BYTES, 32 * COLUMNS
    .equ    BANK_BYTES, 16384 * ROW_BYTES       # the mapping is "channel bank row column": from bank to bank
    .equ    HBM, 0x2000000000

    .section .data
    .balign 4
pattern:    random_f16 TILES * BANKS + 1024, -3
input:      random_f16 1024, -1
bias:       .zero 2 * BANKS
thousand:   .float 1000.0

    .section .sram
    .balign 4
output:     .zero 2 * TILES * BANKS             # (4096) f16
widened:    .zero 4 * TILES * BANKS             # (4096) f32, then in thousandths

    .section .text
    .globl  _start
_start:
    li      t0, ROW_BYTES                       # the matrix into the banks, a tile a turn
    csrw    fetch.row_bytes, t0
    csrwi   fetch.src_stride, 2
    li      t0, BANK_BYTES
    csrw    fetch.dst_stride, t0
    li      s0, HBM
    la      s1, pattern
    li      s2, BANKS
    li      s3, TILES
1:  fetch.copy2d s0, s1, s2
    addi    s0, s0, 1024                        # the next row of every bank
    addi    s0, s0, 1024
    addi    s1, s1, 2 * BANKS
    addi    s3, s3, -1
    bnez    s3, 1b
    sync.fence

    li      t0, 0xffffffff                      # the product
    csrw    pim.channel_mask, t0
    la      a0, input
    li      a1, COLUMNS
    pim.wr_gb a0, a1
    la      a2, bias
    la      a3, output
    li      s0, 0
    li      s3, TILES
1:  pim.wr_bias.f16 a2
    pim.mac_abk.f16 a1, s0                      # row s0 of every bank
    pim.rd_mac.f16 a3
    addi    a3, a3, 2 * BANKS
    addi    s0, s0, 1
    bne     s0, s3, 1b
    sync.fence

    la      a0, widened                         # what is printed: thousandths
    la      a1, output
    li      a2, TILES * BANKS
    vec.cvt.f32.f16 a0, a1, a2
    la      a3, thousand
    lw      a3, 0(a3)
    vec.scale.f32 a0, a0, a3, a2
    vec.cvt.i32.f32 a0, a0, a2
    sync.fence
    li      s0, 0
2:  print   "y["
    mv      a0, s0
    call    print_int
    print   "] = "
    la      t0, widened
    slli    t1, s0, 2
    add     t0, t0, t1
    lw      a0, 0(t0)
    call    print_milli
    print   "\n"
    addi    s0, s0, 1365
    li      t0, TILES * BANKS
    blt     s0, t0, 2b

    print   "rows activated: "
    csrr    a0, pim.activations
    call    print_int
    print   " MAC commands: "
    csrr    a0, pim.compute_commands
    call    print_int
    print   " MACs: "
    csrr    a0, pim.macs
    call    print_int
    print   "\nbytes that stayed in the banks: "
    csrr    a0, pim.bytes_stayed
    call    print_int
    print   " that left: "
    csrr    a0, pim.bytes_left
    call    print_int
    print   "\n"
    exit

    .include "lib/print.s"
