"""Each operation in NumPy: what its instructions are held to, by `slimulator verify`."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from compiler.networks.graph import Graph, Node, View
from compiler.networks.steps import Step, border_of, dense_weights, stride_of
from isa import quantised
from isa.quantised import Ints, requantised, wrapped


class Executor:
    """The values of a graph for one image, int8 (bytes,) each."""

    def __init__(self, graph: Graph, image: npt.NDArray[np.int8]) -> None:
        self.graph = graph
        self.values = {0: image} | {value: array.astype(np.int8) for value, array in graph.constants.items()}

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



def _scaled(sums: Ints, multiplier: Any, shift: Any, once: bool = False) -> Ints:
    """Sums as int32, requantised."""
    return requantised(wrapped(sums), multiplier, shift, once)


def _result(step: Step, sums: Ints) -> Ints:
    """int8 results of sums (..., outputs)."""
    bias = step.fields.get("bias")
    scaled = _scaled(sums + (0 if bias is None else bias), step["multiplier"], step["shift"], step.once)
    return _clipped(scaled + step["output_offset"], *(step.fields.get("clamp") or (-128, 127)))


def _clipped(values: Ints, least: int = -128, greatest: int = 127) -> Ints:
    return np.minimum(np.maximum(values, least), greatest)


def _windows(node: Node, x: Ints, border: int) -> Ints:
    """(lines of windows, windows, lines, pixels, channels) of an image with a border."""
    f, (above, left, below, right) = node.step.fields, border_of(node.step)
    image = np.pad(x[:prod(f["in"])].reshape(f["in"]), ((above, below), (left, right), (0, 0)), constant_values=border)
    step_down, step_across = stride_of(node.step)
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


def _max_pool(node: Node, operands: Sequence[Ints]) -> Ints:
    step = node.step
    return _result(step, _windows(node, operands[0], -128).max(axis=(2, 3)) + step["input_offset"])


def _mean_pool(node: Node, operands: Sequence[Ints]) -> Ints:
    """Means of what windows have of the image."""
    step = node.step
    many = _windows(node, np.ones(prod(step["in"]), np.int64), 0).sum(axis=(2, 3))
    total = _windows(node, operands[0], 0).sum(axis=(2, 3))
    return _result(step, quantised.divided(total, many) + step["input_offset"])


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
    return _clipped(_scaled(sums, step["multiplier"], step["shift"]) + step["output_offset"])


def _add(node: Node, operands: Sequence[Ints]) -> Ints:
    f = node.step.fields
    total = sum(_scaled(x[:f["elements"]] + offset << (f["left_shift"] or 0), multiplier, shift)
                for x, offset, multiplier, shift in zip(operands, f["offset"], f["multiplier"], f["shift"], strict=True))
    return _clipped(_scaled(np.asarray(total), f["output_multiplier"], f["output_shift"]) + f["output_offset"],
                    *(f["clamp"] or (-128, 127)))


def _mul(node: Node, operands: Sequence[Ints]) -> Ints:
    step = node.step
    rows = operands[0][:step["rows"] * step["columns"]].reshape(step["rows"], -1) + step["offset"][0]
    return _result(step, rows * (operands[1][:step["columns"]] + step["offset"][1]))


def _mean(node: Node, operands: Sequence[Ints]) -> Ints:
    step = node.step
    parts = operands[0][:step.reads[0][1]].reshape(step["outer"], step["n"], step["inner"])
    return _result(step, (parts + step["input_offset"]).sum(axis=1))


def _rescale(node: Node, operands: Sequence[Ints]) -> Ints:
    return _result(node.step, operands[0][:node.step["elements"]] + node.step["input_offset"])


def _concat(node: Node, operands: Sequence[Ints]) -> Ints:
    return np.concatenate([x[:size].reshape(node.step["rows"], -1)
                           for x, (_, size) in zip(operands, node.step.reads, strict=True)], axis=1)


def _pad(node: Node, operands: Sequence[Ints]) -> Ints:
    f = node.step.fields
    return np.pad(operands[0][:prod(f["shape"])].reshape(f["shape"]), list(zip(f["above"], f["below"], strict=True)),
                  constant_values=f["value"])


def _slice(node: Node, operands: Sequence[Ints]) -> Ints:
    f = node.step.fields
    return operands[0][:f["rows"] * f["pitch"]].reshape(f["rows"], -1)[:, f["skip"]:f["skip"] + f["width"]]


def _transpose(node: Node, operands: Sequence[Ints]) -> Ints:
    return operands[0][:prod(node.shape)].reshape(node.shape).transpose(1, 0, 2)


def _product(a: Ints, b: Ints) -> Ints:
    """Exact, for sums are far below 2**53."""
    return np.rint(a.astype(np.float64) @ b.astype(np.float64)).astype(np.int64)


_RULES = {"conv": _conv, "depthwise_conv": _depthwise, "linear": _linear, "max_pool": _max_pool, "mean_pool": _mean_pool,
          "matmul": _matmul, "attention": _attention, "softmax": _softmax, "layer_norm": _layer_norm, "add": _add,
          "transpose": _transpose, "mul": _mul, "mean": _mean, "rescale": _rescale, "concat": _concat, "pad": _pad, "slice": _slice}
