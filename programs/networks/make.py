"""Writes the network of this folder: random weights in the format of docs/tinyformer.md, every kind of operation once or more.

    python programs/networks/make.py programs/networks

Its classes mean nothing. It is here so that there is a network of the format to read, to run and to change.
"""

from __future__ import annotations

import json
import sys
from math import frexp, prod
from pathlib import Path
from typing import Any

import numpy as np

from isa import sparse

WEIGHTS, VALUES = 74.0, 40.0        # standard deviations: of uniform int8 weights, and about that of values


class Writer:
    """Operations one after the other, each with bytes of its own in the arena, and their tensors."""

    def __init__(self, seed: int, image: tuple[int, int, int]) -> None:
        self.random = np.random.default_rng(seed)
        self.ops: list[dict[str, Any]] = []
        self.tensors: dict[str, np.ndarray] = {}
        self.image, self.arena, self.at = image, prod(image), 0

    def add(self, op: str, size: int, **fields: Any) -> int:
        """An operation with a result of so many bytes. Where that lies."""
        fields.setdefault("from", self.at)
        self.ops.append({"op": op, "to": self.arena, **fields})
        self.at, self.arena = self.arena, self.arena + size
        return self.at

    def tensor(self, name: str, values: np.ndarray) -> str:
        self.tensors[f"{name}_{len(self.ops)}"] = values
        return f"{name}_{len(self.ops)}"

    def scales(self, inputs: float, outputs: int = 0, values: float = WEIGHTS) -> dict[str, Any]:
        """Multiplier and shift that bring sums of so many products back to int8; with outputs, tensors with one for each."""
        factors = (1 / (values * inputs ** 0.5)) * (1 + 0.2 * self.random.random(max(outputs, 1)))
        pairs = [frexp(factor) for factor in factors]
        multipliers, shifts = [min(round(m * (1 << 31)), (1 << 31) - 1) for m, _ in pairs], [e for _, e in pairs]
        if not outputs:
            return {"multiplier": multipliers[0], "shift": shifts[0]}
        return {"multiplier": self.tensor("mult", np.array(multipliers, "i4")),
                "shift": self.tensor("shift", np.array(shifts, "i1"))}

    def weights(self, shape: tuple[int, ...], block: int = 0) -> dict[str, Any]:
        """Random weights; with a block, of which about a third are kept, as a stream."""
        dense = self.random.integers(-127, 128, prod(shape)).astype("i1")
        if not block:
            return {"weight": self.tensor("weight", dense)}
        kept = np.repeat(self.random.random(-(-dense.size // block)) < 0.35, block)[:dense.size]
        stream = sparse.RunLength(block).pack(np.where(kept, dense, 0).reshape(1, -1), "i8").values
        return {"weight": self.tensor("weight", stream.view("i1")), "block": block}

    def bias(self, outputs: int) -> str:
        return self.tensor("bias", self.random.integers(-2000, 2001, outputs).astype("i4"))

    # ---------------------------------------------------------------------------------------------- layers

    def conv(self, shape: tuple[int, int, int], outputs: int, kernel: int = 1, stride: int = 1, depthwise: bool = False,
             block: int = 0, offset: int = -128) -> int:
        """A convolution whose input and output offsets are those of a ReLU; with a block on channels times pixels."""
        height, width, channels = shape
        out = [(side - 1) // stride + 1 for side in (height, width)]
        if block:
            self.turn(height * width, channels)
        self.add("depthwise_conv" if depthwise else "conv", prod(out) * outputs, layout="chw" if block else "hwc",
                 **{"in": list(shape)}, out=[*out, outputs], kernel=[kernel] * 2, stride=[stride] * 2, padding=[kernel // 2] * 2,
                 input_offset=128 if len(self.ops) else 3, output_offset=offset, clamp=[-128, 127],
                 **self.weights((outputs, kernel, kernel, 1 if depthwise else channels), block), bias=self.bias(outputs),
                 **self.scales(kernel * kernel * (1 if depthwise else channels) * (0.35 if block else 1), outputs))
        return self.turn(outputs, prod(out)) if block else self.at

    def linear(self, rows: int, inputs: int, outputs: int, input_offset: int = 0) -> int:
        return self.add("linear", rows * outputs, layout="row-major", rows=rows, **{"in": inputs}, out=outputs,
                        input_offset=input_offset, output_offset=0, clamp=[-128, 127], **self.weights((outputs, inputs)),
                        bias=self.bias(outputs), **self.scales(inputs))

    def turn(self, rows: int, columns: int, width: int = 1) -> int:
        return self.add("transpose", rows * columns * width, shape=[1, rows, columns, width], axes=[0, 2, 1, 3])

    def sum(self, one: int, other: int, size: int, offsets: tuple[int, int]) -> int:
        return self.add("add", size, **{"from": [one, other]}, elements=size, offset=list(offsets), multiplier=[1 << 30] * 2,
                        shift=[0, 0], output_offset=0, output_multiplier=(1 << 31) - 1, output_shift=0)

    def attention(self, tokens: int, channels: int, heads: int) -> int:
        """Multi-head attention of what stands at the end of the arena."""
        size = channels // heads
        self.linear(tokens, channels, 3 * channels)
        start = self.turn(tokens, 3 * heads, size)
        part = tokens * channels
        self.add("matmul", heads * tokens * tokens, **{"from": [start, start + part]}, transposed_right=True, batch=heads,
                 rows=tokens, inner=size, columns=tokens, offset=[0, 0], output_offset=0, **self.scales(size, values=VALUES))
        self.add("softmax", heads * tokens * tokens, rows=heads * tokens, columns=tokens, multiplier=1 << 30, shift=22,
                 least_difference=-248)
        self.add("matmul", part, **{"from": [self.at, start + 2 * part]}, transposed_right=False, batch=heads, rows=tokens,
                 inner=tokens, columns=size, offset=[128, 0], output_offset=0, multiplier=1 << 30, shift=-6)
        self.turn(heads, tokens, size)
        return self.linear(tokens, channels, channels)

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        network = {"arena_bytes": self.arena, "input_at": 0, "output_at": self.at, "ops": self.ops}
        (folder / "network.json").write_text(json.dumps(network, indent=1) + "\n")
        np.savez_compressed(folder / "model.npz", **self.tensors)


def tiny(seed: int = 1) -> Writer:
    """A network of all kinds of operations: 8 x 8 x 3 pixels, 4 classes."""
    w = Writer(seed, (8, 8, 3))
    w.conv((8, 8, 3), 16, 3)
    pooled = w.add("max_pool", 256, **{"in": [8, 8, 16]}, out=[4, 4], kernel=[2, 2], stride=2, padding=0, input_offset=128,
                   output_offset=-128, multiplier=1 << 30, shift=1)
    w.conv((4, 4, 16), 32, block=2)
    w.conv((4, 4, 32), 32, 3, depthwise=True, block=3)
    narrow = w.conv((4, 4, 32), 16, block=4, offset=0)
    before = w.sum(narrow, pooled, 256, (0, 128))
    w.add("layer_norm", 256, rows=16, channels=16, weight=w.tensor("weight", w.random.integers(40, 100, 16).astype("i1")),
          bias=w.bias(16), input_offset=0, output_offset=0, multiplier=1 << 30, shift=-7)
    after = w.sum(w.attention(16, 16, 2), before, 256, (0, 0))
    w.add("copy", 256, **{"from": after}, bytes=256)
    w.conv((4, 4, 16), 16, 3, 2, depthwise=True)
    w.add("mean_pool", 16, **{"in": [2, 2, 16]}, out=[1, 1], kernel=[2, 2], stride=2, padding=0, input_offset=128,
          output_offset=-128, multiplier=1 << 30, shift=1)
    w.linear(1, 16, 4, input_offset=128)
    return w


if __name__ == "__main__":
    tiny().save(Path(sys.argv[1]))
    np.savez_compressed(Path(sys.argv[1]) / "images.npz",
                        images=np.random.default_rng(2).integers(-128, 128, (3, 8, 8, 3)).astype("i1"))
