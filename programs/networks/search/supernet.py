"""Weights that all paths share, and networks with weights of their own; their arithmetic in floating point.

A layer of a path takes the first outputs and inputs of the supernet's layer of its name, and the middle of its kernel. Convolutions
are followed by batch normalisation over the batch at hand: a path's statistics are its own, so none are stored until it is alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from programs.networks.search.prune import mask
from programs.networks.search.space import HEADS, Layer

EPSILON = 1e-5
Seen = Callable[[str, Tensor], None]
CONVOLUTIONS = ("conv", "depthwise")


class Weights(nn.Module):
    """The parameters of layers, by name. `folded`: convolutions have a bias in place of batch normalisation."""

    def __init__(self, layers: Sequence[Layer], seed: int = 0, folded: bool = False) -> None:
        super().__init__()
        self.layers, self.folded = list(layers), folded
        generator = torch.Generator().manual_seed(seed)
        for layer in layers:
            if layer.kind in (*CONVOLUTIONS, "linear"):
                inputs = 1 if layer.kind == "depthwise" else layer.inputs
                shape = (layer.outputs, inputs, *([layer.kernel] * 2 if layer.kind in CONVOLUTIONS else []))
                spread = (2 / (inputs * layer.kernel ** 2)) ** 0.5 if layer.kind in CONVOLUTIONS else inputs ** -0.5
                self._put(layer, "weight", torch.randn(shape, generator=generator) * spread)
                self._put(layer, "bias", torch.zeros(layer.outputs))
            if layer.kind == "norm" or (layer.kind in CONVOLUTIONS and not folded):
                self._put(layer, "gain", torch.ones(layer.outputs))
            if layer.kind == "norm":
                self._put(layer, "bias", torch.zeros(layer.outputs))

    def _put(self, layer: Layer, what: str, value: Tensor) -> None:
        self.register_parameter(f"{layer.name}_{what}", nn.Parameter(value))

    def of(self, layer: Layer, what: str) -> Tensor:
        """The part of a tensor that a layer has: `what` is weight, bias or gain."""
        value = self.get_parameter(f"{layer.name}_{what}")
        if value.ndim == 1:
            return _first(value, layer)
        value = _first(value, layer)
        if layer.name.endswith("_out"):                 # reads the heads of attention, of which each has its first channels
            value = value.unflatten(1, (HEADS, -1))[:, :, :layer.inputs // HEADS].flatten(1)
        elif layer.kind != "depthwise":
            value = value[:, :layer.inputs]
        if value.ndim == 4:
            edge = (value.shape[2] - layer.kernel) // 2
            value = value[:, :, edge:edge + layer.kernel, edge:edge + layer.kernel]
        return value

    def alone(self, layers: Sequence[Layer]) -> Weights:
        """A network with copies of what these layers have."""
        result = Weights(layers, folded=self.folded)
        with torch.no_grad():
            for layer in layers:
                for what in ("weight", "bias", "gain"):
                    if hasattr(result, f"{layer.name}_{what}"):
                        result.get_parameter(f"{layer.name}_{what}").copy_(self.of(layer, what))
        return result


def _first(value: Tensor, layer: Layer) -> Tensor:
    """The first outputs; of queries, keys and values the first ones of each head."""
    if layer.name.endswith("_qkv"):
        return value.unflatten(0, (3 * HEADS, -1))[:, :layer.outputs // (3 * HEADS)].flatten(0, 1)
    return value[:layer.outputs]


def matrix(weight: Tensor) -> Tensor:
    """(outputs, inputs) of a linear or a 1 x 1 convolution."""
    return weight.flatten(1)


def masks_of(layers: Sequence[Layer], weights: Weights, progress: float = 1.0) -> dict[str, Tensor]:
    """Of each layer that has zeros which weights stay, shaped as its weight; `progress` of the share of its blocks go."""
    result = {}
    for layer in layers:
        block, share = layer.pruning
        if share * progress:
            weight = weights.of(layer, "weight")
            result[layer.name] = mask(matrix(weight), block, share * progress).reshape(weight.shape)
    return result


class Floats:
    """The operations in floating point. Values are (images, channels, lines, pixels), or (images, pixels, channels) between
    linears, norms and attention. `seen` is told of each result, and of what is normalised and of scores inside."""

    def __init__(self, weights: Weights, masks: dict[str, Tensor] | None = None, seen: Seen = lambda _name, _value: None) -> None:
        self.weights, self.masks, self.seen = weights, masks or {}, seen

    def run(self, images: Tensor, layers: Sequence[Layer]) -> Tensor:
        """Logits (images, classes) of images (images, 1, lines, pixels), 0..1."""
        values = {"": images.to(memory_format=torch.channels_last)}          # faster than channel after channel
        for layer in layers:
            value = getattr(self, layer.kind)(layer, values[layer.of], *([values[layer.other]] if layer.kind == "add" else []))
            self.seen(layer.name, value)
            values[layer.name] = value
        return values[layers[-1].name].flatten(1)

    def weight(self, layer: Layer) -> Tensor:
        value = self.weights.of(layer, "weight")
        return value * self.masks[layer.name] if layer.name in self.masks else value

    def conv(self, layer: Layer, x: Tensor) -> Tensor:
        w, bias = self.weight(layer), self.weights.of(layer, "bias")
        groups = layer.inputs if layer.kind == "depthwise" else 1
        y = F.conv2d(image(x, layer), w, bias if self.weights.folded else None, layer.stride, layer.kernel // 2, groups=groups)
        if not self.weights.folded:
            self.seen(f"{layer.name}_sums", y)
            y = F.batch_norm(y, None, None, self.weights.of(layer, "gain"), bias, training=True, eps=EPSILON)
        return F.relu(y) if layer.relu else y

    depthwise = conv

    def linear(self, layer: Layer, x: Tensor) -> Tensor:
        y = F.linear(tokens(x), self.weight(layer), self.weights.of(layer, "bias"))
        return F.relu(y) if layer.relu else y

    def norm(self, layer: Layer, x: Tensor) -> Tensor:
        return F.layer_norm(tokens(x), (layer.inputs,), self.weights.of(layer, "gain"), self.weights.of(layer, "bias"), EPSILON)

    def attention(self, layer: Layer, x: Tensor) -> Tensor:
        query, key, value = heads(layer, x)
        scores = query @ key.transpose(2, 3) * query.shape[3] ** -0.5
        self.seen(f"{layer.name}_scores", scores)
        return merged(scores.softmax(3) @ value)

    def add(self, layer: Layer, x: Tensor, other: Tensor) -> Tensor:
        return tokens(x) + tokens(other) if x.ndim != other.ndim else x + other

    def mean(self, layer: Layer, x: Tensor) -> Tensor:
        return tokens(x).mean(1, keepdim=True)


def tokens(x: Tensor) -> Tensor:
    """(images, pixels, channels)."""
    return x.flatten(2).transpose(1, 2) if x.ndim == 4 else x


def image(x: Tensor, layer: Layer) -> Tensor:
    """(images, channels, lines, pixels)."""
    return x.transpose(1, 2).unflatten(2, (layer.side, layer.side)) if x.ndim == 3 else x


def heads(layer: Layer, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values, (images, heads, pixels, channels of a head) each, of (images, pixels, 3 * channels)."""
    parts = x.reshape(x.shape[0], x.shape[1], 3, layer.heads, -1).permute(2, 0, 3, 1, 4)
    return parts[0], parts[1], parts[2]


def merged(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)


@torch.no_grad()
def folded(weights: Weights, layers: Sequence[Layer], images: Tensor, masks: dict[str, Tensor]) -> Weights:
    """The same network with batch normalisation, by the statistics of these images, inside its convolutions."""
    statistics: dict[str, tuple[Tensor, Tensor]] = {}

    def seen(name: str, value: Tensor) -> None:
        if name.endswith("_sums"):
            statistics[name] = value.var((0, 2, 3), correction=0), value.mean((0, 2, 3))

    Floats(weights, masks, seen).run(images, layers)
    result = Weights(layers, folded=True)
    for layer in layers:
        for what in ("weight", "bias", "gain"):
            if hasattr(result, f"{layer.name}_{what}"):
                result.get_parameter(f"{layer.name}_{what}").copy_(weights.of(layer, what))
        if layer.kind in CONVOLUTIONS:
            variance, mean = statistics[f"{layer.name}_sums"]
            factor = weights.of(layer, "gain") * (variance + EPSILON).rsqrt()
            result.get_parameter(f"{layer.name}_weight").mul_(factor[:, None, None, None])
            result.get_parameter(f"{layer.name}_bias").sub_(mean * factor)
    return result
