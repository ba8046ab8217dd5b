"""int8 arithmetic in training: what a network computes once its weights, values and norms are integers, with gradients.

A value behind a ReLU is q * scale with q 0..255, any other one with q -128..127. Weights are -127..127 times a scale: one for each
output of a convolution, one for a linear. Rounding has the gradient of the identity. `Quantised` follows the machine's instructions
(docs/isa/vec.md) but for halves, which are rounded the other way, and the exponentials of softmax. What counts is what the machine
makes of the exported files.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from programs.networks.search.space import Layer
from programs.networks.search.supernet import CONVOLUTIONS, Floats, Weights, heads, image, merged, tokens

LEAST = 1e-6                    # of a scale
OUTLIERS = 5e-4                 # the share of a value's elements that may lie outside of its range
COARSER = 2                     # times the scale of what a norm reads: deviations are smaller then, and 128 / deviation rounds less

Scales = dict[str, float]       # of a value, by the layer that makes it; NAME_scores inside attention; "" is the image


def rounded(x: Tensor) -> Tensor:
    """To the nearest integer; its gradient is 1."""
    return x + (x.round() - x).detach()


def snapped(x: Tensor, scale: float, relu: bool = False) -> Tensor:
    """On the grid of an int8 value; what is outside of its range has no gradient."""
    return _Snapped.apply(x, scale, relu)


class _Snapped(torch.autograd.Function):
    """rounded(x / scale).clamp(...) * scale, in fewer passes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float, relu: bool) -> Tensor:
        whole = (x / scale).round_()
        inside = whole.clamp(*((0, 255) if relu else (-128, 127)))
        ctx.save_for_backward(whole == inside)
        return inside.mul_(scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return gradient * ctx.saved_tensors[0], None, None


def weight_scale(weight: Tensor, layer: Layer) -> Tensor:
    """One for each output of a convolution (outputs, 1, 1, 1), else one."""
    largest = weight.abs().amax((1, 2, 3), keepdim=True) if layer.kind in CONVOLUTIONS else weight.abs().amax()
    return (largest / 127).clamp(min=LEAST)


@torch.no_grad()
def calibrate(weights: Weights, layers: Sequence[Layer], images: Tensor, masks: dict[str, Tensor]) -> Scales:
    """The scales of all values: what these images need, but for a few outliers."""
    scales = {"": 1 / 255}
    relu = {layer.name for layer in layers if layer.relu}

    def seen(name: str, value: Tensor) -> None:
        magnitudes = value.abs().flatten()
        kept = max(1, round(len(magnitudes) * (1 - OUTLIERS)))
        largest = float(magnitudes.kthvalue(kept).values)
        scales[name] = max(largest / (255 if name in relu else 127), LEAST)

    Floats(weights, masks, seen).run(images, layers)
    for layer in layers:
        if layer.kind == "norm":
            scales[layer.of] *= COARSER
        if layer.kind == "mean":            # a mean is rounded to its operand's grid before anything else
            scales[layer.name] = scales[layer.of]
    return scales


class Quantised(Floats):
    """The operations with values on their grids; `weights` are folded."""

    def __init__(self, weights: Weights, masks: dict[str, Tensor], scales: Scales) -> None:
        super().__init__(weights, masks)
        self.scales = scales

    def _weight(self, layer: Layer) -> tuple[Tensor, Tensor]:
        """Weights on their grid, and the bias on that of sums."""
        weight = self.weight(layer)
        scale = weight_scale(weight.detach(), layer)
        sums = scale.flatten() * self.scales[layer.of]
        return rounded(weight / scale).clamp(-127, 127) * scale, rounded(self.weights.of(layer, "bias") / sums) * sums

    def _out(self, layer: Layer, y: Tensor) -> Tensor:
        return snapped(y, self.scales[layer.name], layer.relu)

    def conv(self, layer: Layer, x: Tensor) -> Tensor:
        weight, bias = self._weight(layer)
        groups = layer.inputs if layer.kind == "depthwise" else 1
        return self._out(layer, F.conv2d(image(x, layer), weight, bias, layer.stride, layer.kernel // 2, groups=groups))

    depthwise = conv

    def linear(self, layer: Layer, x: Tensor) -> Tensor:
        return self._out(layer, F.linear(tokens(x), *self._weight(layer)))

    def norm(self, layer: Layer, x: Tensor) -> Tensor:
        """Scaled-LayerNorm: means and deviations are integers, and 128 / deviation is one too."""
        q = rounded(tokens(x) / self.scales[layer.of])
        mean = q.mean(2, keepdim=True)
        d = q - (mean + ((mean + 0.5).trunc() - mean).detach())         # towards zero, as the machine divides
        deviation = d.pow(2).mean(2, keepdim=True).clamp(min=1).sqrt()
        factor = 128 / deviation
        whole = (128 / deviation.detach().floor()).floor()
        scaled = d * (factor + (whole - factor).detach())
        gain, bias = self.weights.of(layer, "gain"), self.weights.of(layer, "bias")
        scale = (gain.detach().abs().amax() / 127).clamp(min=LEAST)
        return self._out(layer, scaled * rounded(gain / scale) * scale / 128 + rounded(bias * 128 / scale) * scale / 128)

    def attention(self, layer: Layer, x: Tensor) -> Tensor:
        query, key, value = heads(layer, x)
        scores = snapped(query @ key.transpose(2, 3) * query.shape[3] ** -0.5, self.scales[f"{layer.name}_scores"])
        shares = rounded(scores.softmax(3) * 256).clamp(0, 255) / 256
        return self._out(layer, merged(shares @ value))

    def add(self, layer: Layer, x: Tensor, other: Tensor) -> Tensor:
        return self._out(layer, super().add(layer, x, other))

    def mean(self, layer: Layer, x: Tensor) -> Tensor:
        return self._out(layer, super().mean(layer, x))
