"""The operations as instructions. Most are one: what an image's windows are, and what makes results, is said in CSRs before it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from compiler.networks.code import Address, Code, beyond, packed_bounds, packed_offsets
from compiler.networks.graph import Graph, Node, View
from compiler.networks.plan import Plan, Strip, strip_of
from compiler.networks.steps import Step, border_of, dense_weights, stride_of
from isa import sparse


class Lowering:
    """Writes the operations of a graph. `dense`: weights with zeros are stored as dense ones, too."""

    def __init__(self, graph: Graph, plan: Plan, code: Code, dense: bool = False) -> None:
        self.graph, self.plan, self.code, self.dense = graph, plan, code, dense
        self.rounds = any(step.once for node in graph.nodes for step in node.steps)

    def all(self) -> None:
        """All operations, each behind a label of its name."""
        emit: dict[str, Callable[[Node], None]] = {
            "conv": self._conv, "depthwise_conv": self._conv, "linear": self._linear, "matmul": self._matmul,
            "attention": self._attention, "max_pool": self._max_pool, "mean_pool": self._mean_pool, "add": self._add,
            "layer_norm": self._layer_norm, "softmax": self._softmax, "transpose": self._transpose, "mul": self._mul,
            "mean": self._mean, "rescale": self._rescale, "concat": self._concat, "pad": self._pad, "slice": self._slice}
        for node in self.graph.nodes:
            self.code.label(node.name, ", ".join(step.name for step in node.steps))
            emit[node.kind](node)

    # ---------------------------------------------------------------------------------------------- places and results

    def _at(self, view: View) -> Address:
        if view.value in self.graph.constants:
            return beyond(self.code.constant(self.graph.constants[view.value], "i1"), view.offset)
        return self.code.ram(self.plan.values[view.value] + view.offset)

    def _to(self, node: Node) -> int:
        return self.code.ram(self.plan.values[node.out])

    def _result(self, step: Step, x: int, w: int = 0) -> None:
        """What makes results of sums: bias, factors, offsets, bounds."""
        c, f = self.code, step.fields
        bias, multiplier, shift = f.get("bias"), np.atleast_1d(f["multiplier"]), np.atleast_1d(f["shift"])
        c.set(vec__bias=0 if bias is None else c.constant(bias, "<i4"), vec__multipliers=c.constant(multiplier, "<i4"),
              vec__shifts=c.constant(shift, "i1"), vec__scale_group=int(len(multiplier) > 1),
              vec__offsets=packed_offsets(x, w, f["output_offset"]), vec__clamp=packed_bounds(f.get("clamp")))

        self._rounding(step)

    def _rounding(self, step: Step) -> None:
        if self.rounds:
            self.code.set(vec__rounding=int(step.once))

    def _rows(self, rows: int, width: int, stride: int, result_stride: int = 0) -> None:
        """Windows of one tap: vectors."""
        self.code.set(vec__cols=width, vec__taps=0x1_0001, vec__windows=1 << 16 | rows, vec__step=stride,
                      vec__result_stride=result_stride)

    # ---------------------------------------------------------------------------------------------- convolutions, pools

    def _windows(self, node: Node, lines: int, pixels_in_line: int) -> None:
        """`lines` lines of windows of an image whose lines have so many pixels."""
        f = node.step.fields
        (down, across), channels, kernel = stride_of(node.step), f["in"][2], f["kernel"]
        line = pixels_in_line * channels
        self.code.set(vec__cols=channels, vec__taps=kernel[0] << 16 | kernel[1], vec__windows=lines << 16 | f["out"][1],
                      vec__step=across * channels, vec__window_line=down * line, vec__line=line, vec__result_stride=0)

    def _over_strips(self, node: Node, fill: int, emit: Callable[[int, Address], None]) -> None:
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
        (height, width, channels), (above, left, _, _) = f["in"], border_of(node.step)
        top = first * stride_of(node.step)[0] - above
        lines = (many - 1) * stride_of(node.step)[0] + f["kernel"][0]
        begin, end = max(top, 0), min(top + lines, height)
        if first == 0 or end < top + lines:
            c.op("vec.fill.32", scratch, (fill & 0xFF) * 0x0101_0101, strip.bytes(channels) // 4, comment="the border")
        c.set(fetch__tag=0, fetch__row_bytes=width * channels, fetch__src_stride=0, fetch__dst_stride=strip.pixels * channels)
        c.op("fetch.copy2d", scratch + ((begin - top) * strip.pixels + left) * channels,
             beyond(self._at(node.inputs[0]), begin * width * channels), end - begin, comment=f"lines {begin}..{end - 1}")

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
        c, stream, dense = self.code, step["weight"], dense_weights(step)
        if depthwise:                           # (taps, channels)
            channels = step["out"][2]
            dense = dense.reshape(channels, -1).T if step["layout"] == "chw" else dense.reshape(-1, channels)
        if step["block"] is not None and not self.dense:
            if depthwise and step["layout"] != "chw":
                stream = sparse.RunLength(step["block"]).pack(dense.T.reshape(1, -1), "i8").values      # by channels
            if len(stream) < dense.size:
                c.set(sp__block=step["block"], sp__stream=len(stream))
                return c.constant(stream, stream.dtype.str), True
        c.set(vec__row_stride=0)
        return c.constant(dense, "i1"), False

    def _max_pool(self, node: Node) -> None:
        self._result(node.step, node.step["input_offset"])
        self._over_strips(node, -128, lambda y, x: self.code.op("vec.maxpool.i8", y, x))

    def _mean_pool(self, node: Node) -> None:
        """Means of what windows have of the image: by windows that have equally much of it."""
        c, step, f = self.code, node.step, node.step.fields
        self._result(step, step["input_offset"])
        if not any(border_of(step)):
            self._over_strips(node, 0, lambda y, x: c.op("vec.meanpool.i8", y, x))
            return
        (height, width, channels), (above, left, _, _), (down, across) = f["in"], border_of(step), stride_of(step)
        columns = _cut(f["out"][1], across, f["kernel"][1], left, width)
        for lines in _cut(f["out"][0], down, f["kernel"][0], above, height):
            for pixels in columns:
                together = lines.many if len(columns) == 1 else 1           # lines of results that lie side by side
                for i in range(0, lines.many, together):
                    c.set(vec__cols=channels, vec__taps=lines.taps << 16 | pixels.taps, vec__windows=together << 16 | pixels.many,
                          vec__step=across * channels, vec__window_line=down * width * channels, vec__line=width * channels,
                          vec__result_stride=0)
                    start = (lines.start + i * down) * width + pixels.start
                    c.op("vec.meanpool.i8", self._to(node) + ((lines.first + i) * f["out"][1] + pixels.first) * channels,
                         beyond(self._at(node.inputs[0]), start * channels))

    # ---------------------------------------------------------------------------------------------- matrices

    def _linear(self, node: Node) -> None:
        c, step = self.code, node.step
        self._result(step, step["input_offset"])
        weights, stored = self._weights(step)
        self._rows(step["rows"], step["in"], step["in"])
        c.set(vec__outputs=step["out"])
        c.op("sp.conv.rl.i8" if stored else "vec.conv.i8", self._to(node), self._at(node.inputs[0]), weights)

    def _product(self, step: Step, y: int, strides: tuple[int, int], x: Address, step_x: int, w: Address) -> None:
        """y = x w for one head: x and w with rows `step_x` and `strides[0]` bytes apart, rows of y `strides[1]`."""
        self._result(step, *step["offset"])
        self._rows(step["rows"], step["inner"], step_x, strides[1])
        self.code.set(vec__outputs=step["columns"], vec__row_stride=strides[0])
        self.code.op("vec.conv.i8", y, x, w)

    def _turned(self, step: Step, source: Address, row: int, target: int) -> None:
        """The transpose of a right operand: column by column."""
        self.code.set(fetch__tag=0, fetch__row_bytes=1, fetch__src_stride=row, fetch__dst_stride=1)
        for column in range(step["columns"]):
            self.code.op("fetch.copy2d", target + column * step["inner"], beyond(source, column), step["inner"])

    def _matmul(self, node: Node) -> None:
        step, places = node.step, node.places
        assert places is not None
        x, w, y = self._at(node.inputs[0]), self._at(node.inputs[1]), self._to(node)
        for head in range(step["batch"]):
            right, row = beyond(w, head * node.access[1][0]), node.access[1][1]
            if not step["transposed_right"]:
                turned = self.code.ram(self.plan.scratch[node.name])
                self._turned(step, right, row, turned)
                right, row = turned, step["inner"]
            left = beyond(x, head * node.access[0][0])
            self._product(step, y + head * places[0], (row, places[1]), left, node.access[0][1], right)

    def _attention(self, node: Node) -> None:
        """Head by head: scores, their softmax in place, context."""
        (scores, softmax, context), c, places = node.steps, self.code, node.places
        assert places is not None
        query, keys, values = (self._at(view) for view in node.inputs)
        square = c.ram(self.plan.scratch[node.name])
        turned = square + -(-scores["rows"] * scores["columns"] // 16) * 16
        for head in range(scores["batch"]):
            (of_query, of_keys, of_values) = ((beyond(start, head * apart), row)
                                              for start, (apart, row) in zip((query, keys, values), node.access, strict=True))
            self._product(scores, square, (of_keys[1], 0), *of_query, of_keys[0])
            self._soft(softmax, scores["rows"], square, square)
            self._turned(context, *of_values, turned)
            y, inner = self._to(node) + head * places[0], context["inner"]
            self._product(context, y, (inner, places[1]), square, inner, turned)

    # ---------------------------------------------------------------------------------------------- rows, elements

    def _soft(self, step: Step, rows: int, y: int, x: Address) -> None:
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
        self._rounding(node.step)
        c.op("vec.add.i8", self._to(node), *map(self._at, node.inputs), f["elements"])

    def _transpose(self, node: Node) -> None:
        c, (a, b, width) = self.code, node.shape
        c.set(fetch__tag=0, fetch__row_bytes=width, fetch__src_stride=b * width, fetch__dst_stride=width)
        for j in range(b):
            c.op("fetch.copy2d", self._to(node) + j * a * width, beyond(self._at(node.inputs[0]), j * width), a)

    def _mul(self, node: Node) -> None:
        """Depthwise, with vectors as windows of one tap: the right operand are its weights."""
        c, step = self.code, node.step
        self._result(step, *step["offset"])
        self._rows(step["rows"], step["columns"], step["columns"])
        c.set(vec__row_stride=0)
        c.op("vec.depthwise.i8", self._to(node), *map(self._at, node.inputs))

    def _mean(self, node: Node) -> None:
        """Depthwise, with weights of 1. A window has some of the `inner` channels, so that there are few weights."""
        c, step = self.code, node.step
        outer, n, inner = step["outer"], step["n"], step["inner"]
        some = max(k for k in range(1, 17) if inner % k == 0)
        self._result(step, step["input_offset"])
        c.set(vec__cols=some, vec__windows=outer << 16 | inner // some, vec__step=some, vec__window_line=n * inner,
              vec__taps=1 << 16 | n if some == inner else n << 16 | 1, vec__line=inner, vec__result_stride=0, vec__row_stride=0)
        c.op("vec.depthwise.i8", self._to(node), self._at(node.inputs[0]), c.constant(np.ones(n * some), "i1"))

    def _rescale(self, node: Node) -> None:
        """The largest of one: all elements are channels of a window."""
        step = node.step
        self._result(step, step["input_offset"])
        self._rows(1, step["elements"], step["elements"])
        self.code.op("vec.maxpool.i8", self._to(node), self._at(node.inputs[0]))

    # ---------------------------------------------------------------------------------------------- bytes that move

    def _copy(self, target: int, source: Address, rows: int, width: int, pitches: tuple[int, int]) -> None:
        """Rows of `width` bytes, `pitches` from row to row of the target and of the source."""
        self.code.set(fetch__tag=0, fetch__row_bytes=width, fetch__src_stride=pitches[1], fetch__dst_stride=pitches[0])
        self.code.op("fetch.copy2d", target, source, rows)

    def _concat(self, node: Node) -> None:
        widths, y = node.step["widths"], self._to(node)
        for view, width in zip(node.inputs, widths, strict=True):
            self._copy(y, self._at(view), node.step["rows"], width, (sum(widths), width))
            y += width

    def _slice(self, node: Node) -> None:
        f = node.step.fields
        self._copy(self._to(node), beyond(self._at(node.inputs[0]), f["skip"]), f["rows"], f["width"], (f["width"], f["pitch"]))

    def _pad(self, node: Node) -> None:
        f, x = node.step.fields, self._at(node.inputs[0])
        (height, width, channels), (above, left, front) = f["shape"], f["above"]
        line, deep = (width + left + f["below"][1]), (channels + front + f["below"][2])
        y = self._to(node) + (above * line + left) * deep + front
        self.code.op("vec.fill.32", self._to(node), (f["value"] & 0xFF) * 0x0101_0101, -(-self.graph.sizes[node.out] // 4))
        if deep == channels:
            self._copy(y, x, height, width * channels, (line * deep, width * channels))
        else:
            for i in range(height):
                self._copy(y + i * line * deep, beyond(x, i * width * channels), width, channels, (deep, channels))


class _Part(NamedTuple):
    """Windows side by side that have equally much of an image, along one axis."""

    first: int          # window
    many: int
    start: int          # line, or pixel, of the image where the first one begins
    taps: int


def _cut(windows: int, stride: int, kernel: int, border: int, size: int) -> list[_Part]:
    """The windows over an image of `size` behind a border, by how much of the image they have."""
    parts: list[_Part] = []
    for i in range(windows):
        start, end = max(i * stride - border, 0), min(i * stride - border + kernel, size)
        last = parts[-1] if parts else None
        if last and last.taps == end - start and start == last.start + last.many * stride:
            parts[-1] = last._replace(many=last.many + 1)
        else:
            parts.append(_Part(i, 1, start, end - start))
    return parts
