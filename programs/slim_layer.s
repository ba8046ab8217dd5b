# SLIM's feed-forward layer for two sequences: neurons are predicted, and only their objects come from flash.
#
#   guess = R (L x)     active j: |guess[j]| > threshold of the level     y = sum over active j of  silu(G[j] . x) * (U[j] . x) * D[j]
#
# An object has the three vectors of a neuron side by side: its row of gate, its row of up, its column of down. So one gather
# brings all of it, and the strides of the vector unit find the parts. While the objects of the first sequence come from flash,
# the neurons of the second are predicted: two queues, and a tag for each sequence that says when its objects are there.
# Weights are random here, so the guess has no meaning; `slimulator compile --predict` fits one.
#
# Expected output:
#   level 0.5: threshold 1.250
#   first:  31 of 64 neurons, y: 0.324 -1.316 -1.042 -0.899 -0.553 0.944 0.330 1.735
#   second: 30 of 64 neurons, y: 0.856 -0.181 -0.799 0.228 -0.901 -0.265 -0.175 -0.098
#   pages 8, bytes fetched: 11712 left alone: 12864

    .include "lib/macros.s"
    .equ    D, 16                           # model width
    .equ    FF, 64                          # neurons
    .equ    R, 4                            # width of the predictor
    .equ    OBJECT, 3 * D * 4               # bytes of a neuron's object
    .equ    SLOT, 256                       # bytes from one to the next: 16 of them share a page, none crosses its end

    .section .flash.objects, "a"
    .balign 4096
objects:
    .rept   FF
    random_f32 3 * D, -3                    # gate | up | down of a neuron, (3, D) f32
    .zero   SLOT - OBJECT
    .endr

    .section .rodata
    .balign 64
into:       random_f32 R * D, -2            # (R, D) f32, L
out:        random_f32 FF * R, -2           # (FF, R) f32, R
table:      .float 0, 0.25, 0.5, 0.75       # levels of sparsity
            .float -1, 0.625, 1.25, 2.5      # the threshold of each, as calibration would find it
level:      .float 0.5
thousand:   .float 1000.0

    .section .data
    .balign 4
x:          random_f32 2 * D, 0             # (2, D) f32, of each sequence

    .section .sram
    .balign 64
low:        .zero   R * 4                   # (R) f32
guess:      .zero   FF * 4                  # (FF) f32
mask:       .zero   FF / 8                  # one bit per neuron
    .balign 4
active:     .zero   2 * FF * 4              # indices of active neurons, u32, of each sequence
    .balign 64
rows:       .zero   2 * FF * OBJECT         # (count, 3, D) f32, of each sequence
gate:       .zero   FF * 4                  # (count) f32
up:         .zero   FF * 4                  # (count) f32
y:          .zero   2 * D * 4               # (D) f32, of each sequence
printable:  .zero   D * 4

# predict the active neurons of a sequence and begin to fetch their objects: count gets their number
    .macro  predict sequence, count
    la      a0, x + \sequence * D * 4
    li      t0, D
    csrw    vec.cols, t0
    csrw    vec.row_stride, zero
    la      a1, low
    la      a2, into
    li      a3, R
    vec.gemv.f32 a1, a2, a0, a3             # low = L x
    csrw    vec.cols, a3
    la      a4, guess
    la      a2, out
    vec.gemv.f32 a4, a2, a1, s0             # guess = R low
    li      t0, 3
    sync.signal.vec t0
    sync.wait.thr t0                        # the threshold unit needs the guess
    la      a2, mask
    thr.absgt.f32 a2, a4, s1, s0
    la      a5, active + \sequence * FF * 4
    thr.index \count, a2, a5, s0            # the core waits for the number
    csrwi   fetch.tag, 1 + \sequence        # which says when they are there
    la      a0, rows + \sequence * FF * OBJECT
    la      a1, objects
    fetch.rows a0, a1, a5, \count
    .endm

# y of a sequence, from the objects of its active neurons
    .macro  layer sequence, count
    li      t0, 1 + \sequence
    sync.wait.vec t0                        # its objects have come
    li      t0, OBJECT
    csrw    vec.row_stride, t0              # from the row of one neuron to that of the next
    li      a6, D
    csrw    vec.cols, a6
    la      a0, x + \sequence * D * 4
    la      a1, gate
    la      a2, rows + \sequence * FF * OBJECT
    vec.gemv.f32 a1, a2, a0, \count         # G x
    la      a3, up
    addi    a4, a2, D * 4
    vec.gemv.f32 a3, a4, a0, \count         # U x
    vec.silu.f32 a1, a1, \count
    vec.mul.f32 a1, a1, a3, \count
    la      a3, y + \sequence * D * 4
    vec.fill.32 a3, zero, a6
    addi    a4, a2, 2 * D * 4
    vec.macT.f32 a3, a4, a1, \count         # their columns of down, scaled and added up
    .endm

# print y of a sequence: eight of its elements
    .macro  show sequence
    la      s4, printable
    la      a0, y + \sequence * D * 4
    lw      t0, thousand
    li      s5, 8
    vec.scale.f32 s4, a0, t0, s5
    vec.cvt.i32.f32 s4, s4, s5
    sync.fence
1:  print   " "
    lw      a0, 0(s4)
    call    print_milli
    addi    s4, s4, 4
    addi    s5, s5, -1
    bnez    s5, 1b
    print   "\n"
    .endm

    .section .text
    .globl  _start
_start:
    li      s0, FF
    csrwi   thr.levels, 4
    la      a0, table
    lw      a1, level
    thr.select s1, a0, zero, a1             # the first level that is at least the wanted one
    li      t0, OBJECT
    csrw    fetch.row_bytes, t0
    li      t0, SLOT
    csrw    fetch.src_stride, t0
    csrw    fetch.table_rows, s0

    predict 0, s2
    predict 1, s3                           # while the objects of the first sequence come
    layer   0, s2                           # while those of the second come
    layer   1, s3

    print   "level 0.5: threshold "
    la      a0, printable
    sw      s1, 0(a0)
    lw      t0, thousand
    li      a1, 1
    vec.scale.f32 a0, a0, t0, a1
    vec.cvt.i32.f32 a0, a0, a1
    sync.fence
    lw      a0, printable
    call    print_milli
    print   "\nfirst:  "
    mv      a0, s2
    call    print_int
    print   " of 64 neurons, y:"
    show    0
    print   "second: "
    mv      a0, s3
    call    print_int
    print   " of 64 neurons, y:"
    show    1
    print   "pages "
    csrr    a0, fetch.pages
    call    print_int
    print   ", bytes fetched: "
    csrr    a0, fetch.bytes
    call    print_int
    print   " left alone: "
    csrr    a0, fetch.bytes_left
    call    print_int
    print   "\n"
    exit

    .include "lib/print.s"
