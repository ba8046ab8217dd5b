"""Keys and values that take turns near the units (placing/near_caches.py): those of the next layer come while this one attends.

    at the start of the layers      the rows of the first layer that takes turns are asked for
    before a layer appends          the core waits for the tag: its rows are there, and what was in their place is written back.
                                    Then the rows of the next layer that takes turns are asked for, with the tag
    behind attention                the rows that are new are written back to their home

All of it goes through the queue of the fetch unit, in this order. How many rows a layer has follows from the position and from what
cuts have left out; of the first chunk behind a cut there are none. A table has the addresses for each layer that takes turns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from compiler.graph import Graph, Op, title_of
from compiler.lowering.chunk import head, row
from compiler.lowering.cuts import left_out
from compiler.lowering.emit import BASE, POSITION
from compiler.lowering.profile import Reads
from compiler.lowering.residency import cache_at, home_of
from compiler.placing.memory_plan import BYTES, MemoryPlan
from isa.regions import SRAM

if TYPE_CHECKING:
    from compiler.lowering.lower import Lowering

TAG = 3                 # of rows that are asked for: behind those of the two buffers
VARIABLES = ("turn_of_layer",)
_HOME, _NEXT_HOME, _NEXT, _LEFT_OUT, _BY_TOKEN, _BY_CHUNK = 0, 16, 32, 48, 56, 64
"""Where in a record of the table, of residency.RECORD bytes: two addresses each, of keys and of values; then of the variable that
says what the next layer's segment leaves out; whether a next layer is asked for, in code for a token and in code for a chunk."""


def parts(graph: Graph, memory: MemoryPlan, base: str) -> list[tuple[int, int, int]]:
    """(offset, bytes of a position, heads) of keys or values. Heads 0: a row for each position; else a row for each head."""
    found: dict[bool, tuple[int, int, int]] = {}
    for name, cache in memory.caches.items():
        if cache.base == base:
            shape, form = graph.values[name].shape, graph.values[name].format
            apart = shape[-1] == "positions"
            size = BYTES[form] if apart else cache.row_bytes
            heads = max(found.get(apart, (0, 0, 0))[2], int(shape[0])) if apart else 0
            found[apart] = (found.get(apart, (cache.offset,))[0], size, heads)
    return list(found.values())


def position_bytes(graph: Graph, memory: MemoryPlan) -> int:
    """Bytes that are moved of a position in a layer: its keys and values, with scales."""
    return sum(size * max(1, heads) for base in BASE for _, size, heads in parts(graph, memory, base))


def reads(graph: Graph, memory: MemoryPlan, position: int) -> Reads:
    """What these copies read for a token at a position."""
    turns, size = len(memory.near.turns), position_bytes(graph, memory)
    copies = sum(len(parts(graph, memory, base)) for base in BASE)
    return Reads(near=turns * size, far=turns * size * position, copies=turns * copies)


def about(graph: Graph, memory: MemoryPlan, home: str) -> list[str]:
    """Whose keys and values are near, and what moves when, as lines for people. `home`: the memory of the others."""
    near = memory.near
    if not near.size:
        return []
    size, layers = position_bytes(graph, memory), range(graph.config.layers)
    places = near.size - sum(memory.cache_start(base, near.stays) for base in BASE)
    elsewhere = [layer for layer in layers if not near.holds(layer)]
    whose, lines = "keys and values of", list[str]()
    if near.stays:
        lines.append(f"{whose} {title_of(range(near.stays))} stay near the units, in {near.size - places:,} bytes of {SRAM}")
    if near.turns:
        lines += [f"{whose} {title_of(near.turns)} take turns in {places:,} bytes of {SRAM}: while a layer attends, the next "
                  f"one's come from {home}",
                  f"  a token at position p fetches {size:,} p bytes for each of these layers, and writes {size:,} back"]
    if elsewhere:
        lines.append(f"{whose} {title_of(elsewhere)} are read in {home}: they are less than an eighth of what is near")
    return lines


def table(graph: Graph, memory: MemoryPlan) -> Iterator[str]:
    """Lines of the table: a record for each layer that takes turns."""
    for number, layer in enumerate(memory.near.turns):
        following = (*memory.near.turns, layer)[number + 1]
        last = following == layer
        addresses = [where(memory, base, of) for of, where in ((layer, home_of), (following, home_of), (following, cache_at))
                     for base in BASE]
        out = left_out(graph)[graph.segment_of(following)] if graph.cuts else "0"
        numbers = (int(not last), int(not last and graph.segment_of(layer) == graph.segment_of(following)))
        yield ("near_turns:" * (not number)).ljust(24) + ".dword " + ", ".join([*addresses, out, *map(str, numbers)])


def begin(c: Lowering, layers: Sequence[int]) -> None:
    """At the start of these layers: ask for the rows of the first that takes turns."""
    layer = c.memory.near.first(layers)
    if layer is None:
        return
    e = c.emit
    if c.chunk and c.graph.cuts:
        _mark(c, "states", f"first{layer}")         # what came before: hidden states that have waited
    e.comment(f"keys and values of layer {layer} come near")
    with e.taken(5) as (rows, *others):
        if c.graph.cuts and not c.chunk:
            out = left_out(c.graph)[c.graph.segment_of(layer)]
            e.line(f"ld {rows}, next_place;  ld a6, {out};  sub {rows}, {rows}, a6")
        else:
            _first_row(c, rows)
        for base in BASE:
            to, source = others[:2]
            e.line(f"la {to}, {cache_at(c.memory, base, layer)};  la {source}, {home_of(c.memory, base, layer)}")
            _copy(c, base, others, "zero", rows, tag=True)
    _mark(c, "fetched", f"first{layer}")


def before(c: Lowering, ops: Sequence[Op]) -> None:
    """In front of operations that append, of a layer that takes turns: wait for its rows, and ask for those of the next one."""
    if not takes_turns(c) or not any(op is next(_of_body(c, "append")) for op in ops):
        return
    e = c.emit
    e.comment("keys and values are near; those of the next layer that takes turns are asked for")
    e.line(f"li a7, {TAG};  sync.wait a7")
    with e.taken(6) as (record, rows, *others):
        e.line(f"ld {record}, turn_of_layer")
        if c.graph.cuts and not c.chunk:
            e.line(f"ld a7, {_LEFT_OUT}({record});  ld {rows}, next_place;  ld a7, 0(a7);  sub {rows}, {rows}, a7")
        else:
            _first_row(c, rows)
        e.line(f"ld a7, {_BY_CHUNK if c.chunk else _BY_TOKEN}({record});  mul {rows}, {rows}, a7", "0 where none is to come")
        for number, base in enumerate(BASE):
            to, source = others[:2]
            e.line(f"ld {to}, {_NEXT + 8 * number}({record});  ld {source}, {_NEXT_HOME + 8 * number}({record})")
            _copy(c, base, others, "zero", rows, tag=True)
    _mark(c, "fetched", c.graph.name_of(c.graph.bodies[c.body]))


def behind(c: Lowering, ops: Sequence[Op]) -> None:
    """Behind the context of a layer that takes turns: rows that are new are written back."""
    if not takes_turns(c) or not any(op in ops for op in _of_body(c, "context")):
        return
    e = c.emit
    e.comment("new keys and values are written back")
    e.order("fetch", tuple(c.memory.caches), ())
    with e.taken(7) as (record, first, rows, *others):
        e.line(f"ld {record}, turn_of_layer")
        _first_row(c, first)
        e.line(f"ld {rows}, chunk_tokens" if c.chunk else f"li {rows}, 1")
        for number, (base, near) in enumerate(BASE.items()):
            to, source = others[:2]
            e.line(f"ld {to}, {_HOME + 8 * number}({record});  mv {source}, {near}")
            _copy(c, base, others, first, rows, tag=False)
    _mark(c, "written", c.graph.name_of(c.graph.bodies[c.body]))


def _mark(c: Lowering, what: str, where: str) -> None:
    """A mark behind copies, by which timeline and tables of events name them."""
    c.emit.mark(f"near.{what}.{'chunk_' * c.chunk}{where}")


def takes_turns(c: Lowering) -> bool:
    """Whether the layers of the body that is lowered now take turns."""
    return c.layer in c.memory.near.turns


def _of_body(c: Lowering, kind: str) -> Iterator[Op]:
    return (op for op in c.graph.bodies[c.body].ops if op.kind.startswith(kind))


def _first_row(c: Lowering, to: str) -> None:
    """The row of the first token that is computed now, in the caches of its layers, to a register."""
    if c.chunk:
        c.emit.line(f"la a6, frames;  lwu {to}, {row(c) if c.graph.cuts else head(c) + 4}(a6)")
    else:
        c.emit.line(f"mv {to}, {POSITION}")


def _copy(c: Lowering, base: str, registers: Sequence[str], first: str, rows: str, *, tag: bool) -> None:
    """Copy rows of keys or values, from row `first` on. `registers`: the start of the copy and of the source, and two for use here.
    All but these hold what they held. With `tag` each copy signals it, also one of no rows."""
    e, (to, source, at, from_) = c.emit, registers
    if tag:
        e.line(f"csrwi fetch.tag, {TAG}")
    for offset, size, heads in parts(c.graph, c.memory, base):
        e.line(f"li a6, {size};  mul a7, {first}, a6" + f";  li a6, {offset};  add a7, a7, a6" * bool(offset))
        e.line(f"add {at}, {to}, a7;  add {from_}, {source}, a7;  li a6, {size};  mul a7, {rows}, a6")
        if heads:                                       # scales: a row for each head, all of them short
            e.csr("fetch.row_bytes", "a7")
            e.line(f"li a6, {size * c.memory.context}")
            for name in ("src_stride", "dst_stride"):
                e.csr(f"fetch.{name}", "a6")
            e.line(f"snez a7, {rows};  li a6, {heads};  mul a7, a7, a6")
        e.line(f"fetch.{'copy2d' if heads else 'copy'} {at}, {from_}, a7")
    if tag:
        e.line("csrwi fetch.tag, 0")
