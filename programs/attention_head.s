# Attention of one head over a key-value cache, then over the tokens that matter to it alone.
#
#   scores = K . q / sqrt(HEAD); probabilities = softmax(scores); context = probabilities . V
#
# Shows: the attn unit in AttAcc's order. SETM describes the model, SETH chooses head 2 of 4, WR_GB loads its query; MAC on keys that
# are transposed token by token, as HPIM's SRAM holds them (MV_SB is part of it); SFM; and MAC on the values (with MV_GB).
# Then `thr.topk` lists the three tokens with the highest scores, and the same instructions on that list read three rows of each
# cache instead of eight: clustered and pruned caches are lists too.
#
# Expected output:
#   scores: -3.590 -0.778 5.165 -4.551 0.499 3.273 -1.339 -0.300
#   context: 1.844 1.288 -1.260 -1.610
#   cache bytes: 1024
#   context of 3 tokens: 1.868 1.302 -1.262 -1.615
#   cache bytes: 384

    .include "lib/macros.s"
    .equ    HEADS, 4
    .equ    KV_HEADS, 2                     # two query heads share a head of keys and values
    .equ    HEAD, 16                        # channels
    .equ    TOKENS, 8
    .equ    BUDGET, 3
    .equ    ROW, KV_HEADS * HEAD * 4        # bytes of a token's keys, or values
    .equ    CHOSEN, 2                       # the head; it shares head 1 of the cache

    .section .data
    .balign 64
queries:    random_f32 HEADS * HEAD, 0              # (HEADS, HEAD)
keys:       random_f32 TOKENS * KV_HEADS * HEAD, 0  # (TOKENS, KV_HEADS, HEAD), as they are generated
values:     random_f32 TOKENS * KV_HEADS * HEAD, 0

    .section .sram
    .balign 64
transposed: .zero   KV_HEADS * HEAD * TOKENS * 4    # (KV_HEADS, HEAD, TOKENS)
scores:     .zero   TOKENS * 4
probs:      .zero   TOKENS * 4
context:    .zero   HEAD * 4
best:       .zero   BUDGET * 4                      # tokens
few_scores: .zero   BUDGET * 4
few:        .zero   HEAD * 4
printable:  .zero   TOKENS * 4

    .section .text
    .globl  _start
_start:
    li      a0, HEADS
    li      a1, KV_HEADS
    li      a2, HEAD
    attn.setm a0, a1, a2
    li      a0, CHOSEN
    li      a1, 1
    attn.seth a0, a1
    li      t0, 0x3e800000                  # 0.25 = 1 / sqrt(HEAD)
    csrw    attn.scale, t0

    # ---- a column of the transposed keys for each token, as it comes
    li      t0, TOKENS * 4
    csrw    attn.key_stride, t0
    la      s0, transposed
    la      s1, keys + CHOSEN * KV_HEADS / HEADS * HEAD * 4
    li      s2, 0
1:  attn.xpose.f32 s0, s1, s2
    addi    s1, s1, ROW
    addi    s2, s2, 1
    li      t0, TOKENS
    bne     s2, t0, 1b

    # ---- one step of attention
    csrr    s11, attn.cache_bytes
    la      a0, queries + CHOSEN * HEAD * 4
    attn.wrgb.f32 a0
    la      s3, scores
    attn.xmac.f32 s3, s0, s2                # scores of s2 tokens
    la      s4, probs
    attn.sfm.f32 s4, s3, s2
    la      s5, context
    la      s6, values
    attn.context.f32 s5, s6, s4, s2

    print   "scores:"
    mv      a0, s3
    li      a1, TOKENS
    la      a2, printable
    call    print_vector
    print   "context:"
    mv      a0, s5
    la      a2, printable
    li      a1, 4                           # the first four channels are enough to compare by eye
    call    print_vector
    call    print_bytes

    # ---- the same over a list of tokens; keys by row, for a list names rows
    csrr    s11, attn.cache_bytes
    la      s7, best
    li      s2, BUDGET
    li      t0, TOKENS
    thr.topk.f32 s7, s3, s2, t0
    sync.fence                              # the list is there
    csrw    attn.row_list, s7
    csrwi   attn.key_stride, 0              # packed rows
    la      a1, keys
    la      s3, few_scores
    attn.mac.f32 s3, a1, s2
    attn.sfm.f32 s3, s3, s2
    la      s5, few
    attn.context.f32 s5, s6, s3, s2

    print   "context of 3 tokens:"
    mv      a0, s5
    li      a1, 4
    la      a2, printable
    call    print_vector
    call    print_bytes
    exit

# print_bytes: what has been read of the cache since s11
print_bytes:
    addi    sp, sp, -16
    sd      ra, 8(sp)
    print   "cache bytes: "
    csrr    a0, attn.cache_bytes
    sub     a0, a0, s11
    call    print_int
    print   "\n"
    ld      ra, 8(sp)
    addi    sp, sp, 16
    ret

    .include "lib/print.s"
    .include "lib/vectors.s"
