"""What each operation reads and makes. An arena of bytes that are used again and again becomes values that are made once.

A copy makes nothing: whoever reads it reads what was copied. An operation on channels times pixels (layout "chw", "channel-major")
becomes the same on pixels times channels, with a transpose in front and behind; two that undo each other go away. What is left of
transposes, between heads of attention, becomes strides of the products beside it where it can.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from math import prod
from typing import Any, NamedTuple

from compiler.errors import ModelError
from compiler.networks.steps import Network, Step


class View(NamedTuple):
    """A part of a value: its number, and bytes from its start."""

    value: int
    offset: int


@dataclass(eq=False)
class Node:
    """An operation. `steps` are those of the file that it does; kind "transpose" has `shape` (a, b, c): [a, b, c] to [b, a, c]."""

    kind: str
    steps: list[Step]
    inputs: list[View]
    out: int
    shape: tuple[int, int, int] = (0, 0, 0)
    access: list[tuple[int, int]] = field(default_factory=list)     # of products: bytes (from head to head, from row to row) of
    places: tuple[int, int] | None = None                           # each operand; the same of the result
    twins: int = 0                                                  # how many before it are the same kind, of the same operation

    @property
    def step(self) -> Step:
        return self.steps[0]

    @property
    def name(self) -> str:
        """A symbol: op12_conv; op12_transpose_2 of the second one that operation 12 needs."""
        return f"op{self.steps[-1].number}_{self.kind}" + (f"_{self.twins + 1}" if self.twins else "")


class Graph:
    """The operations of a network in order, and the bytes of each value. Value 0 is the image; `constants` are values, too."""

    def __init__(self, network: Network) -> None:
        """Raises ModelError for an operation that reads what nobody has written, or leaves the arena."""
        self.network, self.sizes, self.nodes = network, [prod(network.image)], list[Node]()
        if network.input_at + self.sizes[0] > network.arena:
            raise ModelError(network.path, "input_at", got=f"an image of {self.sizes[0]} bytes at {network.input_at}",
                             expected=f"bytes of the arena, which has {network.arena}")
        self.constants = dict(enumerate(network.constants.values(), 1))
        self.sizes += [array.size for array in self.constants.values()]
        self._spans = [(network.input_at, network.input_at + self.sizes[0], View(0, 0))]
        self._spans += [(at, at + self.sizes[value], View(value, 0)) for value, at in enumerate(network.constants, 1)]
        for step in network.steps:
            self._add(step)
        self.outputs = network.outputs
        self.output = self._read(network.steps[-1], network.output_at, self.outputs, "output_at")
        _strided(self)
        _attention(self)
        self._drop_unused()
        self._tell_apart()
        if not self.nodes:
            raise self._error(network.steps[-1], "output_at", "bytes of the image", "results of an operation")

    def maker(self, value: int) -> Node | None:
        """The operation that makes a value; None of the image."""
        return next((node for node in self.nodes if node.out == value), None)

    def uses(self) -> Counter[int]:
        """How often each value is read."""
        return Counter([view.value for node in self.nodes for view in node.inputs] + [self.output.value])

    # ---------------------------------------------------------------------------------------------- from the arena

    def _error(self, step: Step, key: str, got: str, expected: str) -> ModelError:
        place = key if key == "output_at" else f"{step.name}.{key}"
        return ModelError(self.network.path, place, got=got, expected=expected)

    def _read(self, step: Step, start: int, size: int, key: str = "from") -> View:
        for first, end, view in self._spans:
            if first <= start and start + size <= end:
                return View(view.value, view.offset + start - first)
        raise self._error(step, key, f"{size} bytes at {start}", "bytes of one earlier result, or of the image")

    def _write(self, step: Step, view: View, size: int) -> None:
        start, end = step["to"], step["to"] + size
        if start < 0 or end > self.network.arena:
            raise self._error(step, "to", f"{size} bytes at {start}", f"bytes of the arena, which has {self.network.arena}")
        kept = []
        for first, last, old in self._spans:
            if first < start:
                kept.append((first, min(last, start), old))
            if last > end:
                kept.append((max(first, end), last, View(old.value, old.offset + max(first, end) - first)))
        self._spans = [span for span in kept if span[0] < span[1]] + [(start, end, view)]

    def _made(self, kind: str, step: Step, inputs: list[View], size: int, **more: Any) -> View:
        self.sizes.append(size)
        self.nodes.append(Node(kind, [step], inputs, len(self.sizes) - 1, **more))
        return View(len(self.sizes) - 1, 0)

    def _add(self, step: Step) -> None:
        inputs = [self._read(step, start, size) for start, size in step.reads]
        if step.kind == "copy":
            view = inputs[0]
        elif step.kind == "transpose":
            view = self._swapped(step, inputs[0], *step["shape"][1:])
        elif step.fields.get("layout") in ("chw", "channel-major"):
            pixels, channels, wide = ((step["rows"], step["in"], step["out"]) if step.kind == "linear"
                                      else (prod(step["in"][:2]), step["in"][2], step["out"][2]))
            of_result = step["rows"] if step.kind == "linear" else prod(step["out"][:2])
            image = self._swapped(step, inputs[0], channels, pixels, 1)
            view = self._swapped(step, self._made(step.kind, step, [image], step.written), of_result, wide, 1)
        else:
            view = self._made(step.kind, step, inputs, step.written)
        self._write(step, view, step.written)

    def _swapped(self, step: Step, view: View, a: int, b: int, c: int) -> View:
        """[a, b, c] as [b, a, c]."""
        node = self.maker(view.value)
        if min(a, b) == 1:
            return view
        if node is not None and node.kind == "transpose" and view.offset == 0 and node.shape == (b, a, c):
            return node.inputs[0]
        return self._made("transpose", step, [view], a * b * c, shape=(a, b, c))

    def _drop_unused(self) -> None:
        needed, kept = {self.output.value}, []
        for node in reversed(self.nodes):
            if node.out in needed:
                kept.append(node)
                needed |= {view.value for view in node.inputs}
        self.nodes = kept[::-1]

    def _tell_apart(self) -> None:
        """Give operations of one name numbers."""
        seen = Counter[str]()
        for node in self.nodes:
            name = node.name
            node.twins = seen[name]
            seen[name] += 1


def _strided(graph: Graph) -> None:
    """Products of matrices read, and write, through a transpose."""
    for node in graph.nodes:
        if node.kind != "matmul":
            continue
        f = node.step.fields
        rows_of = (f["rows"], f["columns"] if f["transposed_right"] else f["inner"])
        width_of = (f["inner"], f["inner"] if f["transposed_right"] else f["columns"])
        for i, (rows, width) in enumerate(zip(rows_of, width_of, strict=True)):
            view = node.inputs[i]
            source = graph.maker(view.value)
            if (source is not None and source.kind == "transpose" and source.shape[::2] == (rows, width)
                    and view.offset % (rows * width) == 0):
                heads, start = source.shape[1], source.inputs[0]
                node.inputs[i] = View(start.value, start.offset + view.offset // rows)
                node.access.append((width, heads * width))
            else:
                node.access.append((rows * width, width))
        node.places = f["rows"] * f["columns"], f["columns"]
        uses = graph.uses()
        for other in graph.nodes:
            if (other.kind == "transpose" and other.inputs[0] == View(node.out, 0) and uses[node.out] == 1
                    and other.shape == (f["batch"], f["rows"], f["columns"])):
                node.places, other.kind = (f["columns"], f["batch"] * f["columns"]), "gone"
                node.out = other.out
                break
    graph.nodes = [node for node in graph.nodes if node.kind != "gone"]


def _attention(graph: Graph) -> None:
    """Scores, softmax and context become one operation, which goes from head to head: the scores of one are there at a time."""
    uses, kept = graph.uses(), list[Node]()
    for node in graph.nodes:
        if (len(kept) >= 2 and [one.kind for one in kept[-2:]] == ["matmul", "softmax"] and node.kind == "matmul"
                and not node.step["transposed_right"] and kept[-2].step["transposed_right"]
                and kept[-1].inputs == [View(kept[-2].out, 0)] and node.inputs[0] == View(kept[-1].out, 0)
                and uses[kept[-2].out] == uses[kept[-1].out] == 1 and kept[-1].step["columns"] == kept[-2].step["columns"]
                and kept[-2].step["batch"] == node.step["batch"] and kept[-2].step["rows"] == node.step["rows"]
                and kept[-2].step["columns"] == node.step["inner"]):
            scores, softmax = kept[-2:]
            del kept[-2:]
            kept.append(Node("attention", [scores.step, softmax.step, node.step], [*scores.inputs, node.inputs[1]], node.out,
                             access=[*scores.access, node.access[1]], places=node.places))
        else:
            kept.append(node)
    graph.nodes = kept
