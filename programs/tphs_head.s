# Attention of four tokens of a prompt, for one head: token by token, then all tokens at once (MEADOW's TPHS).
#
#   q = Wq . x / sqrt(HEAD); scores = K . q up to the token's own position; probabilities = softmax(scores); context = probabilities . V
#
# Shows: the same instructions in two orders. Keys and values lie in memory outside the scratchpad, those of two heads side by side.
# Token by token, each token fetches the head's part of all rows up to its own (`fetch.copy2d`). With TPHS the rows are fetched once
# and all tokens use them; queries, scores, probabilities and context never leave the scratchpad. The results have the same bits.
#
# Expected output:
#   token by token: context of the last token: -0.100 0.122 -0.204 0.537
#   cache bytes fetched: 3328
#   all tokens:     context of the last token: -0.100 0.122 -0.204 0.537
#   cache bytes fetched: 1024
#   bits that differ: 0

    .include "lib/macros.s"
    .equ    HEAD, 16                        # channels
    .equ    HEADS, 2                        # of keys and values, side by side in a row
    .equ    CHOSEN, 1                       # the head
    .equ    DIM, 32                         # of x
    .equ    BEFORE, 4                       # positions that are in the cache already
    .equ    TOKENS, 4                       # of the chunk
    .equ    POSITIONS, BEFORE + TOKENS
    .equ    PART, HEAD * 4                  # bytes of a head in a row of the cache
    .equ    ROW, HEADS * PART

    .section .data
    .balign 64
x:          random_f32 TOKENS * DIM, -1             # (TOKENS, DIM)
weights:    random_f32 HEAD * DIM, -3               # (HEAD, DIM), of the head's queries
keys:       random_f32 POSITIONS * HEADS * HEAD, -1 # (POSITIONS, HEADS, HEAD)
values:     random_f32 POSITIONS * HEADS * HEAD, -1

    .section .sram
    .balign 64
queries:    .zero   TOKENS * PART
tile:       .zero   POSITIONS * PART                # the head's part of rows that were fetched
scores:     .zero   TOKENS * POSITIONS * 4
first:      .zero   TOKENS * PART                   # contexts, token by token
second:     .zero   TOKENS * PART                   # contexts, all tokens at once
printable:  .zero   4 * 4

    .section .text
    .globl  _start
_start:
    li      t0, PART
    csrw    fetch.row_bytes, t0
    li      t0, ROW
    csrw    fetch.src_stride, t0            # rows in the tile are packed

    # ---- token by token
    li      s0, 0
    la      s6, first
1:  li      s1, 1                           # tokens that share what is fetched
    call    attend
    addi    s0, s0, 1
    li      t0, TOKENS
    bne     s0, t0, 1b
    print   "token by token: "
    la      s8, first
    call    report

    # ---- all tokens, with one fetch of keys and one of values
    csrr    s11, fetch.bytes
    li      s0, 0
    li      s1, TOKENS
    la      s6, second
    call    attend
    print   "all tokens:     "
    la      s8, second
    call    report

    # ---- the same bits?
    la      t0, first
    la      t1, second
    li      t2, TOKENS * HEAD
    li      t3, 0
1:  lwu     t4, 0(t0)
    lwu     t5, 0(t1)
    xor     t4, t4, t5
    or      t3, t3, t4
    addi    t0, t0, 4
    addi    t1, t1, 4
    addi    t2, t2, -1
    bnez    t2, 1b
    mv      s9, t3
    print   "bits that differ: "
    mv      a0, s9
    call    print_int
    print   "\n"
    exit

# attend: tokens s0 .. s0 + s1 - 1 of the chunk; their contexts are rows of s6
attend:
    add     s2, s0, s1                      # the token behind the last one
    addi    s3, s2, BEFORE                  # positions that the last one looks at

    # queries of the head: Wq . x / 4
    mv      s4, s0
2:  li      t0, DIM
    csrw    vec.cols, t0
    csrwi   vec.row_stride, 0
    la      a1, weights
    la      a2, x
    slli    t0, s4, 7                       # 4 * DIM
    add     a2, a2, t0
    jal     t6, rows_of_token
    li      a3, HEAD
    vec.gemv.f32 a4, a1, a2, a3
    li      t0, 0x3e800000                  # 0.25 = 1 / sqrt(HEAD)
    vec.scale.f32 a4, a4, t0, a3
    addi    s4, s4, 1
    bne     s4, s2, 2b

    # keys, once for these tokens; then the scores and probabilities of each, up to its own position
    la      a0, tile
    la      a1, keys + CHOSEN * PART
    fetch.copy2d a0, a1, s3
    sync.fence
    li      t0, HEAD
    csrw    vec.cols, t0
    mv      s4, s0
2:  jal     t6, rows_of_token
    la      a1, tile
    vec.gemv.f32 a5, a1, a4, a6
    vec.softmax.f32 a5, a5, a6
    addi    s4, s4, 1
    bne     s4, s2, 2b
    sync.fence

    # values, once for these tokens; then the context of each
    la      a0, tile
    la      a1, values + CHOSEN * PART
    fetch.copy2d a0, a1, s3
    sync.fence
    mv      s4, s0
2:  jal     t6, rows_of_token
    li      a3, HEAD
    vec.fill.32 a7, zero, a3
    la      a1, tile
    vec.macT.f32 a7, a1, a5, a6
    addi    s4, s4, 1
    bne     s4, s2, 2b
    sync.fence
    ret

# rows_of_token: of token s4: its query a4, its scores a5, how many positions it looks at a6, its context a7
rows_of_token:
    slli    t0, s4, 6                       # PART
    la      a4, queries
    add     a4, a4, t0
    add     a7, s6, t0
    la      a5, scores
    slli    t0, s4, 5                       # 4 * POSITIONS
    add     a5, a5, t0
    addi    a6, s4, BEFORE + 1
    jr      t6

# report: four elements of the last context at s8, and the bytes of the cache that were fetched since s11
report:
    addi    sp, sp, -16
    sd      ra, 8(sp)
    print   "context of the last token:"
    addi    s8, s8, (TOKENS - 1) * PART
    mv      a0, s8
    li      a1, 4                           # the first four channels are enough to compare by eye
    la      a2, printable
    call    print_vector
    print   "cache bytes fetched: "
    csrr    a0, fetch.bytes
    sub     a0, a0, s11
    call    print_int
    print   "\n"
    ld      ra, 8(sp)
    addi    sp, sp, 16
    ret

    .include "lib/print.s"
    .include "lib/vectors.s"
