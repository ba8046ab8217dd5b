"""TFLite operators that only move bytes: shapes, transposes, parts of tensors, borders, sparse constants that become dense."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import TYPE_CHECKING

from compiler.networks.tflite_file import Tensor

if TYPE_CHECKING:
    from compiler.networks.tflite import Reader


def _reshape(r: Reader) -> None:
    x, y = r.activation(0), r.result()
    if prod(x.shape) != prod(y.shape):
        r.wrong(f"{y.called} of shape {list(y.shape)}", f"as many elements as {list(x.shape)} has")
    r.step("copy", **{"from": r.place(x)}, to=r.place(y), bytes=prod(x.shape))


def permuted(r: Reader, at: int, shape: Sequence[int], order: Sequence[int], to: int | None = None) -> int:
    """Where a tensor at `at` lies with its dimensions in another order; `to`: to be there.

    The step "transpose" lets two groups of leading dimensions change places. From the last dimension of the result to the first:
    the one that it is comes behind those that are still in front of it.
    """
    sides = [(dimension, shape[dimension]) for dimension in range(len(shape)) if shape[dimension] > 1]
    wanted = [dimension for dimension in order if shape[dimension] > 1]
    turns = []
    for k in range(len(sides) - 1, 0, -1):
        i = [dimension for dimension, _ in sides].index(wanted[k])
        if i != k:
            turns.append([prod(side for _, side in part) for part in (sides[:i + 1], sides[i + 1:k + 1], sides[k + 1:])])
            sides[:k + 1] = sides[i + 1:k + 1] + sides[:i + 1]
    size = prod(shape)
    if not turns and to is not None:
        r.step("copy", **{"from": at}, to=to, bytes=size)
    for number, (a, b, c) in enumerate(turns, 1):
        target = to if number == len(turns) and to is not None else r.take(size)
        r.step("transpose", **{"from": at}, to=target, shape=[1, a, b, c], axes=[0, 2, 1, 3])
        at = target
    return at if to is None else to


def _transpose(r: Reader) -> None:
    x, y = r.activation(0), r.result()
    order = [int(axis) % max(len(x.shape), 1) for axis in r.constant(1, "INT32").reshape(-1)]
    if sorted(order) != list(range(len(x.shape))) or y.shape != tuple(x.shape[axis] for axis in order):
        r.wrong(f"{list(x.shape)} in the order {order} as {list(y.shape)}", "every dimension once")
    permuted(r, r.place(x), x.shape, order, r.place(y))


def _concatenation(r: Reader) -> None:
    y, many = r.result(), len(r.operator.inputs)
    parts = [r.activation(i) for i in range(many)]
    axis = r.option("Axis")
    if r.option("FusedActivationFunction"):
        r.wrong("a fused activation", "none")
    if not many or not -len(y.shape) <= axis < len(y.shape):
        r.wrong(f"{many} inputs along dimension {axis}", f"some, along one of {len(y.shape)} dimensions")
    axis %= len(y.shape)
    r.same_scale(y, *parts)
    for part in parts:
        if part.shape[:axis] + part.shape[axis + 1:] != y.shape[:axis] + y.shape[axis + 1:]:
            r.wrong(f"{part.called} of shape {list(part.shape)}", f"that of the result, {list(y.shape)}, but for dimension {axis}")
    if sum(part.shape[axis] for part in parts) != y.shape[axis]:
        r.wrong(f"{y.called} of shape {list(y.shape)}", f"{sum(part.shape[axis] for part in parts)} in dimension {axis}")
    r.step("concat", **{"from": [r.place(part) for part in parts]}, to=r.place(y), rows=prod(y.shape[:axis]),
           widths=[prod(part.shape[axis:]) for part in parts])


def _pad(r: Reader) -> None:
    x, y = r.activation(0), r.result()
    sides = r.constant(1, "INT32").reshape(-1, 2).tolist()
    value = int(r.constant(2).reshape(-1)[0]) if r.operator.name == "PADV2" else int(y.zeros[0])
    if len(sides) != len(x.shape) or y.shape != tuple(a + n + b for (a, b), n in zip(sides, x.shape, strict=False)):
        r.wrong(f"a border {sides} of {list(x.shape)} for {list(y.shape)}", "two numbers for each dimension")
    shape = [*x.shape]
    while len(shape) < 3:
        shape, sides = [1, *shape], [[0, 0], *sides]
    if (len(shape) > 3 and (prod(shape[:-3]) != 1 or any(map(sum, sides[:-3])))) or min(map(min, sides)) < 0:
        r.wrong(f"a border {sides} of {shape}", "0 or more, of the last three dimensions")
    (above, below), shape = zip(*sides[-3:], strict=True), shape[-3:]
    r.step("pad", **{"from": r.place(x)}, to=r.place(y), shape=shape, above=list(above), below=list(below), value=value)


def _part(r: Reader, x: Tensor, y: Tensor, begin: Sequence[int], size: Sequence[int]) -> None:
    """A box of a tensor: dimension by dimension, in each what remains."""
    for axis, n in enumerate(x.shape):
        if not 0 <= begin[axis] <= n - size[axis] or size[axis] < 1:
            r.wrong(f"{size[axis]} from {begin[axis]} of {list(x.shape)}, dimension {axis}", "some that are there")
    if prod(y.shape) != prod(size):
        r.wrong(f"{y.called} of shape {list(y.shape)}", f"{prod(size)} elements")
    at, shape = r.place(x), list(x.shape)
    cut = [axis for axis, n in enumerate(shape) if size[axis] != n]
    for axis in cut:
        inner, rows = prod(shape[axis + 1:]), prod(shape[:axis])
        width, pitch, skip = size[axis] * inner, shape[axis] * inner, begin[axis] * inner
        shape[axis] = size[axis]
        target = r.place(y) if axis == cut[-1] else r.take(prod(shape))
        if rows == 1:
            r.step("copy", **{"from": at + skip}, to=target, bytes=width)
        else:
            r.step("slice", **{"from": at}, to=target, rows=rows, width=width, pitch=pitch, skip=skip)
        at = target
    if not cut:
        r.step("copy", **{"from": at}, to=r.place(y), bytes=prod(shape))


def _slice(r: Reader) -> None:
    x, y = r.activation(0), r.result()
    begin, size = (r.constant(i, "INT32").reshape(-1).tolist() for i in (1, 2))
    if len(begin) != len(x.shape) or len(size) != len(x.shape):
        r.wrong(f"a part at {begin} of {size}", f"numbers for {len(x.shape)} dimensions")
    _part(r, x, y, begin, [n - first if many == -1 else many for n, first, many in zip(x.shape, begin, size, strict=True)])


def _strided_slice(r: Reader) -> None:
    x, y = r.activation(0), r.result()
    begin, end, stride = (r.constant(i, "INT32").reshape(-1).tolist() for i in (1, 2, 3))
    if len({len(begin), len(end), len(stride), len(x.shape)}) != 1 or set(stride) != {1}:
        r.wrong(f"a part {begin} to {end} with strides {stride}", f"{len(x.shape)} dimensions with strides of 1")
    if r.option("EllipsisMask") or r.option("NewAxisMask") or r.option("Offset"):
        r.wrong("an ellipsis, a new axis or an offset", "none")
    first, size = [], []
    for axis, n in enumerate(x.shape):
        low = 0 if r.option("BeginMask") >> axis & 1 else begin[axis] + (n if begin[axis] < 0 else 0)
        high = n if r.option("EndMask") >> axis & 1 else end[axis] + (n if end[axis] < 0 else 0)
        high = low + 1 if r.option("ShrinkAxisMask") >> axis & 1 else min(high, n)
        first.append(low)
        size.append(high - low)
    _part(r, x, y, first, size)


def _split(r: Reader) -> None:
    x, axes = r.activation(1), r.constant(0, "INT32").reshape(-1)
    results = [r.check(r.file.tensors[number]) for number in r.operator.outputs]
    axis, many = int(axes[0]), len(results)
    if not -len(x.shape) <= axis < len(x.shape) or not many or x.shape[axis] % many:
        r.wrong(f"{many} parts of {list(x.shape)} along dimension {axis}", "parts of one size")
    axis %= len(x.shape)
    size = [*x.shape]
    size[axis] //= many
    for number, y in enumerate(results):
        _part(r, x, y, [number * size[axis] if one == axis else 0 for one in range(len(size))], size)


def _densify(r: Reader) -> None:
    """Weights that are stored as sparse ones: who reads the dense tensor reads them."""
    r.constant(0)
    if len(r.operator.outputs) != 1 or r.file.tensors[r.operator.outputs[0]].shape != r.tensor(0).shape:
        r.wrong("another shape", f"{list(r.tensor(0).shape)}")
    r.same[r.operator.outputs[0]] = r.tensor(0).number


OPERATORS: dict[str, Callable[[Reader], None]] = {
    "RESHAPE": _reshape, "SQUEEZE": _reshape, "EXPAND_DIMS": _reshape, "TRANSPOSE": _transpose, "CONCATENATION": _concatenation,
    "PAD": _pad, "PADV2": _pad, "SLICE": _slice, "STRIDED_SLICE": _strided_slice, "SPLIT": _split, "DENSIFY": _densify}
