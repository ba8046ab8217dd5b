"""Where values lie in RAM. A value has its bytes from the operation that makes it to the last one that reads it; what an operation
needs besides, it has while it runs. A result that is computed element by element, or row by row, takes the place of its operand."""

from __future__ import annotations

from dataclasses import dataclass

from compiler.errors import RoomError, most
from compiler.networks.graph import Graph, Node
from compiler.networks.steps import border_of, stride_of
from isa.preset import Preset
from isa.regions import DRAM, SRAM

ALIGN = 16
STACK = 4096                # bytes; programs of networks use none of it
STRIP = 20 << 10
"""Bytes of an image with its border that an operation works on at a time, unless a single line of windows needs more."""
IN_PLACE = ("add", "layer_norm", "softmax")


@dataclass(frozen=True)
class Strip:
    """Lines of windows that are worked on together, and the part of the image with its border that they need."""

    windows: int        # lines of windows
    lines: int          # of the image
    pixels: int         # of a line, border included

    def bytes(self, channels: int) -> int:
        """A multiple of 4: it is filled by words."""
        return -(-self.lines * self.pixels * channels // 4) * 4


def strip_of(node: Node) -> Strip | None:
    """How an operation with a border works; None: it reads its operand as it is."""
    f = node.step.fields
    if node.kind not in ("conv", "depthwise_conv", "max_pool") or not any(border_of(node.step)):
        return None
    above, left, below, right = border_of(node.step)
    stride, (height, width, channels) = stride_of(node.step)[0], f["in"]
    pixels = width + left + right
    many = max(1, min(((STRIP // (pixels * channels)) - f["kernel"][0]) // stride + 1, f["out"][0]))
    return Strip(many, min((many - 1) * stride + f["kernel"][0], height + above + below), pixels)


def scratch_of(node: Node) -> int:
    """Bytes that an operation needs besides its operands and its result."""
    if strip := strip_of(node):
        return strip.bytes(node.step["in"][2])
    f = node.steps[-1].fields
    if node.kind == "attention":
        return _up(int(f["rows"] * f["inner"])) + int(f["inner"] * f["columns"])
    if node.kind == "matmul" and not f["transposed_right"]:
        return int(f["inner"] * f["columns"])
    return 0


@dataclass(frozen=True)
class Plan:
    """Offsets in RAM of each value, and of what each operation needs besides."""

    values: dict[int, int]
    scratch: dict[str, int]
    bytes: int              # of all
    busiest: str            # the operation during which most is in use


def plan(graph: Graph, machine: Preset) -> Plan:
    """Raises RoomError, with the operation that needs too much and what would fit."""
    storage, life = _storages(graph)
    sizes = {key: max(graph.sizes[value] for value, own in storage.items() if own == key) for key in life}
    for node in graph.nodes:
        if node.kind == "pad":                  # filled by words
            sizes[storage[node.out]] = -(-sizes[storage[node.out]] // 4) * 4
    scratch = {node.name: scratch_of(node) for node in graph.nodes}
    blocks = [(sizes[key], *life[key], str(key)) for key in life]
    blocks += [(scratch[node.name], i, i, node.name) for i, node in enumerate(graph.nodes) if scratch[node.name]]
    placed: list[tuple[int, int, int, int, str]] = []               # offset, end, first, last, key
    for size, first, last, key in sorted(blocks, key=lambda block: (-block[0], block[1])):
        at = 0
        for start, end, others_first, others_last, _ in sorted(placed):
            if others_first <= last and first <= others_last and start < at + size and at < end:
                at = _up(end)
        placed.append((at, at + size, first, last, key))
    offsets = {key: at for at, *_, key in placed}
    total = max(end for _, end, *_ in placed)
    in_use = [sum(size for size, first, last, _ in blocks if first <= i <= last) for i in range(len(graph.nodes))]
    busiest = graph.nodes[in_use.index(max(in_use))]
    room = machine.region(SRAM).size
    if total > room:
        i = graph.nodes.index(busiest)
        made = {str(node.out): f"the result of {node.name}" for node in graph.nodes} | {"0": "the image"}
        kinds = {made.get(key, f"work space of {key}"): size for size, first, last, key in blocks if first <= i <= last}
        raise RoomError(graph.network.path, busiest.steps[-1].name, region=SRAM, got=f"{total:,} bytes of activations",
                        expected=f"at most {room:,}, the sram of {machine.name}",
                        hint=f"at this {busiest.kind} {most(kinds)}; a machine with sram.size = {-(-total // 4096) * 4096:,} "
                             "would do, or a network with fewer pixels or channels there")
    return Plan({value: offsets[str(key)] for value, key in storage.items()},
                {name: offsets[name] for name, size in scratch.items() if size}, total, busiest.name)


def _storages(graph: Graph) -> tuple[dict[int, int], dict[int, tuple[int, int]]]:
    """The storage of each value, by the first value that it holds; from which to which operation each is in use."""
    last = {0: -1} | {graph.output.value: len(graph.nodes)}
    for i, node in enumerate(graph.nodes):
        for view in node.inputs:
            last[view.value] = max(last.get(view.value, -1), i)
    last[graph.output.value] = len(graph.nodes)
    storage, life = {0: 0}, {0: (-1, last[0])}
    for i, node in enumerate(graph.nodes):
        own = node.out
        for view in node.inputs if node.kind in IN_PLACE else ():
            if view.value in graph.constants:
                continue
            if view.offset == 0 and graph.sizes[view.value] == graph.sizes[node.out] and life[storage[view.value]][1] == i:
                own = storage[view.value]
                break
        storage[node.out] = own
        life[own] = (life[own][0] if own in life else i, last.get(node.out, i))
    return storage, life


def stack_bytes(machine: Preset) -> int:
    """RAM for the stack: the region of programs, where a machine has its RAM as a scratchpad; of a larger one a part."""
    return min(machine.region(DRAM).size, STACK)


def _up(size: int) -> int:
    return -(-size // ALIGN) * ALIGN
