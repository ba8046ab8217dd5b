# Attention to the clusters of keys that matter: STARC on one head.
#
# Keys that point the same way get the same scores. So the keys of a block are clustered once, and rows of a cluster are put side by side in
# the cache. A query is then compared with a centroid for each cluster, not with each key, and looks at the keys of the best clusters alone.
#
#   nearest centroid of key x     the largest  x . mu - |mu|^2 / 2      (all keys have length 1)
#   a new centroid                the mean of its keys
#
# Shows: two clusters of eight keys of length 1. `vec.gemv` compares all keys with a centroid, `thr.gt` makes a mask of those that are nearer
# to the second one, the core turns it around for the first one, `thr.index` lists both, one behind the other: the new order of the rows,
# which `fetch.rows` puts in place. Masks that are as before end it. Then `attn.mac` scores centroids as if they were keys, `thr.topk`
# ranks the clusters, and `thr.ranges` lists their rows up to a budget of six: all of the better one, and the first two of the other.
# `attn.mac` again scores the rows of this list.
#
# Expected output:
#   round 1: 4 keys in the first cluster
#   round 2: 4 keys in the first cluster
#   order: 0 2 5 7 1 3 4 6
#   scores of centroids: 1.738 -0.275
#   rows: 0 1 2 3 4 5
#   their scores: 2.000 2.200 0.800 1.950 -0.200 -0.800

    .include "lib/macros.s"
    .equ    KEYS, 8
    .equ    HEAD, 4                         # channels
    .equ    ROW, HEAD * 4
    .equ    BUDGET, 6                       # rows that the query looks at

    .section .data
    .balign 64
keys:       .float   0.8,  0.6,  0.0,  0.0  # two directions, mixed; the first two keys are the first centroids
            .float  -0.6,  0.0,  0.8,  0.0
            .float   0.6,  0.8,  0.0,  0.0
            .float   0.0, -0.6,  0.8,  0.0
            .float   0.0,  0.0,  0.8,  0.6
            .float   0.8,  0.0,  0.0, -0.6
            .float  -0.8,  0.0,  0.6,  0.0
            .float   0.7,  0.5,  0.5, -0.1
query:      .float   1.0,  2.0,  0.5,  0.0
halves:     .float  -0.5, -0.5, -0.5, -0.5, -0.5, -0.5, -0.5, -0.5
ones:       .float   1.0,  1.0,  1.0,  1.0,  1.0,  1.0,  1.0,  1.0
reciprocal: .float   1.0,  1.0,  0.5,  0.3333333433,  0.25,  0.2,  0.1666666716,  0.1428571492,  0.125    # of 0 .. 8; of none 1

    .section .sram
    .balign 64
means:      .zero   2 * ROW
near:       .zero   2 * KEYS * 4            # how near the keys are to each centroid
nearer:     .zero   KEYS * 4
masks:      .zero   16                      # of each cluster a bit for each key
order:      .zero   KEYS * 4
sorted:     .zero   KEYS * ROW
ranks:      .zero   2 * 4
bounds:     .zero   3 * 4                   # where the rows of each cluster begin, and where those of the last one end
list:       .zero   BUDGET * 4
scores:     .zero   KEYS * 4
printable:  .zero   KEYS * 4

    .section .text
    .globl  _start
_start:
    la      s1, keys
    la      s2, means
    la      s3, masks
    la      s4, order
    li      s5, KEYS
    li      s6, HEAD
    li      a2, 2 * ROW
    fetch.copy s2, s1, a2
    li      s7, 0                           # rounds
    li      s8, 0                           # the mask of the second cluster: no key
    csrw    vec.cols, s6
    sync.fence

    # ---- a round: the nearest centroid of each key
round:
    la      a0, near
    la      a1, halves
    mv      a2, s2
    li      t0, 2
1:  vec.gemv.f32 a0, s1, a2, s5             # x . mu
    vec.dot.f32 a3, a2, a2, s6              # |mu|^2
    vec.axpy.f32 a0, a3, a1, s5
    addi    a0, a0, KEYS * 4
    addi    a2, a2, ROW
    addi    t0, t0, -1
    bnez    t0, 1b
    la      a0, near
    la      a1, near + KEYS * 4
    la      a2, nearer
    vec.sub.f32 a2, a1, a0, s5
    sync.fence
    addi    a3, s3, 8
    thr.gt.f32 a3, a2, zero, s5             # a tie goes to the first cluster
    sync.fence
    addi    s7, s7, 1
    lbu     t1, 8(s3)
    mv      s9, s8
    mv      s8, t1
    not     t1, t1
    sb      t1, 0(s3)                       # all others

    # ---- its rows, those of the first cluster first; how many they are
    thr.index s10, s3, s4, s5
    slli    a0, s10, 2
    add     a0, a0, s4
    thr.index s11, a3, a0, s5
    print   "round "
    mv      a0, s7
    call    print_int
    print   ": "
    mv      a0, s10
    call    print_int
    print   " keys in the first cluster\n"
    li      t0, ROW
    csrw    fetch.row_bytes, t0
    la      a0, sorted
    fetch.rows a0, s1, s4, s5
    sync.fence
    beq     s8, s9, settled                 # no key has changed its cluster

    # ---- centroids are means
    li      t0, 2 * HEAD
    vec.fill.32 s2, zero, t0
    la      a1, ones
    la      a2, reciprocal
    vec.macT.f32 s2, a0, a1, s10            # the sum of s10 rows
    slli    t0, s10, 2
    add     t0, t0, a2
    lw      t0, 0(t0)
    vec.scale.f32 s2, s2, t0, s6
    addi    a3, s2, ROW
    slli    t0, s10, 4                      # ROW is 16
    add     a0, a0, t0
    vec.macT.f32 a3, a0, a1, s11
    slli    t0, s11, 2
    add     t0, t0, a2
    lw      t0, 0(t0)
    vec.scale.f32 a3, a3, t0, s6
    j       round

settled:
    print   "order:"
    mv      s9, s5
    call    print_list

    # ---- the query and the centroids
    li      a1, 1                           # one head
    attn.setm a1, a1, s6
    la      a0, query
    attn.wrgb.f32 a0
    la      s1, scores
    li      s9, 2
    attn.mac.f32 s1, s2, s9
    print   "scores of centroids:"
    mv      a0, s1
    mv      a1, s9
    la      a2, printable
    call    print_vector

    # ---- the rows of the best clusters, up to the budget
    la      s3, ranks
    la      s2, bounds
    sw      zero, 0(s2)
    sw      s10, 4(s2)
    sw      s5, 8(s2)
    thr.topk.f32 s3, s1, s9, s9             # of equal scores the first
    li      s8, BUDGET
    csrw    thr.budget, s8
    la      s4, list
    thr.ranges s4, s3, s2, s9
    sync.fence
    print   "rows:"
    mv      s9, s8
    call    print_list
    csrw    attn.row_list, s4
    la      a0, sorted
    attn.mac.f32 s1, a0, s8
    print   "their scores:"
    mv      a0, s1
    mv      a1, s8
    la      a2, printable
    call    print_vector
    exit

    # ---- print s9 numbers at s4, and end the line
print_list:
    addi    sp, sp, -16
    sd      ra, 0(sp)
    mv      s11, s4
1:  print   " "
    lw      a0, 0(s11)
    call    print_int
    addi    s11, s11, 4
    addi    s9, s9, -1
    bnez    s9, 1b
    print   "\n"
    ld      ra, 0(sp)
    addi    sp, sp, 16
    ret

    .include "lib/print.s"
    .include "lib/vectors.s"
