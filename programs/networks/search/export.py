"""A trained network as files of docs/tinyformer.md: network.json and model.npz, all of it integers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import frexp
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from isa import sparse
from isa.files import replacing
from programs.networks.make import Writer
from programs.networks.search.quantise import LEAST, Scales, weight_scale
from programs.networks.search.space import Layer
from programs.networks.search.supernet import Weights

LEFT = 20                       # places that an addition's operands are shifted to the left, as TFLite does
SOFTMAX_PLACES = 26             # of an exponent, behind the point
SOFTMAX_BITS = 5                # of an exponent, in front of it


def factor(value: float) -> tuple[int, int]:
    """(multiplier, shift) of a real factor: value = multiplier / 2**31 * 2**shift."""
    part, shift = frexp(value)
    return min(round(part * (1 << 31)), (1 << 31) - 1), shift


class Exporter(Writer):
    """Writes layer after layer."""

    def __init__(self, weights: Weights, masks: Mapping[str, Tensor], scales: Scales) -> None:
        """`weights` are folded; `scales` of all values."""
        side = weights.layers[0].side
        super().__init__(0, (side, side, 1))
        self.weights, self.masks, self.real = weights, masks, scales
        self.places, self.relu = {"": 0}, {"": True}            # of values: where they lie; whether their zero is -128

    def all(self) -> Exporter:
        for layer in self.weights.layers:
            getattr(self, f"_{layer.kind}")(layer)
            self.places[layer.name], self.relu[layer.name] = self.at, layer.relu or layer.kind == "mean"
        return self

    def write(self, folder: Path) -> None:
        """Both files, each whole or not at all. Raises OSError."""
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / "model.npz") as stream:
            np.savez_compressed(stream, **self.tensors)
        network = {"arena_bytes": self.arena, "input_at": 0, "output_at": self.at, "ops": self.ops}
        with replacing(folder / "network.json") as stream:
            stream.write((json.dumps(network, indent=1) + "\n").encode())

    # ---------------------------------------------------------------------------------------------- parts of operations

    def _offset(self, name: str) -> int:
        """Minus the zero point of a value."""
        return 128 if self.relu[name] else 0

    def _read(self, layer: Layer) -> dict[str, Any]:
        return {"from": self.places[layer.of], "input_offset": self._offset(layer.of),
                "output_offset": -128 if layer.relu else 0}

    def _weights(self, layer: Layer) -> dict[str, Any]:
        """Weights, as a stream where that is shorter; bias; what makes results of sums."""
        weight = self.weights.of(layer, "weight").detach()
        if layer.name in self.masks:
            weight = weight * self.masks[layer.name]
        scale = weight_scale(weight, layer)
        whole = (weight / scale).round().clamp(-127, 127).to(torch.int8)
        if layer.kind == "depthwise":
            whole = whole.permute(2, 3, 0, 1)           # lines, pixels, channel
        elif layer.kind == "conv":
            whole = whole.permute(0, 2, 3, 1)
        dense, block = whole.contiguous().numpy().reshape(-1), layer.pruning[0]
        made: dict[str, Any] = {"weight": self.tensor("weight", dense)}
        if block:
            stream = sparse.RunLength(block).pack(dense.reshape(1, -1), "i8").values.view("i1")
            if len(stream) < len(dense):
                made = {"weight": self.tensor("weight", stream), "block": block}
        sums = scale.flatten().double() * self.real[layer.of]
        bias = (self.weights.of(layer, "bias").detach().double() / sums).round().clamp(-(1 << 31), (1 << 31) - 1)
        pairs = [factor(float(one) / self.real[layer.name]) for one in sums]
        if len(pairs) > 1:
            made |= {"multiplier": self.tensor("multiplier", np.array([one for one, _ in pairs], "i4")),
                     "shift": self.tensor("shift", np.array([one for _, one in pairs], "i1"))}
        else:
            made |= dict(zip(("multiplier", "shift"), pairs[0], strict=True))
        return made | {"bias": self.tensor("bias", bias.numpy().astype("i4")), "clamp": [-128, 127]}

    # ---------------------------------------------------------------------------------------------- operations

    def _conv(self, layer: Layer) -> None:
        side = layer.side_out
        self.add("depthwise_conv" if layer.kind == "depthwise" else "conv", side * side * layer.outputs, layout="hwc",
                 **self._read(layer), **{"in": [layer.side, layer.side, layer.inputs]}, out=[side, side, layer.outputs],
                 kernel=[layer.kernel] * 2, stride=[layer.stride] * 2, padding=[layer.kernel // 2] * 2, **self._weights(layer))

    _depthwise = _conv

    def _linear(self, layer: Layer) -> None:
        rows = layer.side ** 2
        self.add("linear", rows * layer.outputs, layout="row-major", rows=rows, **{"in": layer.inputs}, out=layer.outputs,
                 **self._read(layer), **self._weights(layer))

    def _norm(self, layer: Layer) -> None:
        gain, bias = (self.weights.of(layer, what).detach() for what in ("gain", "bias"))
        scale = float((gain.abs().amax() / 127).clamp(min=LEAST))
        multiplier, shift = factor(scale / 128 / self.real[layer.name])
        self.add("layer_norm", layer.side ** 2 * layer.inputs, rows=layer.side ** 2, channels=layer.inputs, **self._read(layer),
                 weight=self.tensor("weight", (gain / scale).round().numpy().astype("i1")),
                 bias=self.tensor("bias", (bias * 128 / scale).round().numpy().astype("i4")), multiplier=multiplier, shift=shift)

    def _attention(self, layer: Layer) -> None:
        pixels, heads, size = layer.side ** 2, layer.heads, layer.outputs // layer.heads
        part, scores = pixels * layer.outputs, self.real[f"{layer.name}_scores"]
        start = self.turn(pixels, 3 * heads, size)
        of_scores = factor(self.real[layer.of] ** 2 * size ** -0.5 / scores)
        self.add("matmul", heads * pixels * pixels, **{"from": [start, start + part]}, transposed_right=True, batch=heads,
                 rows=pixels, inner=size, columns=pixels, offset=[0, 0], output_offset=0, multiplier=of_scores[0],
                 shift=of_scores[1])
        multiplier, shift = factor(scores * (1 << SOFTMAX_PLACES))
        radius = (((1 << SOFTMAX_BITS) - 1) << SOFTMAX_PLACES) >> shift
        self.add("softmax", heads * pixels * pixels, rows=heads * pixels, columns=pixels, multiplier=multiplier, shift=shift,
                 least_difference=-min(radius, 255))
        of_values = factor(self.real[layer.of] / 256 / self.real[layer.name])
        self.add("matmul", part, **{"from": [self.at, start + 2 * part]}, transposed_right=False, batch=heads, rows=pixels,
                 inner=pixels, columns=size, offset=[128, 0], output_offset=0, multiplier=of_values[0], shift=of_values[1])
        self.turn(heads, pixels, size)

    def _add(self, layer: Layer) -> None:
        names = (layer.of, layer.other)
        unit = 2 * max(self.real[name] for name in names)
        pairs = [factor(self.real[name] / unit) for name in names]
        multiplier, shift = factor(unit / (1 << LEFT) / self.real[layer.name])
        elements = layer.side ** 2 * layer.inputs
        self.add("add", elements, **{"from": [self.places[name] for name in names]}, elements=elements, left_shift=LEFT,
                 offset=[self._offset(name) for name in names], multiplier=[one for one, _ in pairs],
                 shift=[one for _, one in pairs], output_offset=0, output_multiplier=multiplier, output_shift=shift,
                 clamp=[-128, 127])

    def _mean(self, layer: Layer) -> None:
        self.add("mean_pool", layer.inputs, **{"in": [layer.side, layer.side, layer.inputs]}, out=[1, 1],
                 kernel=[layer.side] * 2, stride=layer.side, padding=0, **{**self._read(layer), "output_offset": -128},
                 multiplier=1 << 30, shift=1)


def export(weights: Weights, masks: Mapping[str, Tensor], scales: Scales, folder: Path) -> None:
    """Write the network of folded weights. Raises OSError."""
    Exporter(weights, masks, scales).all().write(folder)


def scales_of(layers: Sequence[Layer], scale: float = 1 / 16) -> Scales:
    """Scales for a network that is not calibrated, when only its size and its time are asked for."""
    names = [layer.name for layer in layers]
    return {"": 1 / 255} | dict.fromkeys(names, scale) | {f"{name}_scores": scale for name in names}
