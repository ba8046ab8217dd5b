"""Neurons as objects: of each neuron its row of gate, its row of up and its column of down, side by side.

    objects = plan_objects(layout, page_bytes)      offsets and sizes, nothing is read
    objects.write(stream)

One gather then brings all that a neuron needs. No object crosses the end of a page; one that is larger than a page begins with one.
Layers begin with a page, too. Scales stay in the file of the other weights, which the units read. How many share a page:

    power   a power of two. Number times `slot_bytes` is the place of an object, so `fetch.rows` finds it by its number
    most    as many as a page holds. Where that is no power of two, a table says where each object is, for `fetch.rows`
    one     each begins with a page

Source: SLIM, arXiv 2507.09201, section 4 (the three vectors of a neuron are one object, aligned to pages or packed into one; from
a third-party reading note). That a power of two is the usual way is *assumed*.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import gcd
from typing import IO

import numpy as np
import numpy.typing as npt

from compiler.placing.weights import Placed, WeightLayout, packed_rows

ROLES = ("gate", "up", "down")
POWER, MOST, ONE = IN_PAGE = ("power", "most", "one")
NO_PAGES = 64                       # bytes that stand for a page in a memory without pages: a cache line


@dataclass(frozen=True)
class Neuron:
    """The object of a neuron in the layers of one body: where its `parts` begin, by role, in bytes from its start.

    count  neurons of a layer
    size   bytes of an object; slot_bytes: from one to the next of a page; together: how many share a page
    """

    count: int
    parts: Mapping[str, int]
    size: int
    slot_bytes: int
    together: int
    page_bytes: int

    @property
    def pages(self) -> int:
        """Pages of an object; 1 where several share one."""
        return -(-self.size // self.page_bytes)

    @property
    def apart(self) -> int:
        """Bytes from the first object of a page to that of the next."""
        return self.pages * self.page_bytes

    @property
    def layer_bytes(self) -> int:
        """Bytes from one layer to the next."""
        return -(-self.count // self.together) * self.apart

    @property
    def by_number(self) -> bool:
        """Whether number times `slot_bytes` is the place of an object. Else number i is at `places[i]` times `unit`."""
        return self.together * self.slot_bytes == self.apart

    @property
    def unit(self) -> int:
        """Bytes that every place is a multiple of."""
        return gcd(self.slot_bytes, self.apart)

    @property
    def places(self) -> npt.NDArray[np.int64]:
        """Where each object is, (count,), in units."""
        page, number = np.divmod(np.arange(self.count), self.together)
        found: npt.NDArray[np.int64] = (page * self.apart + number * self.slot_bytes) // self.unit
        return found

    def __str__(self) -> str:
        placed = (f"{self.together} in a page of {self.page_bytes:,} bytes" if self.pages == 1 else
                  f"each in {self.pages} pages of {self.page_bytes:,} bytes")
        return f"{self.size:,} bytes a neuron, {placed}"


def slot_of(size: int, page_bytes: int, in_page: str = POWER) -> tuple[int, int]:
    """(bytes from one object of `size` bytes to the next one of a page, how many share a page)."""
    slot = -(-size // page_bytes) * page_bytes
    while in_page != ONE and slot % 2 == 0 and size <= slot // 2 < page_bytes:
        slot //= 2
    together = max(1, page_bytes // slot)
    return (size, page_bytes // size) if in_page == MOST and page_bytes // size > together else (slot, together)


def neuron_of(body: Mapping[str, Placed], page_bytes: int, in_page: str = POWER) -> Neuron:
    """The object of a neuron in layers that are laid out like `body`."""
    at, parts = 0, dict[str, int]()
    for role in ROLES:
        if role in body:
            parts[role], at = at, at + body[role].row_bytes
    return Neuron(body["down"].rows, parts, at, *slot_of(at, page_bytes, in_page), page_bytes)


@dataclass(frozen=True)
class Objects:
    """The objects of all layers as one file, which a program has behind the symbol `objects`."""

    layout: WeightLayout
    page_bytes: int
    in_page: str = POWER

    @property
    def bodies(self) -> list[Neuron]:
        """The object of a neuron in each body of the graph."""
        return [neuron_of(body, self.page_bytes, self.in_page) for body in self.layout.bodies]

    @property
    def size(self) -> int:
        return sum(neuron.layer_bytes * len(layers) for neuron, layers in zip(self.bodies, self.layout.groups, strict=True))

    def write(self, stream: IO[bytes]) -> Iterator[tuple[int, int]]:
        """Write the file; yields (bytes so far, all bytes) behind each layer. A layer is held while it is written."""
        done = 0
        for layer, (_, body) in enumerate(self.layout.layers()):
            neuron = neuron_of(body, self.page_bytes, self.in_page)
            pages = np.zeros((neuron.layer_bytes // neuron.apart, neuron.apart), np.uint8)
            objects = np.zeros((len(pages) * neuron.together, neuron.slot_bytes), np.uint8)
            for role, at in neuron.parts.items():
                placed, first = body[role], 0
                for packed in packed_rows(placed, self.layout.model.tensor(f"layers.{layer}.{role}")):
                    objects[first:first + len(packed), at:at + placed.row_bytes] = packed
                    first += len(packed)
            pages[:, :neuron.together * neuron.slot_bytes] = objects.reshape(len(pages), -1)
            stream.write(pages.tobytes())
            done += neuron.layer_bytes
            yield done, self.size


def plan_objects(layout: WeightLayout, page_bytes: int, in_page: str = POWER) -> Objects:
    """The objects of the neurons of a layout whose roles of ROLES are `in_objects`. `page_bytes` 0: of a memory without pages."""
    return Objects(layout, page_bytes or NO_PAGES, in_page)
