"""The operations of a network, as every frontend gives them to the compiler, and what of them does not fit together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from isa import sparse
from isa.sparse.layout import Malformed, Packed

Array = npt.NDArray[Any]
LARGEST = 1 << 24           # elements of a value; arenas are smaller
INT32 = (1 << 31) - 1
WINDOWS = (1 << 16) - 1


@dataclass(frozen=True)
class Step:
    """An operation of the file, with its tensors. `fields` has every key of its kind; None for what was left out.

    `place` is what messages call it; an operator of a TFLite file may be several steps. `once`: its results are rounded once
    (isa/quantised.py).
    Kinds that network.json has stand in reading.py; these only TFLite files need:

        mul      from two, rows, columns, offset (two): the right operand is (columns,), the same for all rows
        mean     outer, n, inner: the scaled sum of (outer, n, inner) over n
        rescale  elements: new scale, bounds
        concat   from several, rows, widths: rows of so many bytes of each, side by side
        pad      shape, above, below (three each), value: a border of an image
        slice    rows, width, pitch, skip: of each row of `pitch` bytes `width` behind the first `skip`
    """

    number: int
    kind: str
    fields: Mapping[str, Any]
    place: str = ""
    once: bool = False

    def __getitem__(self, key: str) -> Any:
        return self.fields[key]

    @property
    def name(self) -> str:
        """As messages have it: "ops[12]"."""
        return self.place or f"ops[{self.number}]"

    @property
    def reads(self) -> list[tuple[int, int]]:
        """(place in the arena, bytes) of each operand."""
        f = self.fields
        match self.kind:
            case "conv" | "depthwise_conv" | "max_pool" | "mean_pool": sizes = [prod(f["in"])]
            case "linear": sizes = [f["rows"] * f["in"]]
            case "matmul": sizes = [f["batch"] * f["rows"] * f["inner"], f["batch"] * f["inner"] * f["columns"]]
            case "add": sizes = [f["elements"]] * 2
            case "layer_norm": sizes = [f["rows"] * f["channels"]]
            case "softmax": sizes = [f["rows"] * f["columns"]]
            case "transpose" | "pad": sizes = [prod(f["shape"])]
            case "mul": sizes = [f["rows"] * f["columns"], f["columns"]]
            case "mean": sizes = [f["outer"] * f["n"] * f["inner"]]
            case "rescale": sizes = [f["elements"]]
            case "concat": sizes = [f["rows"] * width for width in f["widths"]]
            case "slice": sizes = [f["rows"] * f["pitch"]]
            case _: sizes = [f["bytes"]]
        places = f["from"] if isinstance(f["from"], list) else [f["from"]]
        return list(zip(places, sizes, strict=True))

    @property
    def written(self) -> int:
        """Bytes of the result."""
        f = self.fields
        match self.kind:
            case "conv" | "depthwise_conv": return int(prod(f["out"]))
            case "max_pool" | "mean_pool": return int(prod(f["out"]) * f["in"][2])
            case "linear": return int(f["rows"] * f["out"])
            case "matmul": return int(f["batch"] * f["rows"] * f["columns"])
            case "mean": return int(f["outer"] * f["inner"])
            case "concat": return sum(size for _, size in self.reads)
            case "pad": return int(prod(map(sum, zip(f["shape"], f["above"], f["below"], strict=True))))
            case "slice": return int(f["rows"] * f["width"])
            case _: return self.reads[0][1]


@dataclass(frozen=True)
class Network:
    """A network as its files have it."""

    path: Path
    steps: list[Step]
    arena: int              # bytes
    input_at: int
    output_at: int
    image: tuple[int, int, int]                                             # lines, pixels and channels
    outputs: int                                                            # logits
    constants: Mapping[int, Array] = field(default_factory=dict)            # operands that do not change, by place in the arena


def problems(step: Step) -> Iterator[tuple[str, str, str]]:
    """(key, got, expected) of what does not fit together."""
    f, kind = step.fields, step.kind
    for key in ("in", "out", "kernel", "stride", "rows", "channels", "columns", "batch", "inner", "elements", "bytes", "shape"):
        for value in ([] if f.get(key) is None else f[key] if isinstance(f[key], list) else [f[key]]):
            if not 0 < value < LARGEST:
                yield key, str(value), f"1..{LARGEST - 1}"
    for key in ("rows", "outer", "n", "kernel", "out"):                     # numbers of windows and taps have 16 bits
        sizes = f.get(key, 0) if kind != "linear" or key != "out" else 0
        for size in sizes[:2] if isinstance(sizes, list) else [sizes]:
            if size > WINDOWS:
                yield key, str(size), f"at most {WINDOWS}"
    if "padding" in f and min(border_of(step)) < 0:
        yield "padding", shown(f["padding"]), "0 or more"
    offsets = [(key, value) for key in ("input_offset", "output_offset", "offset") if key in f
               for value in np.atleast_1d(f[key]).tolist()]
    for key, value in offsets:
        if not -128 <= value <= 128:
            yield key, str(value), "-128..128"
    if kind in ("conv", "depthwise_conv", "max_pool", "mean_pool"):
        yield from _window_problems(step)
    if kind == "transpose" and (f["axes"] != [0, 2, 1, 3] or f["shape"][0] != 1):
        yield "axes", f"{f['axes']} of {f['shape']}", "[0, 2, 1, 3] of [1, ...]: two axes change places"
    if kind == "softmax":
        if not -255 <= f["least_difference"] <= 0:
            yield "least_difference", str(f["least_difference"]), "-255..0"
        if f["shift"] < 0:
            yield "shift", str(f["shift"]), "0..30 for softmax"
    if f.get("clamp") is not None and not -128 <= f["clamp"][0] <= f["clamp"][1] <= 127:
        yield "clamp", str(f["clamp"]), "the least and the greatest result, -128..127"
    if f.get("bias") is not None and np.any(np.abs(f["bias"].astype(np.float64)) > INT32):
        yield "bias", f"{f['bias'].min()}..{f['bias'].max()}", "numbers of int32"
    yield from _scale_problems(step)
    if kind in ("conv", "depthwise_conv", "linear"):
        yield from _weight_problems(step)
    if kind == "layer_norm":
        for key in ("weight", "bias"):
            if f[key] is not None and len(f[key]) != f["channels"]:
                yield key, f"{len(f[key])} numbers", f"{f['channels']}, one for each channel"
        if f["weight"].dtype != np.int8:
            yield "weight", str(f["weight"].dtype), "int8"


def _window_problems(step: Step) -> Iterator[tuple[str, str, str]]:
    f = step.fields
    stride, border = stride_of(step), border_of(step)
    for axis in range(2):
        expected = (f["in"][axis] + border[axis] + border[axis + 2] - f["kernel"][axis]) // stride[axis] + 1
        if f["out"][axis] != expected:
            yield "out", str(f["out"]), f"{expected} for {'lines' if axis == 0 else 'pixels'}, with this kernel, stride and padding"
    if step.kind == "depthwise_conv" and f["out"][2] != f["in"][2]:
        yield "out", str(f["out"]), f"as many channels as `in` has, {f['in'][2]}"
    for axis, side in enumerate(border):
        if step.kind.endswith("pool") and side >= f["kernel"][axis % 2]:
            yield "padding", shown(f["padding"]), f"less than the kernel, {f['kernel']}: a window has a pixel of the image"
    if step.kind in ("conv", "depthwise_conv") and max(border) and not -127 <= f["input_offset"] <= 128:
        yield "input_offset", str(f["input_offset"]), "-127..128 with padding, whose value is its negative"


def _scale_problems(step: Step) -> Iterator[tuple[str, str, str]]:
    f = step.fields
    outputs = f["out"][2] if step.kind in ("conv", "depthwise_conv") else f["out"] if step.kind == "linear" else 1
    least_factor = -INT32 if step.kind == "add" else 0              # a negative one subtracts
    for key, least, greatest in (("multiplier", least_factor, INT32), ("shift", -31, 30), ("output_multiplier", 0, INT32),
                                 ("output_shift", -31, 30), ("left_shift", 0, 30)):
        values = np.atleast_1d(f[key]) if f.get(key) is not None else np.zeros(0, np.int64)
        if len(values) and not (least <= values.min() and values.max() <= greatest):
            yield key, f"{values.min()}..{values.max()}", f"{least}..{greatest}"
        if key in ("multiplier", "shift") and isinstance(f.get(key), np.ndarray) and len(values) not in (1, outputs):
            yield key, f"{len(values)} numbers", f"1 or {outputs}, one for each output"
    if isinstance(f.get("multiplier"), np.ndarray) and len(f["multiplier"]) != len(f["shift"]):
        yield "shift", f"{len(f['shift'])} numbers", f"as many as multipliers, {len(f['multiplier'])}"


def _weight_problems(step: Step) -> Iterator[tuple[str, str, str]]:
    f = step.fields
    outputs = f["out"] if step.kind == "linear" else f["out"][2]
    if f["bias"] is not None and len(f["bias"]) != outputs:
        yield "bias", f"{len(f['bias'])} numbers", f"{outputs}, one for each output"
    if f["weight"].dtype != np.int8:
        yield "weight", str(f["weight"].dtype), "int8"
    elif f["block"] is None:
        if len(f["weight"]) != elements(step):
            yield "weight", f"{len(f['weight'])} numbers", f"{elements(step)}; with `block` a stream"
    elif not 1 <= f["block"] <= 255:
        yield "block", str(f["block"]), "1..255"
    elif elements(step) > LARGEST:
        yield "weight", f"{elements(step)} elements", f"at most {LARGEST}"
    else:
        try:
            dense_weights(step)
        except Malformed as error:
            yield "weight", f"a malformed stream: {error}", f"one of {elements(step)} elements with blocks of {f['block']}"


def border_of(step: Step) -> tuple[int, int, int, int]:
    """Lines above an image, pixels to its left, lines below it, pixels to its right."""
    padding = np.atleast_1d(step["padding"]).tolist()
    above, left, below, right = {1: padding * 4, 2: padding * 2}.get(len(padding), padding)
    return above, left, below, right


def stride_of(step: Step) -> tuple[int, int]:
    """Lines and pixels from window to window."""
    down, across = np.broadcast_to(step["stride"], 2).tolist()
    return down, across


def elements(step: Step) -> int:
    """Weights of a step, zeros among them."""
    f = step.fields
    if step.kind == "linear":
        return int(f["in"] * f["out"])
    return int(prod(f["kernel"]) * f["out"][2] * (f["in"][2] if step.kind == "conv" else 1))


def dense_weights(step: Step) -> npt.NDArray[np.int8]:
    """The weights of a step as the file orders them, int8 (elements,). Raises Malformed."""
    weight = np.ascontiguousarray(step["weight"])
    if step["block"] is None:
        return weight
    layout, ends = sparse.RunLength(step["block"]), np.array([0, len(weight)], np.uint32)
    packed = Packed("i8", 1, elements(step), weight.view(np.uint8), np.zeros(0, np.uint8), ends)
    dense: npt.NDArray[np.int8] = layout.unpack(packed).reshape(-1).astype(np.int8)
    return dense


def shown(value: Any) -> str:
    """A value in a message."""
    return "missing" if value is None else repr(value)[:60]
