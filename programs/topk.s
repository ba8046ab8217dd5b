# Top-k: the four most likely tokens, as a sampler or a mixture-of-experts router needs them.
#
# Shows: `thr.topk`, which writes indices by falling value (equal values: lower index first), `vec.argmax`, and gathering
# the values behind an index list with `fetch.rows`, whose rows are four bytes long here.
#
# Expected output:
#   best: 5
#   token 5 score 9.000
#   token 2 score 7.500
#   token 7 score 7.500
#   token 0 score 1.250

    .include "lib/macros.s"
    .equ    N, 8
    .equ    K, 4

    .section .data
    .balign 4
scores:     .float  1.25, -3.0, 7.5, 0.0, -0.5, 9.0, 1.0, 7.5
thousand:   .float  1000.0

    .section .sram
    .balign 4
indices:    .zero   K * 4
best:       .zero   K * 4

    .section .text
    .globl  _start
_start:
    la      a1, scores
    li      a3, N
    vec.argmax.f32 s0, a1, a3
    print   "best: "
    mv      a0, s0
    call    print_int
    print   "\n"

    la      a0, indices
    la      a1, scores
    li      a2, K
    li      a3, N
    thr.topk.f32 a0, a1, a2, a3
    sync.fence                      # the DMA engine has a queue of its own: it must not read the list before it is there

    csrwi   fetch.row_bytes, 4
    la      s1, indices
    la      s2, best
    mv      a0, s2
    mv      a2, s1
    li      a3, K
    fetch.rows a0, a1, a2, a3       # best[i] = scores[indices[i]]
    sync.fence

    lw      t0, thousand
    vec.scale.f32 s2, s2, t0, a3
    vec.cvt.i32.f32 s2, s2, a3
    sync.fence

    li      s3, K
1:  print   "token "
    lw      a0, 0(s1)
    call    print_int
    print   " score "
    lw      a0, 0(s2)
    call    print_milli
    print   "\n"
    addi    s1, s1, 4
    addi    s2, s2, 4
    addi    s3, s3, -1
    bnez    s3, 1b
    exit

    .include "lib/print.s"
