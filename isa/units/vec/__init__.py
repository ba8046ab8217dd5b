"""vec: the vector unit. Its UNIT stands here.

    floats.py       element-wise operations, reductions, normalisation, number formats, dense matrix-vector products
    networks.py     int8 networks: convolutions, pools, additions, normalisation and softmax, all with int8 results
"""

from __future__ import annotations

from isa.timing.rates import Rate, queue_rates
from isa.unit import Counter, Csr, Unit, spending

UNIT = Unit(
    "vec", "Vector unit", """\
Works on packed arrays in memory: fp32 element-wise operations, reductions, normalisation, softmax, rotary embedding,
activation functions, conversion and quantisation, and dense matrix-vector products with fp32, fp16, bf16 or int8 weights.
What a layer needs besides its low-bit matrices is here. Networks whose every tensor is int8 are here whole: convolutions, pools,
additions, normalisation and softmax.

Sums of fp32 ("lanesum") go through 16 lanes, which start at +0.0: element i is added to lane i % 16, in rising i; then lane
j + 8 is added to lane j, j + 4 to j, j + 2 to j, 1 to 0. `vec.macT` adds to y instead, one row after the other: all of
h[0] * W[0], then all of h[1] * W[1]. Every product and every sum is rounded; there is no fused multiply-add. Weights of fp16, bf16
and int8 become fp32 first, which is exact. Conversions round to nearest even. Sums of integers wrap. Bounds of errors stand in
arithmetic; that of `vec.macT` is e(rows + 1) of |y[c]| + the sum of |h[j] * W[j, c]|.

A NaN result is 0x7FC00000, in fp16 0x7E00, in bf16 0x7FC0, whatever NaN it comes from; only `vec.fill.32` writes bits as they
are. Infinities, zeros of both signs and subnormal numbers are those of IEEE 754, as operands and as results. A result register gets
an index, or the 32 bits of an fp32 number with zeros above; of a scalar operand the upper 32 bits are ignored.

A length of zero, n or rows, does nothing: no memory is read or written, no address and no CSR is checked, and a result register
gets what the instruction's line says. Only `vec.ops` counts. With one row or more `vec.cols` may not be 0, and with one element or
more rope needs its `vec.head_dim`: ILLEGAL_OPERAND. Operands may overlap: all is read before anything is written. Where the codes
and the scales of `vec.quant.i8` overlap, the scales stay.

Element W[r, c] of a matrix lies at W + r * stride + c * size, where the stride is `vec.row_stride`, or the bytes of a row if that
is 0. So the keys of one head in a KV cache are a matrix too. From its first to its last byte a matrix lies in one region; the
bytes between its rows are neither read nor counted.

Scales: group g is the elements from g * `vec.scale_group` on, as many or what is left; there are groups =
ceil(n / vec.scale_group) of them. With 0 all n elements are one group.

**int8 networks.** An image is lines of pixels of `vec.cols` channels, int8. `conv`, `depthwise`, `maxpool`, `meanpool`,
`layernorm` and `softmax` take *windows* of it: `vec.windows` says how many (lines in bits 31..16, windows a line in bits 15..0),
`vec.taps` what a window is (lines in bits 31..16, pixels a line in bits 15..0). With i and j the line and the place of a window, k
a line of it, its pixels lie side by side at

    x + i * vec.window_line + j * vec.step + k * vec.line

Any numbers are legal, and windows may overlap, as those of a convolution do. A border is bytes of the image. A window of one tap
is a vector: then `conv` is a product of matrices, y = x times the transpose of W. Elements of a window are in the order line,
pixel, channel, and so are the weights of an output; `vec.row_stride` is from the weights of an output, or of a tap of `depthwise`,
to the next.

A *result* is clamp(rq(s + bias) + y_offset). s is an int32 sum that wraps, the bias is i32[outputs] at `vec.bias`, 0 if that is 0
(there is none in pools). The offsets x, w, y are the signed 16-bit fields 0, 1, 2 of `vec.offsets`, -255..255. `vec.clamp` is the
least result in bits 7..0, the greatest in bits 15..8. rq(s) has a multiplier m (i32 at `vec.multipliers`) and a shift h (i8 at
`vec.shifts`, -31..31), which `vec.scale_group` results share, all where it is 0:

    t = min(floor(((s * 2**max(h, 0) modulo 2**32) * m + 2**30) / 2**31), 2**31 - 1)
    rq(s) = t / 2**max(-h, 0), to nearest, half away from zero

So do CMSIS-NN, gemmlowp and most of TFLite's reference kernels. Where `vec.rounding` is 1, all but softmax round once, as others of
TFLite do and CMSIS-NN where it is built so:

    rq(s) = floor((s * m + floor(2**(31 - h) / 2)) / 2**(31 - h)) modulo 2**32

The results of a window lie side by side, those of the next one
`vec.result_stride` bytes behind, or packed.

`layernorm` is TorchQuanter's Scaled-LayerNorm: divisions go towards zero, the mean is kept as int16, the sum of squares is at most
2**31 - 1, an integer factor 128 / deviation takes the place of 1 / deviation. `softmax` is CMSIS-NN's, with gemmlowp's exponential
and reciprocal: its multiplier and shift (0..31) are the first ones, and it takes `vec.cutoff` as 255 where it is more.
`vec.add.i8` has three multipliers and shifts, for a, for b, for the sum; `vec.requant.i8` makes results of int32 sums of any unit.
With no window, no output, no row or no element nothing is checked, read or written. Windows together, and results, are at most
2**28: CAPACITY.

What one instruction counts:

    vec.ops            1
    vec.elements       n, but nothing where vec.macs counts; results of int8 networks
    vec.macs           n of dot and axpy, rows * vec.cols of gemv and macT; elements of all windows of depthwise, times
                       vec.outputs of conv
    vec.macs_i8        vec.macs of gemv.i8, macT.i8, conv and depthwise
    vec.exponentials   n of exp, sigmoid, tanh, silu, gelu and softmax; results of softmax.i8
    vec.divisions      n of div, sqrt, sigmoid, tanh, silu, gelu and softmax, 3 of rmsnorm, 4 of layernorm, 2 * groups of quant;
                       of each window 4 of layernorm.i8, 1 of softmax.i8; results of meanpool
    vec.reduced        n of sum, max, min, absmax, argmax, rmsnorm and quant, 2 * n of softmax and layernorm; elements of all
                       windows of the pools, twice those of layernorm.i8 and softmax.i8
    bytes read         of each operand that is read its elements, once, also where two operands are the same; of an image the
                       elements of each window
    bytes written      of each operand that is written its elements""",
    queue=1,
    csrs=(
        #   name               number  meaning                                                   reset        writable
        Csr("vec.cols",        0x800, "columns of a matrix operand"),
        Csr("vec.row_stride",  0x801, "bytes between the starts of matrix rows; 0: rows are packed"),
        Csr("vec.eps",         0x802, "fp32 bits that rmsnorm and layernorm add; 1e-5 at reset", 0x3727_C5AC, 0xFFFF_FFFF),
        Csr("vec.scale_group", 0x803, "elements that share a scale in quant and dequant; 0: all"),
        Csr("vec.head_dim",    0x804, "elements of an attention head, for rope and ropehalf; even"),
        Csr("vec.windows",     0x805, "windows of an image: lines of windows in bits 31..16, windows a line in bits 15..0",
            0x1_0001, 0xFFFF_FFFF),
        Csr("vec.taps",        0x806, "a window: lines in bits 31..16, pixels of a line in bits 15..0", 0x1_0001, 0xFFFF_FFFF),
        Csr("vec.step",        0x807, "bytes from a window to the next one of its line"),
        Csr("vec.window_line", 0x808, "bytes from a line of windows to the next"),
        Csr("vec.line",        0x809, "bytes from a line of a window to the next"),
        Csr("vec.outputs",     0x80A, "outputs of conv for each window; sums in a row of requant"),
        Csr("vec.result_stride", 0x80B, "bytes from the results of a window to those of the next; 0: packed"),
        Csr("vec.offsets",     0x80C, "added to x, to the other operand, to results: signed, in bits 15..0, 31..16, 47..32",
            0, 0xFFFF_FFFF_FFFF),
        Csr("vec.clamp",       0x80D, "int8 results: the least in bits 7..0, the greatest in bits 15..8", 0x7F80, 0xFFFF),
        Csr("vec.bias",        0x80E, "address of what is added to the sums of a window; 0: nothing", points_to="i32"),
        Csr("vec.multipliers", 0x80F, "address of the multipliers of results", points_to="i32"),
        Csr("vec.shifts",      0x8A0, "address of the shifts of results: to the left; below 0 to the right", points_to="i8"),
        Csr("vec.left",        0x8A1, "places to the left that vec.add.i8 shifts its operands by first, 0..31"),
        Csr("vec.cutoff",      0x8A2, "softmax.i8: what is more than this below the largest is 0"),
        Csr("vec.rounding",    0x8A3, "how int8 results are rounded: 0 twice, at the product and at the shift; 1 once", 0, 1),
    ),
    counters=spending("elements macs exponentials", (
        Counter("vec.ops",          20, "instructions", "vec instructions retired"),
        Counter("vec.elements",     21, "elements",     "elements produced or reduced, except by multiply-accumulates"),
        Counter("vec.macs",         22, "MACs",         "multiply-accumulates of dot, axpy, gemv, macT, conv, depthwise"),
        Counter("vec.exponentials", 23, "elements",     "those of vec.elements that needed an exponential"),
        Counter("vec.divisions",    89, "divisions",    "divisions and square roots"),
        Counter("vec.reduced",      90, "elements",     "elements summed or compared to one number, without vec.macs"),
        Counter("vec.macs_i8",      91, "MACs",         "those of vec.macs that multiply int8 by int8"),
    )),
    rates=(
        *queue_rates("vec"),
        Rate("vec.elements_per_cycle",     "elements a cycle",  "elements produced or reduced",      "vec.elements"),
        Rate("vec.divisions_per_cycle",    "divisions a cycle", "divisions and square roots",        "vec.divisions"),
        Rate("vec.exponentials_per_cycle", "elements a cycle",  "those that need an exponential",    "vec.exponentials"),
        Rate("vec.macs_per_cycle",         "MACs a cycle",      "multiply-accumulates, in fp32",     "vec.macs", "vec.macs_i8"),
        Rate("vec.int8_macs_per_cycle",    "MACs a cycle",      "multiply-accumulates of int8",      "vec.macs_i8"),
    ),
)

# Importing these fills the instruction table, in the order of the manual.
# isort: off
from isa.units.vec import floats as floats  # noqa: E402
from isa.units.vec import networks as networks  # noqa: E402
