# Keys that lose channels when they get old: ThinK on one head of attention.
#
# Channels of keys that queries look at with small numbers add little to scores. Which ones these are is decided once; then old keys are
# kept without them, and only the last tokens have whole keys. A score is then one of two kinds:
#
#   old token     sum over the channels that stay of key * query
#   recent token  sum over all channels
#
# Shows: how to rank channels with the vec unit (sums of squares) and `thr.bottomk`; how a list of those that stay is made from a mask
# (`thr.gt`, `thr.index`); `fetch.rows` with rows of one element, which gathers by such a list, of keys and of the query; and two
# `attn.mac` whose scores lie side by side, the first one with heads of fewer channels (`attn.setm`).
#
# Expected output:
#   channels that stay: 0 1 2 4 5
#   scores: 2.212 1.591 3.220 -2.269 -2.429 -3.380 -2.036 -1.125
#   whole:  2.227 1.623 3.234 -2.244 -2.416 -3.380 -2.036 -1.125
#   cache bytes: 196, whole: 256

    .include "lib/macros.s"
    .equ    HEAD, 8                         # channels
    .equ    DROPPED, 3
    .equ    STAY, HEAD - DROPPED
    .equ    TOKENS, 8
    .equ    WINDOW, 3                       # recent tokens, whose keys stay whole and whose queries decide
    .equ    OLD, TOKENS - WINDOW

    .section .data
    .balign 64
keys:       .float  -1.20, -1.32, -0.30,  0.04,  1.02,  0.22, -0.07, -0.16     # (TOKENS, HEAD)
            .float   1.12,  1.63,  0.33, -0.12, -0.86,  3.20,  0.02, -0.35
            .float  -0.13, -1.16, -0.76, -0.05, -0.64,  1.11, -0.01, -0.12
            .float   0.61,  0.83, -1.97, -0.03, -0.88, -0.35, -0.15,  0.00
            .float  -0.06, -0.30, -1.26, -0.04, -0.98, -2.71,  0.03, -0.22
            .float   1.76,  0.72, -2.40,  0.03, -0.99,  0.07,  0.01, -0.40
            .float  -0.35, -0.26,  1.15, -0.12,  0.66, -2.20, -0.04, -0.17
            .float   2.17,  0.57,  2.92,  0.06,  0.76,  1.68, -0.07, -0.01
queries:    .float   2.03, -0.40,  0.23, -0.00,  0.55, -0.73, -0.02,  0.05     # (WINDOW, HEAD); the last one asks
            .float   0.15, -0.86,  1.07, -0.13, -1.08, -2.56,  0.12, -0.07
            .float  -1.46, -1.14,  0.51, -0.11, -1.14,  1.23, -0.14, -0.06

    .section .sram
    .balign 64
squares:    .zero   HEAD * 4
q_squares:  .zero   HEAD * 4
k_squares:  .zero   HEAD * 4
dropped:    .zero   DROPPED * 4
zeros:      .zero   DROPPED * 4
ones:       .zero   HEAD * 4
mask:       .zero   8
channels:   .zero   STAY * 4                # numbers of those that stay, rising
old_keys:   .zero   OLD * STAY * 4          # (OLD, STAY)
query:      .zero   STAY * 4
scores:     .zero   TOKENS * 4
whole:      .zero   TOKENS * 4
printable:  .zero   TOKENS * 4

    .section .text
    .globl  _start
_start:
    # ---- how much each channel matters: the sum of squares of all keys, times that of the last queries
    li      s1, HEAD
    la      a0, keys
    la      a1, k_squares
    li      a2, TOKENS
    call    sum_squares
    la      a0, queries
    la      a1, q_squares
    li      a2, WINDOW
    call    sum_squares
    la      a0, k_squares
    vec.mul.f32 a0, a0, a1, s1              # a1: q_squares

    # ---- the channels that matter least; a mask with ones for all others; their list
    la      a1, dropped
    li      a2, DROPPED
    sync.fence
    thr.bottomk.f32 a1, a0, a2, s1          # the smallest first, of equal ones the lower
    la      a3, ones
    lui     t0, 0x3f800                     # 1.0
    vec.fill.32 a3, t0, s1
    sync.fence
    csrwi   fetch.row_bytes, 4              # an element is a row
    la      a4, zeros
    fetch.scatter a3, a4, a1, a2            # ones[dropped[i]] = 0
    sync.fence
    la      a5, mask
    la      s2, channels
    thr.gt.f32 a5, a3, zero, s1
    thr.index s3, a5, s2, s1                # s3 = STAY

    print   "channels that stay:"
    li      s4, 0
1:  print   " "
    slli    t0, s4, 2
    add     t0, t0, s2
    lw      a0, 0(t0)
    call    print_int
    addi    s4, s4, 1
    bne     s4, s3, 1b
    print   "\n"

    # ---- old keys without the others
    la      s5, keys
    la      s6, old_keys
    li      s4, OLD
2:  fetch.rows s6, s5, s2, s3               # old_keys[i] = keys[i][channels]
    addi    s5, s5, HEAD * 4
    addi    s6, s6, STAY * 4
    addi    s4, s4, -1
    bnez    s4, 2b
    la      s7, queries + (WINDOW - 1) * HEAD * 4
    la      a0, query
    fetch.rows a0, s7, s2, s3               # of the query, too
    sync.fence

    # ---- scores in two parts, side by side
    csrr    s11, attn.cache_bytes
    li      a1, 1                           # one head, on one of keys
    attn.setm a1, a1, s3
    attn.wrgb.f32 a0
    la      a2, scores
    la      a3, old_keys
    li      a4, OLD
    attn.mac.f32 a2, a3, a4
    attn.setm a1, a1, s1
    attn.wrgb.f32 s7
    la      a2, scores + OLD * 4
    li      a4, WINDOW
    attn.mac.f32 a2, s5, a4                 # s5: behind the old keys
    print   "scores:"
    la      a0, scores
    li      a1, TOKENS
    la      a2, printable
    call    print_vector

    # ---- the same with whole keys
    la      a2, whole
    la      a3, keys
    li      a4, TOKENS
    csrr    s7, attn.cache_bytes
    attn.mac.f32 a2, a3, a4
    print   "whole: "
    la      a0, whole
    li      a1, TOKENS
    la      a2, printable
    call    print_vector
    print   "cache bytes: "
    sub     a0, s7, s11
    call    print_int
    print   ", whole: "
    csrr    a0, attn.cache_bytes
    sub     a0, a0, s7
    call    print_int
    print   "\n"
    exit

# sum_squares: the squares of a2 rows at a0, added up in the HEAD elements at a1
sum_squares:
    la      t1, squares
    vec.fill.32 a1, zero, s1
1:  vec.mul.f32 t1, a0, a0, s1
    vec.add.f32 a1, a1, t1, s1
    addi    a0, a0, HEAD * 4
    addi    a2, a2, -1
    bnez    a2, 1b
    ret

    .include "lib/print.s"
    .include "lib/vectors.s"
