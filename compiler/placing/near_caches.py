"""Keys and values near the units, up to a budget of the scratchpad: whose stay there, whose take turns, whose are read elsewhere.

    near = keep_near(memory, layers, parse_near("64K"))

As many of the first layers as have room stay, beside two places for the others. These take turns: while a layer attends in one
place, the rows of the next one are copied to the other. Their home is the memory behind. Nothing is predicted: which rows a layer
needs follows from its tokens, which the cuts before it have chosen.

A layer takes turns if its caches are at least an eighth of what is near while it attends: its own and those that stay. Smaller ones
are read where they lie.

Source: SlimInfer, arXiv 2508.06447 (an asynchronous manager of keys and values, without a predictor). The eighth, and that whole
layers take turns, is ours.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from compiler.errors import ModelError
from isa.regions import DRAM, FLASH
from isa.text import counted

if TYPE_CHECKING:
    from compiler.placing.memory_plan import MemoryPlan

OPTION = "--kv-near"
NAME = "near_caches"            # of these bytes of the scratchpad
SHARE = 8                       # a layer takes turns if its caches are at least one part of so many
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20}


@dataclass(frozen=True)
class NearCaches:
    """Whose keys and values are near.

    stays    how many layers, from the first one on, have theirs there all the time, and nowhere else
    turns    layers that take turns, in order
    at       where keys and values begin, in bytes from the start of what is near: by (layer, "keys" or "values")
    size     bytes of the scratchpad; 0: nothing is near
    """

    stays: int = 0
    turns: tuple[int, ...] = ()
    at: Mapping[tuple[int, str], int] = field(default_factory=dict)
    size: int = 0

    def holds(self, layer: int) -> bool:
        """Whether a layer attends to keys and values that are near."""
        return layer < self.stays or layer in self.turns

    def first(self, layers: Sequence[int]) -> int | None:
        """The first of these layers that takes turns."""
        return next((layer for layer in layers if layer in self.turns), None)


def parse_near(text: str) -> int:
    """Bytes, of `65536`, `64K` (1,024 each), `1M`, `64K:dram`: whole numbers. Raises ModelError."""
    size, colon, region = text.partition(":")
    found = re.fullmatch(r"([0-9]{1,9})([KM]?)", size, re.ASCII)
    if not found or not int(found[1]):
        raise ModelError("", OPTION, got=repr(text), expected="bytes of the scratchpad: 65536, 64K or 1M",
                         hint="a whole number; K stands for 1,024 bytes, M for 1,048,576")
    if region == FLASH:
        raise ModelError("", OPTION, got=repr(text), expected=f"SIZE or SIZE:{DRAM}",
                         hint="flash cannot be written by a program, and each token adds keys and values")
    if colon and region != DRAM:
        raise ModelError("", OPTION, got=repr(text), expected=f"SIZE or SIZE:{DRAM}, the memory where the others are kept")
    return int(found[1]) * _UNITS[found[2]]


def keep_near(memory: MemoryPlan, layers: int, budget: int, hint: str = "") -> NearCaches:
    """What is near in `budget` bytes. Raises ModelError, with the hint, if two layers have no room."""
    sizes = [sum(memory.cache_size(base, layer) for base in memory.layer_bytes) for layer in range(layers)]

    def needed(stays: int) -> int:
        return sum(sizes[:stays]) + 2 * max(sizes[stays:], default=0)

    fits = [stays for stays in range(layers + 1) if needed(stays) <= budget]
    if not fits:
        raise ModelError("", OPTION, got=counted(budget, "byte", ","), hint=hint,
                         expected=f"at least {needed(0):,}: keys and values of two layers")
    stays = fits[-1]
    before = sum(sizes[:stays])
    turns = tuple(layer for layer in range(stays, layers) if SHARE * sizes[layer] >= before + sizes[layer])
    if not turns:
        stays = max(count for count in range(layers + 1) if sum(sizes[:count]) <= budget)
    place, at, end = max((sizes[layer] for layer in turns), default=0), dict[tuple[int, str], int](), sum(sizes[:stays])
    starts = {layer: sum(sizes[:layer]) for layer in range(stays)} | {
        layer: end + number % 2 * place for number, layer in enumerate(turns)}
    for layer, start in starts.items():
        for base in memory.layer_bytes:
            at[layer, base] = start
            start += memory.cache_size(base, layer)
    return NearCaches(stays, turns, at, end + 2 * place)
