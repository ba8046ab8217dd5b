# A prompt that shrinks on its way, as SlimInfer does it: which tokens go on to the next layers?
#
#   mean query = mean of the last LAST queries          unit score  = mean query . mean of the unit's keys
#   block score = its best unit                         first and last block stay; then the best, while they fit into the budget
#
# 24 tokens in blocks of 4, units of 2, keys of 2 channels: small enough to check by hand. The mean query is (0.5, 0.5), so the score
# of a unit is half the sum of its mean key. Of the four blocks between the first and the last two have room in a budget of 16 tokens.
#
# Expected output:
#   score of block 1: 0.500
#   score of block 2: 1.000
#   score of block 3: -0.250
#   score of block 4: 0.750
#   tokens that go on: 0 1 2 3 8 9 10 11 16 17 18 19 20 21 22 23
#   their hidden states begin with: 0.000 0.500 1.000 1.500 4.000 4.500 5.000 5.500

    .include "lib/macros.s"
    .equ    TOKENS, 24
    .equ    BLOCK, 4                        # tokens of a block
    .equ    UNIT, 2                         # tokens of a unit
    .equ    LAST, 2                         # queries that ask
    .equ    BUDGET, 16                      # tokens that go on at most
    .equ    D, 2                            # channels of a key; a hidden state has one element
    .equ    BETWEEN, TOKENS / BLOCK - 2     # blocks between the first and the last
    .equ    ROOM, BUDGET / BLOCK - 2        # how many of them stay

    .section .data
    .balign 64
keys:                                       # (TOKENS, D) f32, of the layer before the cut
    .rept   2 * BLOCK
    .float  0.0                             # block 0: it stays whatever its keys are
    .endr
    .float   1, 0,   0, 1,  -1, 0,   0, -1  # block 1: mean keys (0.5, 0.5) and (-0.5, -0.5): 0.5
    .float   2, 0,   1, 1,   0, 0,   0, 0   # block 2: (1.5, 0.5): 1.0
    .float  -1, 0,   0, -1,  0, 0,  -1, 0   # block 3: (-0.5, -0.5) and (-0.5, 0): -0.25
    .float   0, 1,   2, 0,   1, 0,   0, 0   # block 4: (1, 0.5) and (0.5, 0): 0.75
    .rept   2 * BLOCK
    .float  0.0                             # block 5: the last one
    .endr
queries:    .float 1, 0,  0, 1              # (LAST, D) f32, of the last tokens
states:                                     # (TOKENS, 1) f32: half the token's number, so that we see which one it is
    .float  0, 0.5, 1, 1.5
    .float  2, 2.5, 3, 3.5
    .float  4, 4.5, 5, 5.5
    .float  6, 6.5, 7, 7.5
    .float  8, 8.5, 9, 9.5
    .float  10, 10.5, 11, 11.5
places:                                     # (TOKENS) u32: positions, which the next layers rotate queries and keys by
    .set    token, 0
    .rept   TOKENS
    .word   token
    .set    token, token + 1
    .endr
thousand:   .float 1000.0
one:        .float 1.0
of_a_unit:  .float 0.5, 0.5                 # (UNIT) f32: 1 / UNIT for each key; 1 / LAST is the same here

    .section .sram
    .balign 64
mean_query: .zero   D * 4
mean_key:   .zero   D * 4
units:      .zero   BLOCK / UNIT * 4        # scores of a block's units
scores:     .zero   BETWEEN * 4             # of the blocks between the first and the last
ranked:     .zero   ROOM * 4                # the best of them, u32, best first
marks:      .zero   BETWEEN * 4             # 1.0 for each that stays
ones:       .zero   ROOM * 4
mask:       .zero   4                       # one bit for each that stays
kept:       .zero   BETWEEN * 4             # their numbers, rising; 0 is block 1
next_states: .zero  BUDGET * 4
next_places: .zero  BUDGET * 4
printable:  .zero   TOKENS * 4

# go_on to, from: what goes on of an array with four bytes a token
    .macro  go_on to, from
    la      a0, \to
    la      a1, \from
    fetch.copy a0, a1, t0
    la      a0, \to + BLOCK * 4
    la      a1, \from + BLOCK * 4
    fetch.rows a0, a1, s7, s8
    la      a0, \to + (1 + ROOM) * BLOCK * 4
    la      a1, \from + (TOKENS - BLOCK) * 4
    fetch.copy a0, a1, t0
    .endm

    .section .text
    .globl  _start
_start:
    # ---- the mean query: each of the last queries times 1 / LAST
    li      s0, D
    csrw    vec.cols, s0
    csrw    vec.row_stride, zero            # rows of keys and queries lie side by side
    la      s1, mean_query
    vec.fill.32 s1, zero, s0
    la      a1, queries
    la      s2, of_a_unit
    li      a3, LAST
    vec.macT.f32 s1, a1, s2, a3             # mean = sum over j of 1 / LAST * query j

    # ---- scores: unit after unit, block after block, from block 1 on
    la      s3, keys + BLOCK * D * 4
    la      s4, scores
    li      s5, BETWEEN
    la      s6, mean_key
block:
    la      s7, units
    li      s8, BLOCK / UNIT
unit:
    vec.fill.32 s6, zero, s0
    li      a3, UNIT
    vec.macT.f32 s6, s3, s2, a3             # the mean of its keys
    vec.dot.f32 a0, s1, s6, s0              # the core waits for the product
    sw      a0, 0(s7)
    addi    s7, s7, 4
    addi    s3, s3, UNIT * D * 4
    addi    s8, s8, -1
    bnez    s8, unit
    la      a1, units
    li      a2, BLOCK / UNIT
    vec.max.f32 a0, a1, a2                  # a block is as good as its best unit
    sw      a0, 0(s4)
    addi    s4, s4, 4
    addi    s5, s5, -1
    bnez    s5, block

    # ---- the best blocks, best first; then in the order of the text: a mark for each, bits, a rising list
    li      s5, BETWEEN
    li      s6, ROOM
    la      a0, ranked
    la      a1, scores
    thr.topk.f32 a0, a1, s6, s5
    la      a1, marks
    vec.fill.32 a1, zero, s5
    la      a2, ones
    lw      t0, one
    vec.fill.32 a2, t0, s6
    sync.fence                              # the fetch unit needs what the other two have made
    csrwi   fetch.row_bytes, 4
    fetch.scatter a1, a2, a0, s6            # marks[ranked[i]] = 1
    sync.fence
    la      a0, mask
    thr.gt.f32 a0, a1, zero, s5
    la      s7, kept
    thr.index s8, a0, s7, s5                # s8 blocks, rising

    # ---- gather: the first block, those that are kept, the last block; a block is a row
    li      t0, BLOCK * 4
    csrw    fetch.row_bytes, t0
    go_on   next_states, states
    go_on   next_places, places

    # ---- what has come out
    la      s1, printable
    la      a0, scores
    lw      t0, thousand
    vec.scale.f32 s1, a0, t0, s5
    vec.cvt.i32.f32 s1, s1, s5
    sync.fence
    li      s2, 1
1:  print   "score of block "
    mv      a0, s2
    call    print_int
    print   ": "
    lw      a0, 0(s1)
    call    print_milli
    print   "\n"
    addi    s1, s1, 4
    addi    s2, s2, 1
    bgeu    s5, s2, 1b

    print   "tokens that go on:"
    la      s1, next_places
    li      s2, BUDGET
2:  print   " "
    lw      a0, 0(s1)
    call    print_int
    addi    s1, s1, 4
    addi    s2, s2, -1
    bnez    s2, 2b

    print   "\ntheir hidden states begin with:"
    la      s1, printable
    la      a0, next_states
    lw      t0, thousand
    li      s2, 8
    vec.scale.f32 s1, a0, t0, s2
    vec.cvt.i32.f32 s1, s1, s2
    sync.fence
3:  print   " "
    lw      a0, 0(s1)
    call    print_milli
    addi    s1, s1, 4
    addi    s2, s2, -1
    bnez    s2, 3b
    print   "\n"
    exit

    .include "lib/print.s"
