# The feed-forward half and the output projection of a BitNet b1.58 layer: ternary weights, int8 activations, squared ReLU.
#
#   h = x + s_o * (W_o . quant(attended))
#   f = relu2(W_gate . quant(norm(h))) * (W_up . quant(norm(h)))
#   y = h + W_down . quant(norm(f))
#
# Shows: what a BitLinear is on this machine. Normalise, quantise to int8 (absmax, one scale per token), load the LUT unit,
# multiply by ternary codes. `lut.gemv` applies both scales, so its output is f32 again; one `lut.build` serves every matrix that
# reads the same activations. The zeros that squared ReLU makes stay exact through norm and quantisation.
#
# Expected output:
#   y: -1.559 -0.707 -1.869 2.706 1.015 1.236 2.690 -1.831
#   zero activations into W_down: 68 of 96
#   ternary weights: 10240 of them zero: 3405

    .include "lib/macros.s"
    .equ    D, 32
    .equ    FF, 96

    .section .flash.layer, "a"
w_o:        random_ternary D * D / 4        # (D, D) t2
w_gate:     random_ternary FF * D / 4       # (FF, D) t2
w_up:       random_ternary FF * D / 4       # (FF, D) t2
w_down:     random_ternary D * FF / 4       # (D, FF) t2

    .section .rodata
    .balign 4
scale_o:    .float  0.0625                  # one weight scale per matrix
scale_gate: .float  0.125
scale_up:   .float  0.125
scale_down: .float  0.0625
ffn_norm:   random_f32 D, 0
down_norm:  random_f32 FF, 0                # BitNet normalises again before the down projection
attended:   random_f32 D, 0                 # what attention delivered
residual:   random_f32 D, 0                 # the residual stream
thousand:   .float  1000.0

    .section .sram
    .balign 64
x:          .zero   D * 4
normed:     .zero   FF * 4
codes:      .zero   FF                      # int8 activations
    .balign 4
code_scale: .zero   4
gate:       .zero   FF * 4
up:         .zero   FF * 4
delta:      .zero   D * 4
printable:  .zero   D * 4

# bitlinear_input source, count: quantise `count` f32 values at `source` and load them into the LUT unit. s4, s5: codes, scale.
    .macro  bitlinear_input source, count
    vec.quant.i8 s4, \source, s5, \count
    sync.fence                              # the LUT unit reads what the vector unit wrote
    lut.build.i8 s4, s5, \count
    .endm

# ternary destination, matrix, scale, rows: f32 result of a ternary matrix on the activations loaded last
    .macro  ternary destination, matrix, scale, rows
    la      a1, \matrix
    la      a2, \scale
    lut.gemv.t2 \destination, a1, a2, \rows
    .endm

    .section .text
    .globl  _start
_start:
    la      s0, x
    li      s1, D
    li      s2, FF
    la      s3, normed
    la      s4, codes
    la      s5, code_scale
    la      s6, gate
    la      s7, up
    la      s8, delta

    la      a1, residual
    li      t0, D * 4
    fetch.copy s0, a1, t0
    sync.fence

    # ---- output projection of attention
    la      a1, attended
    bitlinear_input a1, s1
    ternary s8, w_o, scale_o, s1
    sync.fence                              # and the vector unit reads what the LUT unit wrote
    vec.add.f32 s0, s0, s8, s1

    # ---- gate and up share one set of activations
    la      a1, ffn_norm
    vec.rmsnorm.f32 s3, s0, a1, s1
    bitlinear_input s3, s1
    ternary s6, w_gate, scale_gate, s2
    ternary s7, w_up, scale_up, s2
    sync.fence
    vec.relu2.f32 s6, s6, s2
    vec.mul.f32 s6, s6, s7, s2

    # ---- down
    la      a1, down_norm
    vec.rmsnorm.f32 s3, s6, a1, s2
    bitlinear_input s3, s2
    ternary s8, w_down, scale_down, s1
    sync.fence
    vec.add.f32 s0, s0, s8, s1

    print   "y:"
    la      s9, printable
    lw      t0, thousand
    vec.scale.f32 s9, s0, t0, s1
    vec.cvt.i32.f32 s9, s9, s1
    sync.fence
    li      s10, 8                          # the first eight are enough to compare by eye
1:  print   " "
    lw      a0, 0(s9)
    call    print_milli
    addi    s9, s9, 4
    addi    s10, s10, -1
    bnez    s10, 1b

    print   "\nzero activations into W_down: "
    li      a0, 0
    mv      t1, s4
    mv      t2, s2
2:  lb      t3, 0(t1)
    seqz    t3, t3
    add     a0, a0, t3
    addi    t1, t1, 1
    addi    t2, t2, -1
    bnez    t2, 2b
    call    print_int
    print   " of 96\nternary weights: "
    csrr    a0, lut.macs
    call    print_int
    print   " of them zero: "
    csrr    a0, lut.macs_skipped
    call    print_int
    print   "\n"
    exit

    .include "lib/print.s"
