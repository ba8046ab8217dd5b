"""int8 networks as TFLite files, one or more for each operator that the frontend knows; random weights, the same ones each time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from tflite_files import Model

RELU, RELU_N1_TO_1, RELU6 = 1, 2, 3
SAME, VALID = 0, 1

CASES: dict[str, Callable[[], tuple[Model, int, int]]] = {}


class Net(Model):
    """A model in the making: `x` is the tensor that the next operator reads."""

    def __init__(self, *shape: int, scale: float = 0.05, zero: int = 3, seed: int = 1) -> None:
        super().__init__()
        self.random = np.random.default_rng(seed)
        self.given = self.x = self.tensor((1, *shape), scale=scale, zero=zero)

    def codes(self, *shape: int, spread: int = 127) -> np.ndarray:
        return self.random.integers(-spread, spread + 1, shape).astype("i1")

    def ints(self, values: Any) -> int:
        return self.tensor(np.shape(values), np.array(values, "i4"))

    def shape(self, tensor: int | None = None) -> tuple[int, ...]:
        return self.tensors[self.x if tensor is None else tensor]["shape"]

    def then(self, name: str, *others: int, shape: Any, options: str = "", scale: float | None = None, zero: int | None = None,
             first: bool = True, **fields: Any) -> Net:
        """An operator on `x` and others; its result is the next `x`, of the scale of `x` unless another is given."""
        before = self.tensors[self.x]
        scale, zero = before["scale"] if scale is None else scale, before["zero"] if zero is None else zero
        y = self.tensor(tuple(shape), scale=scale, zero=zero)
        self.op(name, [self.x, *others] if first else list(others), [y], options, **fields)
        self.x = y
        return self

    def weights(self, *shape: int, outputs: int, axis: int = 0, channels: bool = True, scale: float = 0.01) -> list[int]:
        """Weights and a bias, with a scale for each output or one."""
        scales = scale * (0.5 + self.random.random(outputs)) if channels else scale
        return [self.tensor(shape, self.codes(*shape), scale=scales, axis=axis),
                self.tensor((outputs,), self.random.integers(-900, 900, outputs).astype("i4"), scale=scale * 0.05)]

    def conv(self, outputs: int, kernel: tuple[int, int] = (3, 3), stride: tuple[int, int] = (1, 1), padding: int = SAME,
             activation: int = 0, channels: bool = True, depth: int = 0, groups: int = 1,
             dilation: tuple[int, int] = (1, 1)) -> Net:
        """A convolution; with `depth` a depthwise one."""
        _, height, width, inputs = self.shape()
        shape = (1, *kernel, outputs) if depth else (outputs, *kernel, inputs // groups)
        w = self.weights(*shape, outputs=outputs, axis=3 if depth else 0, channels=channels)
        out = [-(-side // s) if padding == SAME else (side - (k - 1) * apart - 1) // s + 1
               for side, k, s, apart in zip((height, width), kernel, stride, dilation, strict=True)]
        more = {"DepthMultiplier": depth} if depth else {}
        return self.then("DEPTHWISE_CONV_2D" if depth else "CONV_2D", *w, shape=(1, *out, outputs),
                         options="DepthwiseConv2DOptions" if depth else "Conv2DOptions", scale=0.07, zero=-11, Padding=padding,
                         StrideH=stride[0], StrideW=stride[1], DilationHFactor=dilation[0], DilationWFactor=dilation[1],
                         FusedActivationFunction=activation, **more)

    def pool(self, name: str, kernel: tuple[int, int], stride: tuple[int, int], padding: int = SAME, activation: int = 0) -> Net:
        _, height, width, channels = self.shape()
        out = [-(-side // s) if padding == SAME else (side - k) // s + 1
               for side, k, s in zip((height, width), kernel, stride, strict=True)]
        return self.then(f"{name}_POOL_2D", shape=(1, *out, channels), options="Pool2DOptions", Padding=padding, StrideH=stride[0],
                         StrideW=stride[1], FilterHeight=kernel[0], FilterWidth=kernel[1], FusedActivationFunction=activation)

    def linear(self, outputs: int, channels: bool = False, activation: int = 0, scale: float = 0.09, zero: int = 4,
               bias: bool = True) -> Net:
        inputs = self.shape()[-1]
        w = self.weights(outputs, inputs, outputs=outputs, channels=channels)
        return self.then("FULLY_CONNECTED", *(w if bias else w[:1]), shape=(*self.shape()[:-1], outputs), scale=scale, zero=zero,
                         options="FullyConnectedOptions", FusedActivationFunction=activation, KeepNumDims=True)

    def reshape(self, *shape: int) -> Net:
        return self.then("RESHAPE", self.ints(shape), shape=shape, options="ReshapeOptions", NewShape=list(shape))

    def turn(self, *order: int) -> Net:
        return self.then("TRANSPOSE", self.ints(order), shape=[self.shape()[axis] for axis in order], options="TransposeOptions")

    def mean(self, *axes: int, keep: bool = True, scale: float | None = None, zero: int | None = None) -> Net:
        shape = [1 if axis in axes else side for axis, side in enumerate(self.shape()) if keep or axis not in axes]
        return self.then("MEAN", self.ints(axes), shape=shape, options="ReducerOptions", scale=scale, zero=zero, KeepDims=keep)

    def softmax(self, beta: float = 1.0) -> Net:
        return self.then("SOFTMAX", shape=self.shape(), options="SoftmaxOptions", scale=1 / 256, zero=-128, Beta=beta)

    def product(self, other: int, columns: int, turned: bool = False, scale: float = 0.1, zero: int = 2,
                left: bool = False) -> Net:
        rows = self.shape()[-1 if left else -2]
        return self.then("BATCH_MATMUL", other, shape=(*self.shape()[:-2], rows, columns), options="BatchMatMulOptions",
                         scale=scale, zero=zero, AdjX=left, AdjY=turned)

    def with_constant(self, name: str, *shape: int, reverse: bool = False, scale: float = 0.03, activation: int = 0) -> Net:
        """ADD, SUB or MUL of `x` and a constant."""
        other = self.tensor(shape, self.codes(*shape), scale=scale, zero=-5)
        operands = [other, self.x] if reverse else [self.x, other]
        return self.then(name, *operands, first=False, shape=self.shape(), options=f"{name.capitalize()}Options", scale=0.06,
                         zero=1, FusedActivationFunction=activation)

    def with_tensor(self, name: str, other: int, activation: int = 0) -> Net:
        return self.then(name, other, shape=self.shape(), options=f"{name.capitalize()}Options", scale=0.08, zero=-7,
                         FusedActivationFunction=activation)


def case(make: Callable[[], Net]) -> None:
    """Register a network by the name of its function."""
    def made() -> tuple[Model, int, int]:
        net = make()
        return net, net.given, net.x
    CASES[make.__name__] = made


# ------------------------------------------------------------------------------------------------ convolutions, pools


@case
def convolutions():
    return Net(9, 7, 3).conv(8, activation=RELU6).conv(6, (1, 1), channels=False).conv(5, (3, 2), (2, 2), activation=RELU)


@case
def convolutions_without_border():
    return Net(9, 8, 2, zero=-128).conv(4, padding=VALID).conv(7, (2, 3), (1, 2), VALID, RELU_N1_TO_1)


@case
def convolutions_with_uneven_borders():
    return Net(10, 6, 3).conv(4, (4, 4), (1, 1)).conv(4, (3, 3), (2, 2)).conv(9, (5, 2), (3, 1))


@case
def depthwise():
    return Net(8, 9, 6).conv(6, depth=1, activation=RELU).conv(6, (3, 5), (2, 2), depth=1, channels=False).conv(
        6, (2, 2), (1, 1), VALID, depth=1)


@case
def depthwise_of_one_channel():
    return Net(10, 8, 1).conv(8, (5, 3), (2, 2), depth=8).conv(4)


@case
def dilated_convolutions():
    return Net(11, 9, 3).conv(8, dilation=(2, 3), activation=RELU6).conv(6, (2, 3), (2, 1), VALID, dilation=(3, 1)).conv(
        6, (3, 3), depth=1, dilation=(1, 2)).conv(6, (3, 2), depth=1, padding=VALID, dilation=(1, 2))


@case
def convolutions_in_groups():
    return Net(7, 6, 6).conv(8, groups=2).conv(12, (3, 2), (2, 2), VALID, groups=4, channels=False).conv(12, (1, 1), groups=12)


@case
def depthwise_with_several_results():
    return Net(7, 6, 3).conv(6, depth=2).conv(12, (3, 3), (2, 1), depth=2, dilation=(2, 1), activation=RELU)


@case
def max_pools():
    return Net(9, 7, 5).pool("MAX", (3, 3), (2, 2), activation=RELU).pool("MAX", (2, 2), (1, 1), VALID).pool("MAX", (3, 2), (1, 1))


@case
def average_pools():
    return Net(9, 7, 5).pool("AVERAGE", (3, 3), (1, 1)).pool("AVERAGE", (2, 4), (2, 1), activation=RELU6).pool(
        "AVERAGE", (2, 3), (1, 2), VALID)


@case
def average_pool_of_lines():
    return Net(11, 4, 3).pool("AVERAGE", (5, 1), (2, 1)).pool("AVERAGE", (3, 4), (2, 3))


# ------------------------------------------------------------------------------------------------ rows, matrices


@case
def linear_layers():
    return Net(40).linear(30, activation=RELU).linear(20, channels=True).linear(10, bias=False)


@case
def linear_layers_of_tokens():
    return Net(12, 16).linear(24).linear(8, channels=True, activation=RELU6)


@case
def means_of_an_image():
    return Net(7, 5, 24).mean(1, 2, scale=0.03, zero=-9).reshape(1, 24).linear(6)


@case
def means_without_the_dimensions():
    return Net(7, 5, 20).mean(1, 2, keep=False)


@case
def mean_of_tokens():
    return Net(13, 34).mean(1, keep=False, scale=0.02, zero=5)


@case
def mean_of_channels():
    return Net(13, 6, 37).mean(3, scale=0.011, zero=-3).mean(-2 % 4, keep=False)


@case
def products():
    net = Net(4, 6, 8)
    other = net.linear(8).x
    net.product(other, 6, turned=True)
    return net.product(net.given, 8)


@case
def products_with_constants():
    net = Net(3, 6, 8)
    right = net.tensor((3, 8, 5), net.codes(3, 8, 5), scale=0.02, zero=0)
    net.product(right, 5)
    one = net.tensor((7, 5), net.codes(7, 5), scale=0.02, zero=0)
    return net.product(one, 7, turned=True)


@case
def product_of_a_turned_left_matrix():
    net = Net(3, 6, 8)
    right = net.tensor((1, 3, 6, 5), net.codes(1, 3, 6, 5), scale=0.02, zero=0)
    return net.product(right, 5, left=True)


@case
def transposes():
    return Net(3, 4, 5).turn(0, 3, 2, 1).turn(0, 2, 1, 3).turn(0, 2, 3, 1).linear(6).turn(0, 1, 3, 2)


# ------------------------------------------------------------------------------------------------ elements, bytes


@case
def additions():
    net = Net(5, 4, 6)
    net.linear(6, scale=0.2, zero=-20).with_tensor("ADD", net.given, RELU)
    return net.with_constant("ADD", 6).with_constant("ADD", 5, 4, 6, reverse=True).with_constant("ADD", 1, activation=RELU6)


@case
def subtractions():
    net = Net(5, 4, 6)
    net.linear(6, scale=0.2, zero=-20).with_tensor("SUB", net.given)
    return net.with_constant("SUB", 4, 1).with_constant("SUB", 6, reverse=True, activation=RELU)


@case
def multiplications():
    net = Net(5, 4, 6)
    net.linear(6, scale=0.1, zero=-20).with_tensor("MUL", net.given)
    net.with_constant("MUL", 6).with_constant("MUL", 1, reverse=True, scale=0.005)
    return net.with_constant("MUL", 4, 1, activation=RELU)


@case
def scaled_channels():
    """Squeeze and excitation."""
    net = Net(6, 5, 16)
    image = net.conv(16, (1, 1)).x
    weights = net.mean(1, 2).conv(16, (1, 1)).x
    net.x = image
    return net.with_tensor("MUL", weights)


@case
def bounds_and_scales():
    net = Net(6, 6, 4, zero=-20)
    for name in ("RELU", "RELU6", "RELU_N1_TO_1", "QUANTIZE"):
        net.then(name, shape=net.shape(), scale=0.04 + 0.003 * len(name), zero=len(name))
    return net


@case
def concatenations():
    net = Net(4, 5, 6)
    x = net.given
    constant = net.tensor((1, 4, 5, 3), net.codes(1, 4, 5, 3), scale=0.05, zero=3)
    net.then("CONCATENATION", x, constant, x, first=False, shape=(1, 4, 5, 15), options="ConcatenationOptions", Axis=-1)
    wide = net.x
    return net.then("CONCATENATION", wide, shape=(1, 8, 5, 15), options="ConcatenationOptions", Axis=1)


@case
def borders():
    net = Net(4, 5, 3)
    net.then("PAD", net.ints([[0, 0], [1, 2], [0, 1], [0, 0]]), shape=(1, 7, 6, 3), options="PadOptions")
    net.then("PAD", net.ints([[0, 0], [0, 0], [1, 0], [2, 1]]), shape=(1, 7, 7, 6), options="PadOptions")
    net.conv(4, (3, 3), (2, 2), VALID)
    fill = net.tensor((1,), np.array([-77], "i1"), scale=0.07, zero=-11)
    return net.then("PADV2", net.ints([[0, 0], [1, 1], [0, 0], [0, 0]]), fill, shape=(1, 5, 3, 4), options="PadV2Options")


@case
def parts():
    net = Net(6, 7, 8)
    net.then("SLICE", net.ints([0, 1, 2, 0]), net.ints([1, 4, -1, 8]), shape=(1, 4, 5, 8), options="SliceOptions")
    net.then("STRIDED_SLICE", net.ints([0, -3, 0, 3]), net.ints([1, 99, 5, -1]), net.ints([1, 1, 1, 1]), shape=(1, 3, 5, 4),
             options="StridedSliceOptions", BeginMask=1, EndMask=4)
    left, right = (net.tensor((1, 3, 5, 2), scale=0.05, zero=3) for _ in range(2))
    net.op("SPLIT", [net.ints(3), net.x], [left, right], "SplitOptions", NumSplits=2)
    net.x = right
    return net.with_tensor("SUB", left)


# ------------------------------------------------------------------------------------------------ sparse weights, whole networks


def sparse_linear(net: Net, outputs: int, block: int = 1) -> Net:
    """A linear layer whose weights are stored in rows of blocks, behind DENSIFY as the converter writes it."""
    inputs = net.shape()[-1]
    kept = net.random.random((outputs, inputs // block)) < 0.3
    values = net.codes(outputs, inputs // block, block)
    segments = np.concatenate([[0], np.cumsum(kept.sum(axis=1))])
    indices = np.concatenate([np.flatnonzero(row) for row in kept])
    levels = [outputs, (segments.astype("u2"), indices.astype("u1")), *([block] if block > 1 else [])]
    given = net.tensor((outputs, inputs), values[kept].reshape(-1), scale=0.01, zero=0,
                       sparsity=([0, 1, 2] if block > 1 else [0, 1], [1] if block > 1 else [], levels))
    dense = net.tensor((outputs, inputs), scale=0.01, zero=0)
    net.op("DENSIFY", [given], [dense], "DensifyOptions")
    bias = net.tensor((outputs,), net.random.integers(-900, 900, outputs).astype("i4"), scale=0.0005)
    return net.then("FULLY_CONNECTED", dense, bias, shape=(*net.shape()[:-1], outputs), scale=0.05, zero=3,
                    options="FullyConnectedOptions", FusedActivationFunction=0, KeepNumDims=True)


@case
def sparse_weights():
    return sparse_linear(sparse_linear(Net(9, 32), 24, 4), 16)


@case
def fp32_at_both_ends():
    net = Net(8, 8, 1)
    image = net.x = net.tensor((1, 8, 8, 1), dtype="float32")
    net.op("QUANTIZE", [image], [net.given], "QuantizeOptions")
    net.given, net.x = image, net.given
    net.conv(4).mean(1, 2, keep=False).linear(5)
    logits = net.tensor((1, 5), dtype="float32")
    net.op("DEQUANTIZE", [net.x], [logits], "DequantizeOptions")
    net.x = logits
    return net


@case
def mobile_block():
    net = Net(12, 12, 3)
    before = net.conv(8, stride=(2, 2), activation=RELU6).x
    net.conv(24, (1, 1), activation=RELU6).conv(24, depth=1, activation=RELU6).conv(8, (1, 1))
    net.with_tensor("ADD", before)
    return net.pool("AVERAGE", (6, 6), (1, 1), VALID).reshape(1, 8).linear(10)


def transformer(heads: int = 2, tokens: int = 9, width: int = 12) -> Net:
    """Attention and a feed-forward part without normalisation; positions are a constant."""
    net = Net(tokens, width, scale=0.04)
    before = net.with_constant("ADD", tokens, width).x
    parts = []
    for _ in range(3):
        net.x = before
        parts.append(net.linear(width, scale=0.08, zero=0).reshape(1, tokens, heads, width // heads).turn(0, 2, 1, 3).x)
    query, keys, values = parts
    net.x = query
    net.product(keys, tokens, turned=True, scale=0.02, zero=0).softmax().product(values, width // heads, scale=0.05)
    net.turn(0, 2, 1, 3).reshape(1, tokens, width).linear(width).with_tensor("ADD", before)
    middle = net.x
    return net.linear(20, activation=RELU).linear(width).with_tensor("ADD", middle).mean(1, keep=False).linear(4)


@case
def attention():
    return transformer()


@case
def softmax_of_tokens():
    return Net(20, 30, scale=0.1).softmax()


# ------------------------------------------------------------------------------------------------ inputs


def images(name: str, count: int = 3) -> np.ndarray:
    """int8 images of a case, of the shape of its input without the batch."""
    model, given, _ = CASES[name]()
    shape = model.tensors[given]["shape"]
    return np.random.default_rng(len(name)).integers(-128, 128, (count, *shape[1:])).astype("i1")


# CRC-32 of the results that the reference kernels of ai-edge-litert 2.3.0 gave for the images of each case.
EXPECTED = {
    "dilated_convolutions": 0xa02cdd8f, "convolutions_in_groups": 0x4797e8db,
    "depthwise_with_several_results": 0x569d7c09,
    "convolutions": 0xd7015ee7, "convolutions_without_border": 0x9cc5a869, "convolutions_with_uneven_borders": 0x0ef3da02,
    "depthwise": 0x5fefac03, "depthwise_of_one_channel": 0x33c94ff1, "max_pools": 0x95f457f2, "average_pools": 0xce3e723e,
    "average_pool_of_lines": 0x75630683, "linear_layers": 0x271ed88a, "linear_layers_of_tokens": 0x5ee5ce46,
    "means_of_an_image": 0x6160bb01, "means_without_the_dimensions": 0xc375b981, "mean_of_tokens": 0x404b8fe4,
    "mean_of_channels": 0x0879dd03, "products": 0xff2a7ede, "products_with_constants": 0x3803fbc9,
    "product_of_a_turned_left_matrix": 0xfbb8d344, "transposes": 0x82f0b6c4, "additions": 0x01f72c37,
    "subtractions": 0xe9019662, "multiplications": 0x18078eab, "scaled_channels": 0xcaeffffa, "bounds_and_scales": 0x654eb045,
    "concatenations": 0x8a1b50ca, "borders": 0x268d369f, "parts": 0xfc3447dc, "sparse_weights": 0x057c2297,
    "fp32_at_both_ends": 0x510a8459, "mobile_block": 0xae5706d1, "attention": 0xfc4473ec, "softmax_of_tokens": 0x22d1c70a,
}
