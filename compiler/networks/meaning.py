"""Each operation in NumPy: what its instructions are held to, by `slimulator verify`."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import numpy.typing as npt

from compiler.networks.graph import Graph, Node, View
from compiler.networks.plan import padding_of, stride_of
from compiler.networks.reading import Step, dense_weights
from isa import quantised
from isa.quantised import Ints, requantised, wrapped


class Executor:
    """The values of a graph for one image, int8 (bytes,) each."""

    def __init__(self, graph: Graph, image: npt.NDArray[np.int8]) -> None:
        self.graph, self.values = graph, {0: image}

    def run(self, node: Node) -> npt.NDArray[np.int8]:
        """The result of an operation whose operands have been made."""
        operands = [self._value(view) for view in node.inputs]
        result: npt.NDArray[np.int8] = _RULES[node.kind](node, operands).astype(np.int8).reshape(-1)
        self.values[node.out] = result
        return result

    def all(self) -> npt.NDArray[np.int8]:
        """The logits."""
        for node in self.graph.nodes:
            self.run(node)
        return self._value(self.graph.output)[:self.graph.outputs].astype(np.int8)

    def _value(self, view: View) -> Ints:
        return self.values[view.value][view.offset:].astype(np.int64)


def _result(step: Step, sums: Ints) -> Ints:
    """int8 results of sums (..., outputs)."""
    bias = step.fields.get("bias")
    scaled = requantised(wrapped(sums + (0 if bias is None else bias)), step["multiplier"], step["shift"])
    least, greatest = step.fields.get("clamp") or (-128, 127)
    return _clipped(scaled + step["output_offset"], least, greatest)


def _clipped(values: Ints, least: int = -128, greatest: int = 127) -> Ints:
    return np.minimum(np.maximum(values, least), greatest)


def _windows(node: Node, x: Ints, border: int) -> Ints:
    """(lines of windows, windows, lines, pixels, channels) of an image with a border."""
    f, (down, across) = node.step.fields, padding_of(node)
    image = np.pad(x[:prod(f["in"])].reshape(f["in"]), ((down, down), (across, across), (0, 0)), constant_values=border)
    step_down, step_across = stride_of(node)
    views = np.lib.stride_tricks.sliding_window_view(image, f["kernel"], (0, 1))[::step_down, ::step_across]
    windows: Ints = views.transpose(0, 1, 3, 4, 2)
    return windows


def _conv(node: Node, operands: Sequence[Ints]) -> Ints:
    step = node.step
    x = _windows(node, operands[0], -step["input_offset"]) + step["input_offset"]
    w = dense_weights(step).astype(np.int64).reshape(step["out"][2], -1)
    return _result(step, _product(x.reshape(*x.shape[:2], -1), w.T))


def _depthwise(node: Node, operands: Sequence[Ints]) -> Ints:
    step = node.step
    x = _windows(node, operands[0], -step["input_offset"]) + step["input_offset"]
    w = dense_weights(step).astype(np.int64)
    channels = step["out"][2]
    taps = w.reshape(channels, -1).T if step["layout"] == "chw" else w.reshape(-1, channels)
    return _result(step, (x.reshape(*x.shape[:2], -1, channels) * taps).sum(axis=2))


def _linear(node: Node, operands: Sequence[Ints]) -> Ints:
    step = node.step
    x = operands[0][:step["rows"] * step["in"]].reshape(step["rows"], step["in"])
    w = dense_weights(step).astype(np.int64).reshape(step["out"], step["in"])
    return _result(step, _product(x + step["input_offset"], w.T))


def _pool(node: Node, operands: Sequence[Ints]) -> Ints:
    step = node.step
    x = _windows(node, operands[0], -128)
    x = x.reshape(*x.shape[:2], -1, x.shape[-1])
    pooled = x.max(axis=2) if node.kind == "max_pool" else quantised.divided(x.sum(axis=2), x.shape[2])
    return _result(step, pooled + step["input_offset"])


def _heads(x: Ints, access: tuple[int, int], heads: int, rows: int, width: int) -> Ints:
    """(heads, rows, width) of an operand whose heads and rows lie so far apart."""
    taken: Ints = x[access[0] * np.arange(heads)[:, None, None] + access[1] * np.arange(rows)[:, None] + np.arange(width)]
    return taken


def _matmul(node: Node, operands: Sequence[Ints], step: Step | None = None) -> Ints:
    """The bytes of the result, heads where `places` has them."""
    step = step or node.step
    heads, rows, inner, columns = (step[key] for key in ("batch", "rows", "inner", "columns"))
    left = _heads(operands[0], node.access[0], heads, rows, inner) + step["offset"][0]
    right = _heads(operands[1], node.access[1], heads, *((columns, inner) if step["transposed_right"] else (inner, columns)))
    right = (right.transpose(0, 2, 1) if step["transposed_right"] else right) + step["offset"][1]
    return _placed(node, _result(step, _product(left, right)))


def _placed(node: Node, result: Ints) -> Ints:
    heads, rows, columns = result.shape
    assert node.places is not None
    out = np.zeros(result.size, np.int64)
    out[node.places[0] * np.arange(heads)[:, None, None] + node.places[1] * np.arange(rows)[:, None] + np.arange(columns)] = result
    return out


def _attention(node: Node, operands: Sequence[Ints]) -> Ints:
    scores, softmax, context = node.steps
    heads, rows, inner, columns = (scores[key] for key in ("batch", "rows", "inner", "columns"))
    query = _heads(operands[0], node.access[0], heads, rows, inner) + scores["offset"][0]
    keys = _heads(operands[1], node.access[1], heads, columns, inner) + scores["offset"][1]
    made = _result(scores, _product(query, keys.transpose(0, 2, 1)))
    shares = _soft(softmax, made.reshape(-1, columns)).reshape(made.shape) + context["offset"][0]
    values = _heads(operands[2], node.access[2], heads, columns, context["columns"]) + context["offset"][1]
    return _placed(node, _result(context, _product(shares, values)))


def _soft(step: Step, x: Ints) -> Ints:
    return quantised.softmax(x, step["multiplier"], step["shift"], -step["least_difference"])


def _softmax(node: Node, operands: Sequence[Ints]) -> Ints:
    return _soft(node.step, operands[0][:node.step["rows"] * node.step["columns"]].reshape(-1, node.step["columns"]))


def _layer_norm(node: Node, operands: Sequence[Ints]) -> Ints:
    step = node.step
    x, bias = operands[0][:step["rows"] * step["channels"]].reshape(-1, step["channels"]), step["bias"]
    sums = quantised.scaled_layernorm(x, step["input_offset"], step["weight"].astype(np.int64),
                                      np.zeros(1, np.int64) if bias is None else bias.astype(np.int64))
    return _clipped(requantised(sums, step["multiplier"], step["shift"]) + step["output_offset"])


def _add(node: Node, operands: Sequence[Ints]) -> Ints:
    f = node.step.fields
    total = sum(requantised(wrapped(x[:f["elements"]] + offset << (f["left_shift"] or 0)), multiplier, shift)
                for x, offset, multiplier, shift in zip(operands, f["offset"], f["multiplier"], f["shift"], strict=True))
    least, greatest = f["clamp"] or (-128, 127)
    return _clipped(requantised(wrapped(total), f["output_multiplier"], f["output_shift"]) + f["output_offset"], least, greatest)


def _transpose(node: Node, operands: Sequence[Ints]) -> Ints:
    return operands[0][:prod(node.shape)].reshape(node.shape).transpose(1, 0, 2)


def _product(a: Ints, b: Ints) -> Ints:
    """Exact, for sums are far below 2**53."""
    return np.rint(a.astype(np.float64) @ b.astype(np.float64)).astype(np.int64)


_RULES = {"conv": _conv, "depthwise_conv": _depthwise, "linear": _linear, "max_pool": _pool, "mean_pool": _pool, "matmul": _matmul,
          "attention": _attention, "softmax": _softmax, "layer_norm": _layer_norm, "add": _add, "transpose": _transpose}
