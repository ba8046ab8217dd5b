"""The operations as instructions. Most are one: what an image's windows are, and what makes results, is said in CSRs before it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from compiler.networks.code import Code, packed_bounds, packed_offsets
from compiler.networks.graph import Graph, Node, View
from compiler.networks.plan import Plan, Strip, padding_of, stride_of, strip_of
from compiler.networks.reading import Step, dense_weights


class Lowering:
    """Writes the operations of a graph. `dense`: weights with zeros are stored as dense ones, too."""

    def __init__(self, graph: Graph, plan: Plan, code: Code, dense: bool = False) -> None:
        self.graph, self.plan, self.code, self.dense = graph, plan, code, dense

    def all(self) -> None:
        """All operations, each behind a label of its name."""
        emit: dict[str, Callable[[Node], None]] = {
            "conv": self._conv, "depthwise_conv": self._conv, "linear": self._linear, "matmul": self._matmul,
            "attention": self._attention, "max_pool": self._pool, "mean_pool": self._pool, "add": self._add,
            "layer_norm": self._layer_norm, "softmax": self._softmax, "transpose": self._transpose}
        for node in self.graph.nodes:
            self.code.label(node.name, ", ".join(step.name for step in node.steps))
            emit[node.kind](node)

    # ---------------------------------------------------------------------------------------------- places and results

    def _at(self, view: View) -> int:
        return self.code.ram(self.plan.values[view.value] + view.offset)

    def _to(self, node: Node) -> int:
        return self._at(View(node.out, 0))

    def _result(self, step: Step, x: int, w: int = 0) -> None:
        """What makes results of sums: bias, factors, offsets, bounds."""
        c, f = self.code, step.fields
        bias, multiplier, shift = f.get("bias"), np.atleast_1d(f["multiplier"]), np.atleast_1d(f["shift"])
        c.set(vec__bias=0 if bias is None else c.constant(bias, "<i4"), vec__multipliers=c.constant(multiplier, "<i4"),
              vec__shifts=c.constant(shift, "i1"), vec__scale_group=int(len(multiplier) > 1),
              vec__offsets=packed_offsets(x, w, f["output_offset"]), vec__clamp=packed_bounds(f.get("clamp")))

    def _rows(self, rows: int, width: int, stride: int, result_stride: int = 0) -> None:
        """Windows of one tap: vectors."""
        self.code.set(vec__cols=width, vec__taps=0x1_0001, vec__windows=1 << 16 | rows, vec__step=stride,
                      vec__result_stride=result_stride)

    # ---------------------------------------------------------------------------------------------- convolutions, pools

    def _windows(self, node: Node, lines: int, pixels_in_line: int) -> None:
        """`lines` lines of windows of an image whose lines have so many pixels."""
        f = node.step.fields
        (down, across), channels, kernel = stride_of(node), f["in"][2], f["kernel"]
        line = pixels_in_line * channels
        self.code.set(vec__cols=channels, vec__taps=kernel[0] << 16 | kernel[1], vec__windows=lines << 16 | f["out"][1],
                      vec__step=across * channels, vec__window_line=down * line, vec__line=line, vec__result_stride=0)

    def _over_strips(self, node: Node, fill: int, emit: Callable[[int, int], None]) -> None:
        """Have `emit(y, x)` write the instruction for the windows that are set: once, or for each strip of an image with border."""
        f, y, strip = node.step.fields, self._to(node), strip_of(node)
        if strip is None:
            self._windows(node, f["out"][0], f["in"][1])
            emit(y, self._at(node.inputs[0]))
            return
        for first in range(0, f["out"][0], strip.windows):
            many = min(strip.windows, f["out"][0] - first)
            self._border(node, strip, first, many, fill)
            self._windows(node, many, strip.pixels)
            emit(y + first * f["out"][1] * (self.graph.sizes[node.out] // (f["out"][0] * f["out"][1])),
                 self.code.ram(self.plan.scratch[node.name]))

    def _border(self, node: Node, strip: Strip, first: int, many: int, fill: int) -> None:
        """Copy what a strip needs of the image, with its border."""
        c, f, scratch = self.code, node.step.fields, self.code.ram(self.plan.scratch[node.name])
        (height, width, channels), (down, across) = f["in"], padding_of(node)
        top = first * stride_of(node)[0] - down
        lines = (many - 1) * stride_of(node)[0] + f["kernel"][0]
        begin, end = max(top, 0), min(top + lines, height)
        if first == 0 or end < top + lines:
            c.op("vec.fill.32", scratch, (fill & 0xFF) * 0x0101_0101, strip.bytes(channels) // 4, comment="the border")
        c.set(fetch__tag=0, fetch__row_bytes=width * channels, fetch__src_stride=0, fetch__dst_stride=strip.pixels * channels)
        c.op("fetch.copy2d", scratch + ((begin - top) * strip.pixels + across) * channels,
             self._at(node.inputs[0]) + begin * width * channels, end - begin, comment=f"lines {begin}..{end - 1}")

    def _conv(self, node: Node) -> None:
        c, step, depthwise = self.code, node.step, node.kind == "depthwise_conv"
        outputs, name = step["out"][2], "depthwise" if depthwise else "conv"
        self._result(step, step["input_offset"])
        weights, stored = self._weights(step, depthwise)
        if not depthwise:
            c.set(vec__outputs=outputs)
        self._over_strips(node, -step["input_offset"],
                          lambda y, x: c.op(f"sp.{name}.rl.i8" if stored else f"vec.{name}.i8", y, x, weights))

    def _weights(self, step: Step, depthwise: bool = False) -> tuple[str, bool]:
        """The address of weights, and whether they are a stream: only where it is shorter."""
        c, data, dense = self.code, step["weight"], dense_weights(step)
        if step["block"] is not None and len(data) < len(dense) and not self.dense:
            c.set(sp__block=step["block"], sp__stream=len(data))
            return c.constant(data, "i1"), True
        if depthwise and step["layout"] == "chw":
            dense = dense.reshape(step["out"][2], -1).T
        c.set(vec__row_stride=0)
        return c.constant(dense, "i1"), False

    def _pool(self, node: Node) -> None:
        c, step = self.code, node.step
        self._result(step, step["input_offset"])
        name = "vec.maxpool.i8" if node.kind == "max_pool" else "vec.meanpool.i8"
        self._over_strips(node, -128, lambda y, x: c.op(name, y, x))

    # ---------------------------------------------------------------------------------------------- matrices

    def _linear(self, node: Node) -> None:
        c, step = self.code, node.step
        self._result(step, step["input_offset"])
        weights, stored = self._weights(step)
        self._rows(step["rows"], step["in"], step["in"])
        c.set(vec__outputs=step["out"])
        c.op("sp.conv.rl.i8" if stored else "vec.conv.i8", self._to(node), self._at(node.inputs[0]), weights)

    def _product(self, step: Step, y: int, strides: tuple[int, int], x: int, step_x: int, w: int) -> None:
        """y = x w for one head: x and w with rows `step_x` and `strides[0]` bytes apart, rows of y `strides[1]`."""
        self._result(step, *step["offset"])
        self._rows(step["rows"], step["inner"], step_x, strides[1])
        self.code.set(vec__outputs=step["columns"], vec__row_stride=strides[0])
        self.code.op("vec.conv.i8", y, x, w)

    def _turned(self, step: Step, source: int, row: int, target: int) -> None:
        """The transpose of a right operand: column by column."""
        self.code.set(fetch__tag=0, fetch__row_bytes=1, fetch__src_stride=row, fetch__dst_stride=1)
        for column in range(step["columns"]):
            self.code.op("fetch.copy2d", target + column * step["inner"], source + column, step["inner"])

    def _matmul(self, node: Node) -> None:
        step, places = node.step, node.places
        assert places is not None
        x, w, y = self._at(node.inputs[0]), self._at(node.inputs[1]), self._to(node)
        for head in range(step["batch"]):
            right, row = w + head * node.access[1][0], node.access[1][1]
            if not step["transposed_right"]:
                turned = self.code.ram(self.plan.scratch[node.name])
                self._turned(step, right, row, turned)
                right, row = turned, step["inner"]
            self._product(step, y + head * places[0], (row, places[1]), x + head * node.access[0][0], node.access[0][1], right)

    def _attention(self, node: Node) -> None:
        """Head by head: scores, their softmax in place, context."""
        (scores, softmax, context), c, places = node.steps, self.code, node.places
        assert places is not None
        query, keys, values = (self._at(view) for view in node.inputs)
        square = c.ram(self.plan.scratch[node.name])
        turned = square + -(-scores["rows"] * scores["columns"] // 16) * 16
        for head in range(scores["batch"]):
            (of_query, of_keys, of_values) = ((start + head * apart, row)
                                              for start, (apart, row) in zip((query, keys, values), node.access, strict=True))
            self._product(scores, square, (of_keys[1], 0), *of_query, of_keys[0])
            self._soft(softmax, scores["rows"], square, square)
            self._turned(context, *of_values, turned)
            y, inner = self._to(node) + head * places[0], context["inner"]
            self._product(context, y, (inner, places[1]), square, inner, turned)

    # ---------------------------------------------------------------------------------------------- rows, elements

    def _soft(self, step: Step, rows: int, y: int, x: int) -> None:
        c = self.code
        self._rows(rows, step["columns"], step["columns"])
        c.set(vec__multipliers=c.constant([step["multiplier"]], "<i4"), vec__shifts=c.constant([step["shift"]], "i1"),
              vec__offsets=0, vec__cutoff=-step["least_difference"])
        c.op("vec.softmax.i8", y, x)

    def _softmax(self, node: Node) -> None:
        self._soft(node.step, node.step["rows"], self._to(node), self._at(node.inputs[0]))

    def _layer_norm(self, node: Node) -> None:
        c, step = self.code, node.step
        self._result(step, step["input_offset"])
        self._rows(step["rows"], step["channels"], step["channels"])
        c.op("vec.layernorm.i8", self._to(node), self._at(node.inputs[0]), c.constant(step["weight"], "i1"))

    def _add(self, node: Node) -> None:
        c, f = self.code, node.step.fields
        c.set(vec__multipliers=c.constant([*f["multiplier"], f["output_multiplier"]], "<i4"),
              vec__shifts=c.constant([*f["shift"], f["output_shift"]], "i1"), vec__left=f["left_shift"] or 0,
              vec__offsets=packed_offsets(f["offset"][0], f["offset"][1], f["output_offset"]), vec__clamp=packed_bounds(f["clamp"]))
        c.op("vec.add.i8", self._to(node), *map(self._at, node.inputs), f["elements"])

    def _transpose(self, node: Node) -> None:
        c, (a, b, width) = self.code, node.shape
        c.set(fetch__tag=0, fetch__row_bytes=width, fetch__src_stride=b * width, fetch__dst_stride=width)
        for j in range(b):
            c.op("fetch.copy2d", self._to(node) + j * a * width, self._at(node.inputs[0]) + j * width, a)
