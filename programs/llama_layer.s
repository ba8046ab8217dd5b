# One decode step of one Llama layer, f32, written as a person would: grouped-query attention over a KV cache, SwiGLU.
#
#   h = x + W_o . attention(rope(W_q . norm(x)), K cache, V cache)
#   y = h + W_2 . (silu(W_1 . norm(h)) * (W_3 . norm(h)))
#
# Shows: how the machine reads at the scale of a layer. Keys and values of this step are written straight into the cache;
# the cache's row stride lets one `vec.gemv` read a head's keys in place, and `vec.macT` sum a head's values.
# Three steps run one after another, so that the cache is used.
#
# Expected output:
#   y: -0.755 1.026 -0.984 -0.922 0.808 1.225 -0.337 1.136

    .include "lib/macros.s"
    .equ    D, 32                           # model width
    .equ    HEADS, 4
    .equ    KV_HEADS, 2                     # two query heads share a key/value head
    .equ    HEAD, D / HEADS
    .equ    KV, KV_HEADS * HEAD             # width of a key or value row
    .equ    FF, 64
    .equ    CONTEXT, 4                      # rows of the cache
    .equ    STEPS, 3

    .section .rodata
    .balign 4
attn_norm:  random_f32 D, 0
w_q:        random_f32 D * D, -4            # (D, D)
w_k:        random_f32 KV * D, -4           # (KV, D)
w_v:        random_f32 KV * D, -4           # (KV, D)
w_o:        random_f32 D * D, -4            # (D, D)
ffn_norm:   random_f32 D, 0
w_1:        random_f32 FF * D, -4           # (FF, D)
w_3:        random_f32 FF * D, -4           # (FF, D)
w_2:        random_f32 D * FF, -4           # (D, FF)
rope_table:                                 # (STEPS, HEAD): cosines, then sines, of position * 10000^(-2i / HEAD)
    .float  1.0, 1.0, 1.0, 1.0,                             0.0, 0.0, 0.0, 0.0
    .float  0.5403023, 0.9950042, 0.99995, 0.9999995,       0.84147098, 0.09983342, 0.00999983, 0.001
    .float  -0.41614684, 0.98006658, 0.9998, 0.999998,      0.90929743, 0.19866933, 0.01999867, 0.002
inputs:     random_f32 STEPS * D, -1        # (STEPS, D): what the layer below would deliver
score_scale: .float 0.35355339              # 1 / sqrt(HEAD)
thousand:   .float  1000.0

    .section .bss
    .balign 64
k_cache:    .zero   CONTEXT * KV * 4        # (CONTEXT, KV) f32
v_cache:    .zero   CONTEXT * KV * 4

    .section .sram
    .balign 64
x:          .zero   D * 4                   # the residual stream
normed:     .zero   D * 4
query:      .zero   D * 4
scores:     .zero   CONTEXT * 4
attended:   .zero   D * 4
hidden:     .zero   FF * 4
up:         .zero   FF * 4
printable:  .zero   D * 4

    .section .text
    .globl  _start
_start:
    li      s11, 0                          # position
step:
    la      s0, x
    la      a1, inputs
    li      t0, D * 4
    mul     t1, s11, t0
    add     a1, a1, t1
    fetch.copy s0, a1, t0
    call    layer
    addi    s11, s11, 1
    li      t0, STEPS
    bne     s11, t0, step

    print   "y:"
    la      s0, x
    la      s1, printable
    li      s2, D
    lw      t0, thousand
    vec.scale.f32 s1, s0, t0, s2
    vec.cvt.i32.f32 s1, s1, s2
    sync.fence
    li      s2, 8                           # the first eight are enough to compare by eye
1:  print   " "
    lw      a0, 0(s1)
    call    print_milli
    addi    s1, s1, 4
    addi    s2, s2, -1
    bnez    s2, 1b
    print   "\n"
    exit

# layer: one decode step; s0 = x (D), s11 = position. x is replaced by the layer's output.
layer:
    li      s1, D
    li      s2, KV
    la      s3, normed
    la      s4, query
    sync.fence                              # x has arrived

    # ---- attention: q, k, v of this position; k and v go to their rows of the cache
    la      a1, attn_norm
    vec.rmsnorm.f32 s3, s0, a1, s1
    csrw    vec.cols, s1
    csrwi   vec.row_stride, 0
    la      a1, w_q
    vec.gemv.f32 s4, a1, s3, s1
    li      t0, KV * 4
    mul     t0, s11, t0
    la      s5, k_cache
    add     s6, s5, t0                      # this position's key
    la      a1, w_k
    vec.gemv.f32 s6, a1, s3, s2
    la      s7, v_cache
    add     s8, s7, t0                      # this position's value
    la      a1, w_v
    vec.gemv.f32 s8, a1, s3, s2

    li      t0, HEAD
    csrw    vec.head_dim, t0
    la      a2, rope_table
    li      t0, HEAD * 4
    mul     t0, s11, t0
    add     a2, a2, t0
    vec.rope.f32 s4, s4, a2, s1
    vec.rope.f32 s6, s6, a2, s2

    # ---- attention: every head over the positions 0..s11
    addi    s2, s11, 1                      # positions
    la      s6, scores
    la      s8, attended
    vec.fill.32 s8, zero, s1
    li      t0, HEAD
    csrw    vec.cols, t0
    li      t0, KV * 4
    csrw    vec.row_stride, t0              # a head's keys lie KV elements apart
    lw      t2, score_scale
    li      s9, 0                           # head
head:
    li      t0, HEADS / KV_HEADS
    divu    t0, s9, t0
    li      t1, HEAD * 4
    mul     t0, t0, t1                      # byte offset of the key/value head
    add     a1, s5, t0
    vec.gemv.f32 s6, a1, s4, s2             # scores[t] = K[t] . q
    vec.scale.f32 s6, s6, t2, s2
    vec.softmax.f32 s6, s6, s2
    add     a1, s7, t0
    vec.macT.f32 s8, a1, s6, s2             # attended += scores[t] * V[t]
    add     s4, s4, t1                      # next head's query ...
    add     s8, s8, t1                      # ... and output
    addi    s9, s9, 1
    li      t0, HEADS
    bne     s9, t0, head

    la      s8, attended
    csrw    vec.cols, s1
    csrwi   vec.row_stride, 0
    la      a1, w_o
    vec.gemv.f32 s3, a1, s8, s1
    vec.add.f32 s0, s0, s3, s1

    # ---- feed-forward: SwiGLU
    la      a1, ffn_norm
    vec.rmsnorm.f32 s3, s0, a1, s1
    li      s2, FF
    la      s6, hidden
    la      s7, up
    la      a1, w_1
    vec.gemv.f32 s6, a1, s3, s2
    la      a1, w_3
    vec.gemv.f32 s7, a1, s3, s2
    vec.silu.f32 s6, s6, s2
    vec.mul.f32 s6, s6, s7, s2
    csrw    vec.cols, s2
    la      a1, w_2
    vec.gemv.f32 s3, a1, s6, s1
    vec.add.f32 s0, s0, s3, s1
    sync.fence
    ret

    .include "lib/print.s"
