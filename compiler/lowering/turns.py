"""The tokens of a chunk in two halves that take turns: while objects of one half come from flash, the other works in DRAM.

    first half     DRAM side of a layer | ask for objects | feed-forward        | DRAM side of the next layer | ask for objects
    second half                         | feed-forward    | DRAM side           | ask for objects             | feed-forward

From left to right: the first half's turn, then the second's below it, and so on. Each half goes through all layers by itself, with
the code of a chunk, and gives its turn away three times for each of its tokens: when the list of active neurons is there, when
their objects have been asked for, and behind the feed-forward layer. The second half begins one turn later. So while the objects
of one come, the other does its DRAM side, and the queue of the fetch unit is free for what else a feed-forward layer needs of it.

Tokens of one text may be in both halves. The first half has the earlier ones, and no more of them than the second: it is never in
a layer before that of the second, so a token finds the keys and values of those before it.

A half waits for its own objects by a tag of its own. Fences wait for all that a half has been given, not for the other's objects.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from compiler.lowering.emit import FRAME, HALVES_TAG, KEYS, LAYER, LAYERS_LEFT, TOKENS_LEFT, VALUES

if TYPE_CHECKING:
    from compiler.lowering.lower import Lowering

FRAMES, TOKENS, OBJECTS, TAG = "half_frames", "half_tokens", "half_objects", "half_tag"
"""Of the half whose turn it is: its first frame, how many tokens it has, where its objects go, the tag that says they are there."""
_REGISTERS = (FRAME, TOKENS_LEFT, LAYER, KEYS, VALUES, LAYERS_LEFT)
_OWN = ("objects_of_layer", "active_count", FRAMES, TOKENS, OBJECTS, TAG)
_BYTES = 8 * (1 + len(_REGISTERS) + len(_OWN))
VARIABLES = (*_OWN, "turn", "halves_left", "halves")
"""Doublewords in the scratchpad, where the core loads them fast, from `variables_of_halves` on. `turn`: which half works;
`halves_left`: how many are not behind the last layer; `halves`: of each where it goes on, and while the other works its registers
and variables."""
SCRATCH = {"variables_of_halves": 8 * (len(VARIABLES) - 1) + 2 * _BYTES}


@contextmanager
def halves(c: Lowering) -> Iterator[None]:
    """The code of the layers, for each half. Registers are those of the first layer when it begins."""
    e = c.emit
    e.line(f"la a6, second_half;  la a7, halves + {_BYTES};  sd a6, 0(a7)")
    _half(c, 1)
    e.line(f"la a7, halves + {_BYTES}")
    _move(c, save=True)
    _half(c, 0)
    e.line("la a6, halves;  sd a6, turn, a7;  li a6, 2;  sd a6, halves_left, a7")
    e.line(f"ld a6, {TOKENS};  bnez a6, half_begins;  j half_ends", "a single token is in the second half")
    e.label("half_begins")
    c.turns = e.own = True
    yield
    c.turns = e.own = False
    e.label("half_ends")
    e.line("ld a6, halves_left;  addi a6, a6, -1;  sd a6, halves_left, a7;  beqz a6, halves_done")
    e.label("half_rests")
    e.line("la a6, half_rests", "from now on all turns are the other's")
    e.lines.append("\n# ---- the other half's turn; a6: where this one goes on then")
    e.label("take_turns")
    e.line("ld a7, turn;  sd a6, 0(a7)")
    _move(c, save=True)
    e.line(f"li a6, halves ^ (halves + {_BYTES});  xor a7, a7, a6;  sd a7, turn, a6")
    _move(c, save=False)
    e.line("ld a6, 0(a7);  jr a6")
    e.label("second_half")
    e.line("la a6, half_begins;  j take_turns", "it begins one turn later")
    e.label("halves_done")


def _half(c: Lowering, number: int) -> None:
    """Set the variables of a half at its start."""
    e = c.emit
    e.line(f"ld a6, chunk_tokens;  srli a7, a6, 1;  {'sub a7, a6, a7;  ' * number}sd a7, {TOKENS}, a6", "half of the tokens")
    if number:
        e.line(f"ld a6, chunk_tokens;  sub a6, a6, a7;  li a7, {c.memory.frame_bytes};  mul a7, a7, a6", "behind the first half's")
    e.line("la a6, frames" + ";  add a6, a6, a7" * number + f";  sd a6, {FRAMES}, a7")
    e.line(f"la a6, objects_here + {number * c.memory.slots['objects_here'].size // 2};  sd a6, {OBJECTS}, a7")
    e.line(f"li a6, {HALVES_TAG + number};  sd a6, {TAG}, a7")


def _move(c: Lowering, *, save: bool) -> None:
    """Registers and variables of a half to its block, whose address is in a7, or from there."""
    for number, register in enumerate(_REGISTERS, 1):
        c.emit.line(f"{'sd' if save else 'ld'} {register}, {8 * number}(a7)")
    for number, name in enumerate(_OWN, 1 + len(_REGISTERS)):
        c.emit.line(f"ld a6, {name};  sd a6, {8 * number}(a7)" if save else f"ld a6, {8 * number}(a7);  sd a6, {name}, t0")


def give(c: Lowering) -> None:
    """The other half's turn. What this one has been given is done before, but for objects that it has asked for."""
    name = c.name("turn")
    c.emit.line(f"la a6, {name};  j take_turns", "the other half's turn")
    c.emit.label(name)
    c.built = ""


@contextmanager
def objects(c: Lowering) -> Iterator[None]:
    """Around the gather of objects, where halves take turns: before it, and until the objects are there."""
    if not c.turns:
        yield
        return
    e = c.emit
    e.fence()
    give(c)
    yield
    e.line(f"ld a6, {TAG}")
    e.signal("fetch", "a6", HALVES_TAG)
    give(c)
    e.line(f"ld a6, {TAG}")
    e.hold("a6", HALVES_TAG)
