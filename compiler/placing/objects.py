"""Neurons as objects: of each neuron its row of gate, its row of up and its column of down, side by side.

    objects = plan_objects(layout, page_bytes)      offsets and sizes, nothing is read
    objects.write(stream)

One gather then brings all that a neuron needs. An object begins with a slot: number times `slot_bytes` is its place, so that
`fetch.rows` finds it. As many slots as a power of two share a page, and no object crosses its end; an object that is larger than a
page begins with one. Layers begin with a page, too. Scales stay in the file of the other weights, which the units read.

Source: SLIM, arXiv 2507.09201, section 4 (the three vectors of a neuron are one object, aligned to pages or packed into one; from
a third-party reading note). That a page holds a power of two of them is *assumed*.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO

import numpy as np

from compiler.placing.weights import Placed, WeightLayout, packed_rows

ROLES = ("gate", "up", "down")
NO_PAGES = 64                       # bytes that stand for a page in a memory without pages: a cache line


@dataclass(frozen=True)
class Neuron:
    """The object of a neuron in the layers of one body: where its `parts` begin, by role, in bytes from its start.

    count  neurons of a layer
    size   bytes of an object; slot_bytes: from one to the next; layer_bytes: from one layer to the next
    """

    count: int
    parts: Mapping[str, int]
    size: int
    slot_bytes: int
    layer_bytes: int
    page_bytes: int

    @property
    def pages(self) -> int:
        """Pages of an object; 1 where several share one."""
        return -(-self.size // self.page_bytes)

    @property
    def together(self) -> int:
        """Objects that share a page."""
        return max(1, self.page_bytes // self.slot_bytes)

    def __str__(self) -> str:
        placed = (f"{self.together} in a page of {self.page_bytes:,} bytes" if self.pages == 1 else
                  f"each in {self.pages} pages of {self.page_bytes:,} bytes")
        return f"{self.size:,} bytes a neuron, {placed}"


def slot_of(size: int, page_bytes: int) -> int:
    """Bytes from one object of `size` bytes to the next one."""
    if size > page_bytes:
        return -(-size // page_bytes) * page_bytes
    slot = page_bytes
    while slot % 2 == 0 and slot // 2 >= size:
        slot //= 2
    return slot


def neuron_of(body: Mapping[str, Placed], page_bytes: int) -> Neuron:
    """The object of a neuron in layers that are laid out like `body`."""
    at, parts = 0, dict[str, int]()
    for role in ROLES:
        if role in body:
            parts[role], at = at, at + body[role].row_bytes
    slot, count = slot_of(at, page_bytes), body["down"].rows
    return Neuron(count, parts, at, slot, -(-count * slot // page_bytes) * page_bytes, page_bytes)


@dataclass(frozen=True)
class Objects:
    """The objects of all layers as one file, which a program has behind the symbol `objects`."""

    layout: WeightLayout
    page_bytes: int

    @property
    def bodies(self) -> list[Neuron]:
        """The object of a neuron in each body of the graph."""
        return [neuron_of(body, self.page_bytes) for body in self.layout.bodies]

    @property
    def size(self) -> int:
        return sum(neuron.layer_bytes * len(layers) for neuron, layers in zip(self.bodies, self.layout.groups, strict=True))

    def write(self, stream: IO[bytes]) -> Iterator[tuple[int, int]]:
        """Write the file; yields (bytes so far, all bytes) behind each layer. A layer is held while it is written."""
        done = 0
        for layer, (_, body) in enumerate(self.layout.layers()):
            neuron = neuron_of(body, self.page_bytes)
            objects = np.zeros((neuron.count, neuron.slot_bytes), np.uint8)
            for role, at in neuron.parts.items():
                placed, first = body[role], 0
                for packed in packed_rows(placed, self.layout.model.tensor(f"layers.{layer}.{role}")):
                    objects[first:first + len(packed), at:at + placed.row_bytes] = packed
                    first += len(packed)
            stream.write(objects.tobytes().ljust(neuron.layer_bytes, b"\0"))
            done += neuron.layer_bytes
            yield done, self.size


def plan_objects(layout: WeightLayout, page_bytes: int) -> Objects:
    """The objects of the neurons of a layout whose roles of ROLES are `in_objects`. `page_bytes` 0: of a memory without pages."""
    return Objects(layout, page_bytes or NO_PAGES)
