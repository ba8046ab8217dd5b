"""TFLite operators that compute: products with weights, products of matrices, pools, means, softmax, elements."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from compiler.networks import tflite_scales
from compiler.networks.steps import LARGEST, Array
from compiler.networks.tflite_file import Tensor
from compiler.networks.tflite_moves import permuted
from compiler.networks.tflite_sparse import stored

if TYPE_CHECKING:
    from compiler.networks.tflite import Reader

SAME, VALID = 0, 1
SAME_SCALE = {"multiplier": np.array([1 << 30]), "shift": np.array([1])}         # a factor of 1


# ------------------------------------------------------------------------------------------------ weights


def _weights(r: Reader, outputs: int, axis: int) -> Array:
    """Input 1 as constant weights, of its shape."""
    w = r.tensor(1)
    values = r.constant(1)
    if len(w.scales) not in (1, outputs) or (len(w.scales) > 1 and w.axis != axis):
        r.wrong(f"{w.called} with {len(w.scales)} scales along dimension {w.axis}",
                f"one scale, or {outputs}: one for each output, along dimension {axis}")
    r.check_scales(w)
    if np.any(w.zeros):
        r.wrong(f"{w.called} with a zero point of {int(w.zeros[np.flatnonzero(w.zeros)[0]])}", "0 for weights")
    return values


def _biased(r: Reader, x: Tensor, y: Tensor, outputs: int) -> dict[str, Any]:
    """What makes results: offsets, bias, bounds, factors."""
    w, bias = r.tensor(1), None
    if r.has(2):
        bias = r.constant(2, "INT32").reshape(-1)
        if len(bias) != outputs:
            r.wrong(f"a bias of {len(bias)} numbers", f"{outputs}, one for each output")
    return {"input_offset": -int(x.zeros[0]), "output_offset": int(y.zeros[0]), "bias": bias, "clamp": r.clamp(y),
            **r.scaled([tflite_scales.of_product(x.scales[0], scale, y.scales[0]) for scale in w.scales])}


def _windows(r: Reader, x: Tensor, y: Tensor, kernel: list[int]) -> dict[str, Any]:
    """Lines and pixels of an image, its windows, its border."""
    for tensor in (x, y):
        if len(tensor.shape) != 4 or tensor.shape[0] != 1:
            r.wrong(f"{tensor.called} of shape {list(tensor.shape)}", "[1, lines, pixels, channels]")
    stride, border, out = [r.option("StrideH"), r.option("StrideW")], [0] * 4, list(y.shape[1:3])
    if min(stride) < 1 or min(kernel) < 1:
        r.wrong(f"strides {stride} and a kernel {kernel}", "1 or more")
    for axis in range(2):
        size = x.shape[1 + axis]
        if r.option("Padding") == SAME:
            expected = -(-size // stride[axis])
            missing = max((expected - 1) * stride[axis] + kernel[axis] - size, 0)
            border[axis], border[axis + 2] = missing // 2, missing - missing // 2
        else:
            expected = (size - kernel[axis]) // stride[axis] + 1
        if out[axis] != expected:
            r.wrong(f"{y.called} of shape {list(y.shape)}", f"{expected} {'pixels' if axis else 'lines'}")
    return {"from": r.place(x), "to": r.place(y), "in": list(x.shape[1:]), "kernel": kernel, "stride": stride, "padding": border}


def _dilated(r: Reader, values: Array) -> Array:
    """Weights (a, lines, pixels, b) with zeros between the taps of a dilated kernel."""
    down, across = r.option("DilationHFactor", 1), r.option("DilationWFactor", 1)
    if (down, across) == (1, 1):
        return values
    outputs, lines, pixels, inputs = values.shape
    shape = (outputs, (lines - 1) * down + 1, (pixels - 1) * across + 1, inputs)
    if min(down, across) < 1 or prod(shape) > LARGEST:
        r.wrong(f"dilation factors {down} and {across}", f"1 or more, and at most {LARGEST} weights, zeros included")
    wide = np.zeros(shape, values.dtype)
    wide[:, ::down, ::across] = values
    return wide


def _conv(r: Reader) -> None:
    w = r.tensor(1)
    if len(w.shape) != 4:
        r.wrong(f"{w.called} of shape {list(w.shape)}", "[outputs, lines, pixels, channels]")
    _grouped(r, _weights(r, w.shape[0], 0))


def _grouped(r: Reader, values: Array) -> None:
    """A convolution with weights (outputs, lines, pixels, channels of a group). In the other channels an output has zeros."""
    x, y, w = r.activation(0), r.result(), r.tensor(1)
    values = _dilated(r, values)
    outputs, *kernel, some = values.shape
    windows = _windows(r, x, y, kernel)
    channels = x.shape[3]
    groups = channels // some
    if groups * some != channels or not groups or outputs % groups or outputs != y.shape[3]:
        r.wrong(f"{w.called} of shape {list(w.shape)}, for {channels} channels and {y.shape[3]} results",
                "[results, lines, pixels, channels]; with groups as many channels, and as many results, in each")
    if groups > 1:
        if outputs * prod(kernel) * channels > LARGEST:
            r.wrong(f"{groups} groups", f"so few that there are at most {LARGEST} weights, zeros included")
        wide = np.zeros((outputs, *kernel, channels), values.dtype)
        for output, own in enumerate(values):
            first = output // (outputs // groups) * some
            wide[output, ..., first:first + some] = own
        values = wide
    weight, block = stored(w, values)
    r.step("conv", layout="hwc", out=list(y.shape[1:]), weight=weight, block=block, **windows, **_biased(r, x, y, outputs))


def _depthwise(r: Reader) -> None:
    """With several results of a channel, channels are groups."""
    x, y, w = r.activation(0), r.result(), r.tensor(1)
    if len(w.shape) != 4 or w.shape[0] != 1:
        r.wrong(f"{w.called} of shape {list(w.shape)}", "[1, lines, pixels, results]")
    values, outputs = _weights(r, w.shape[3], 3), w.shape[3]
    if x.shape[-1] == 1 or outputs != x.shape[-1]:
        _grouped(r, values.transpose(3, 1, 2, 0))
        return
    values = _dilated(r, values)
    windows = _windows(r, x, y, list(values.shape[1:3]))
    if outputs != y.shape[3]:
        r.wrong(f"{y.called} of shape {list(y.shape)}", f"{outputs} channels")
    weight, block = stored(w, values)
    r.step("depthwise_conv", layout="hwc", out=list(y.shape[1:]), weight=weight, block=block, **windows,
           **_biased(r, x, y, outputs))


def _linear(r: Reader) -> None:
    x, y = r.activation(0), r.result()
    w = r.tensor(1)
    if r.option("WeightsFormat"):
        r.wrong("shuffled weights", "weights in rows")
    if (len(w.shape) != 2 or min(w.shape) < 1 or prod(x.shape) % w.shape[1]
            or prod(y.shape) != prod(x.shape) // w.shape[1] * w.shape[0]):
        r.wrong(f"{w.called} of shape {list(w.shape)}, for {list(x.shape)} and {list(y.shape)}", "[outputs, inputs]")
    outputs, inputs = w.shape
    weight, block = stored(w, _weights(r, outputs, 0))
    r.step("linear", **{"from": r.place(x), "in": inputs}, to=r.place(y), layout="row-major", rows=prod(x.shape) // inputs,
           out=outputs, weight=weight, block=block, **_biased(r, x, y, outputs))


def _matmul(r: Reader) -> None:
    """Constant right operands are turned here, others by the program where they are not."""
    x, w, y = r.activation(0), r.check(r.tensor(1)), r.result()
    if min(len(x.shape), len(w.shape)) < 2:
        r.wrong(f"shapes {list(x.shape)} and {list(w.shape)}", "two dimensions or more")
    left, right = r.place(x), 0
    turned, turn_left = bool(r.option("AdjY")), bool(r.option("AdjX"))
    rows, inner = x.shape[-2:][::-1] if turn_left else x.shape[-2:]
    depth, columns = w.shape[-2:][::-1] if turned else w.shape[-2:]
    batch, of_right = prod(x.shape[:-2]), prod(w.shape[:-2])
    if of_right == 1 and not turn_left:
        batch, rows = 1, batch * rows
    if depth != inner or prod(y.shape) != batch * rows * columns or batch != of_right:
        r.wrong(f"shapes {list(x.shape)} and {list(w.shape)} for {list(y.shape)}", "as many right matrices as left ones, or one")
    if turn_left:
        left = permuted(r, left, x.shape, (*range(len(x.shape) - 2), len(x.shape) - 1, len(x.shape) - 2))
    if r.is_constant(1):
        values = r.constant(1)
        right = r.take(values.size)
        r.constants[right] = np.ascontiguousarray(values if turned else values.swapaxes(-1, -2)).reshape(-1)
        turned = True
    else:
        right = r.place(r.activation(1))
    multiplier, shift = tflite_scales.integer(tflite_scales.of_product(x.scales[0], w.scales[0], y.scales[0]))
    r.step("matmul", **{"from": [left, right]}, to=r.place(y), batch=batch, rows=rows, inner=inner, columns=columns,
           transposed_right=turned, offset=[-int(x.zeros[0]), -int(w.zeros[0])], output_offset=int(y.zeros[0]),
           multiplier=multiplier, shift=shift)


# ------------------------------------------------------------------------------------------------ pools, rows, elements


def _pool(r: Reader) -> None:
    x, y = r.activation(0), r.result()
    r.same_scale(x, y)
    windows = _windows(r, x, y, [r.option("FilterHeight"), r.option("FilterWidth")])
    r.step("max_pool" if r.operator.name == "MAX_POOL_2D" else "mean_pool", out=list(y.shape[1:3]), input_offset=0, output_offset=0,
           clamp=r.clamp(y), **SAME_SCALE, **windows)


def _mean(r: Reader) -> None:
    x, y = r.activation(0), r.result()
    given = r.constant(1, "INT32").reshape(-1).tolist()
    axes = sorted({axis % len(x.shape) for axis in given if -len(x.shape) <= axis < len(x.shape)})
    gone = [axis for axis in axes if x.shape[axis] > 1]
    first, last = (gone[0], gone[-1]) if gone else (0, -1)
    kept = [axis for axis in range(first, last + 1) if axis not in axes and x.shape[axis] > 1]
    if kept or len(axes) != len(given):
        r.wrong(f"a mean over {given} of {list(x.shape)}", "dimensions side by side")
    n = prod(x.shape[first:last + 1])
    multiplier, shift = tflite_scales.of_mean(x.scales[0], y.scales[0], n)
    r.step("mean", **{"from": r.place(x)}, to=r.place(y), outer=prod(x.shape[:first]), n=n, inner=prod(x.shape[last + 1:]),
           input_offset=-int(x.zeros[0]), output_offset=int(y.zeros[0]), multiplier=np.array([multiplier]), shift=np.array([shift]))


def _softmax(r: Reader) -> None:
    x, y = r.activation(0), r.result()
    if float(y.scales[0]) != 1 / 256 or y.zeros[0] != -128:
        r.wrong(f"{y.called} with a scale of {y.scales[0]} and a zero point of {y.zeros[0]}", "1/256 and -128")
    beta = float(r.option("Beta", 1.0))
    if not 0 < beta < 1e6:
        r.wrong(f"beta {beta}", "a number above 0")
    multiplier, shift, least = tflite_scales.of_softmax(x.scales[0], beta)
    r.step("softmax", **{"from": r.place(x)}, to=r.place(y), rows=prod(x.shape[:-1]), columns=x.shape[-1], multiplier=multiplier,
           shift=shift, least_difference=least)


def _both(r: Reader, y: Tensor) -> tuple[list[Tensor], list[int]]:
    """Two operands of the shape of the result, and where they lie. Constant ones are repeated to that shape."""
    places, tensors = [], [r.check(r.tensor(i)) for i in range(2)]
    for i, tensor in enumerate(tensors):
        if not r.is_constant(i):
            if prod(tensor.shape) != prod(y.shape):
                r.wrong(f"{tensor.called} of shape {list(tensor.shape)}, for {list(y.shape)}",
                        "the shape of the result: only constants are repeated")
            places.append(r.place(r.activation(i)))
            continue
        try:
            values = np.broadcast_to(r.constant(i), y.shape)
        except ValueError:
            r.wrong(f"{tensor.called} of shape {list(tensor.shape)}", f"one that can be repeated to {list(y.shape)}")
        places.append(r.take(values.size))
        r.constants[places[-1]] = np.ascontiguousarray(values).reshape(-1)
    return tensors, places


def _add(r: Reader) -> None:
    """Subtraction adds with a negative multiplier, as the kernel does."""
    y = r.result()
    (a, b), places = _both(r, y)
    of_a, of_b, of_sum = tflite_scales.of_add(a.scales[0], b.scales[0], y.scales[0])
    sign = -1 if r.operator.name == "SUB" else 1
    r.step("add", **{"from": places}, to=r.place(y), elements=prod(y.shape), offset=[-int(a.zeros[0]), -int(b.zeros[0])],
           multiplier=[of_a[0], sign * of_b[0]], shift=[of_a[1], of_b[1]], left_shift=20, clamp=r.clamp(y),
           output_offset=int(y.zeros[0]), output_multiplier=of_sum[0], output_shift=of_sum[1])


def _mul(r: Reader) -> None:
    """The right operand may be one row for all: a constant, or a computed one of the last dimensions."""
    y, size = r.result(), prod(r.result().shape)
    tensors = [r.check(r.tensor(i)) for i in range(2)]
    order = sorted(range(2), key=lambda i: -prod(tensors[i].shape))
    big, small = (tensors[i] for i in order)
    tail = [side for side in small.shape if side > 1]
    if prod(big.shape) == size and tail == [side for side in y.shape if side > 1][-len(tail):]:
        columns, places = prod(tail), [r.place(r.activation(i)) for i in order]
    else:
        columns, order = size, [0, 1]
        tensors, places = _both(r, y)
    factor = tflite_scales.of_mul(tensors[0].scales[0], tensors[1].scales[0], y.scales[0])
    r.step("mul", **{"from": places}, to=r.place(y), rows=size // columns, columns=columns,
           offset=[-int(tensors[i].zeros[0]) for i in order], output_offset=int(y.zeros[0]), clamp=r.clamp(y), **r.scaled(factor))


def _rescale(r: Reader) -> None:
    """RELU and its relatives, QUANTIZE from int8: bounds, another scale."""
    x, y, name = r.activation(0), r.result(), r.operator.name
    if prod(x.shape) != prod(y.shape):
        r.wrong(f"{y.called} of shape {list(y.shape)}", f"{list(x.shape)}")
    factor = float(x.scales[0]) / float(y.scales[0]) if name == "QUANTIZE" else float(x.scales[0] / y.scales[0])     # in fp32
    clamp = tflite_scales.bounds("NONE" if name == "QUANTIZE" else name, y.scales[0], int(y.zeros[0]))
    r.step("rescale", **{"from": r.place(x)}, to=r.place(y), elements=prod(x.shape), input_offset=-int(x.zeros[0]),
           output_offset=int(y.zeros[0]), clamp=clamp, **r.scaled(factor))


def _dequantize(r: Reader) -> None:
    r.wrong("fp32 values", "DEQUANTIZE only of the logits, at the end")


OPERATORS: dict[str, Callable[[Reader], None]] = {
    "CONV_2D": _conv, "DEPTHWISE_CONV_2D": _depthwise, "FULLY_CONNECTED": _linear, "BATCH_MATMUL": _matmul,
    "MAX_POOL_2D": _pool, "AVERAGE_POOL_2D": _pool, "MEAN": _mean, "SOFTMAX": _softmax, "ADD": _add, "SUB": _add, "MUL": _mul,
    "RELU": _rescale, "RELU6": _rescale, "RELU_N1_TO_1": _rescale, "QUANTIZE": _rescale, "DEQUANTIZE": _dequantize}
