# A feed-forward layer with ReLU, computed sparsely: only the neurons that are active are fetched from flash.
#
#   g = relu(W_gate x)      y = sum over active j of  g[j] * (W_up[j] . x) * W_down[j]
#
# Shows: threshold compare, mask to index list, gathering rows by index, and the transposed product `vec.macT`, which adds
# one scaled row per active neuron, so that W_down is stored by neuron and inactive rows are never touched.
# With ReLU the threshold 0 is exact: a neuron that is not above it contributes nothing.
#
# Expected output:
#   neurons: 34 of 64 active
#   bytes fetched: 4488 left alone: 3960
#   y: -2.005 0.456 -0.429 -0.443 -0.105 -0.146 0.354 -0.079 -2.230 2.774 0.201 -0.186 -1.048 1.625 -1.565 -0.296

    .include "lib/macros.s"
    .equ    D, 16                           # model width
    .equ    FF, 64                          # neurons
    .equ    ROW, D * 4                      # bytes of one neuron's row of W_up or of W_down

    .section .flash.ffn, "a"
    .balign 4096
w_gate:     random_f32 FF * D, -3           # (FF, D) f32
    .balign 4096
w_up:       random_f32 FF * D, -3           # (FF, D) f32, one row per neuron
    .balign 4096
w_down:     random_f32 FF * D, -3           # (FF, D) f32, one row per neuron: the transpose of the usual (D, FF)

    .section .data
    .balign 4
x:          random_f32 D, 0
thousand:   .float 1000.0

    .section .sram
    .balign 64
gate:       .zero   FF * 4                  # (FF) f32
mask:       .zero   FF / 8                  # one bit per neuron
    .balign 4
active:     .zero   FF * 4                  # indices of active neurons, u32
gate_active: .zero  FF * 4                  # (count) f32
up_active:  .zero   FF * 4                  # (count) f32
rows:       .zero   FF * ROW                # (count, D) f32, gathered rows
y:          .zero   D * 4                   # (D) f32
printable:  .zero   D * 4

    .section .text
    .globl  _start
_start:
    # g = relu(W_gate x), all neurons
    li      s0, FF
    li      t0, D
    csrw    vec.cols, t0
    la      s1, gate
    la      a1, w_gate
    la      s2, x
    vec.gemv.f32 s1, a1, s2, s0
    vec.relu.f32 s1, s1, s0
    sync.fence                              # the units that read g next have queues of their own

    # which neurons are above the threshold 0?
    la      a0, mask
    thr.gt.f32 a0, s1, zero, s0             # register zero holds the bits of 0.0
    la      s3, active
    thr.index s4, a0, s3, s0                # s4 = number of active neurons

    # their gate values and their rows of W_up; every transfer waits in the same queue, so one fence is enough
    csrw    fetch.table_rows, s0
    csrwi   fetch.row_bytes, 4
    la      s5, gate_active
    fetch.rows s5, s1, s3, s4
    li      t0, ROW
    csrw    fetch.row_bytes, t0
    la      s6, rows
    la      a1, w_up
    fetch.rows s6, a1, s3, s4
    sync.fence

    # h = g * (W_up x), active neurons only
    la      s7, up_active
    vec.gemv.f32 s7, s6, s2, s4
    vec.mul.f32 s7, s7, s5, s4
    sync.fence                              # the rows have been used: their buffer may be filled again

    # y = W_down h: their rows of W_down, scaled and added up
    la      a1, w_down
    fetch.rows s6, a1, s3, s4
    sync.fence
    la      s8, y
    li      s9, D
    vec.fill.32 s8, zero, s9
    vec.macT.f32 s8, s6, s7, s4

    print   "neurons: "
    mv      a0, s4
    call    print_int
    print   " of 64 active\nbytes fetched: "
    csrr    a0, fetch.bytes
    call    print_int
    print   " left alone: "
    csrr    a0, fetch.bytes_left
    call    print_int
    print   "\ny:"

    la      s1, printable
    lw      t0, thousand
    vec.scale.f32 s1, s8, t0, s9
    vec.cvt.i32.f32 s1, s1, s9
    sync.fence
1:  print   " "
    lw      a0, 0(s1)
    call    print_milli
    addi    s1, s1, 4
    addi    s9, s9, -1
    bnez    s9, 1b
    print   "\n"
    exit

    .include "lib/print.s"
