"""Attention of a chunk by head (passes/dataflow.py): queries, scores, softmax and context of a head for all tokens, then the next.

    for each head of keys and values, with the heads of queries that share it:
        queries of these heads                  all tokens of the chunk: the rows of the matrix are read once
        for as many tokens as scores have room for, at a time, all of one sequence:
            for each tile of keys:   fetch it; for each token: its scores with the positions up to its own
            for each token:          softmax
            for each tile of values: fetch it; for each token: its context

Queries lie where the context of their head will be, in the frame of their token, so frames need no room for queries. Scores of the
tokens lie in `head_scores`. Nothing of this leaves the scratchpad. A tile is the head's part of cache rows, side by side; caches
that stay in the scratchpad are used where they lie.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from compiler.errors import RoomError
from compiler.graph import Graph, Op
from compiler.lowering.chunk import each_frame, head, leave_place, take_place
from compiler.lowering.emit import BASE, BUFFER, BUFFER_TAG, FRAME, ROPE_ROW, Want, bits, number, offset
from compiler.lowering.lower import Lowering
from compiler.lowering.lut import rows_i8
from compiler.lowering.tiles import fetched
from compiler.lowering.vec import WEIGHTS, rows_f32
from compiler.placing.memory_plan import BYTES
from compiler.placing.weights import ROPE
from isa.preset import Preset
from isa.regions import SRAM

SCORES = "head_scores"
SHARE = 1 / 4           # of the scratchpad, at most, for scores


def score_bytes(graph: Graph, positions: int) -> int:
    """Bytes for the scores of a token with one head of keys: of all heads of queries that share it. The most of all layers."""
    return max(4 * positions * int(op.attributes["heads"]) // int(op.attributes["kv_heads"])
               for body in graph.bodies for op in body.ops if op.kind.startswith("scores"))


def scratch(machine: Preset, graph: Graph, positions: int, tokens: int) -> dict[str, int]:
    """Bytes for the scores of one head of keys, of `tokens` tokens, or of as many as there is room for."""
    each = score_bytes(graph, positions)
    return {SCORES: each * max(1, min(tokens, int(machine.region(SRAM).size * SHARE) // each))}


class _Heads(NamedTuple):
    """A head of keys and values, and the heads of queries that share it.

    number    of the head of keys
    shared    how many heads of queries; dim: elements of each
    context   the value with the context of all heads; plus: bytes in front of these heads'
    tokens    whose scores there is room for; score_bytes: of each
    """

    number: int
    shared: int
    dim: int
    context: str
    tokens: int
    score_bytes: int

    @property
    def plus(self) -> int:
        return 4 * self.number * self.elements

    @property
    def elements(self) -> int:
        return self.shared * self.dim

    def at(self, c: Lowering, frame: str, plus: int = 0) -> Want:
        """Of queries and context, in the frame that a register points to."""
        return offset(frame, c.memory.slots[self.context].offset - c.memory.frames + self.plus + plus, self.context)


def by_head(c: Lowering, ops: Sequence[Op]) -> None:
    """A group of operations that is done by head."""
    product, *others = ops
    scores, context = (next(op for op in others if op.kind.startswith(kind)) for kind in ("scores", "context"))
    heads, kv_heads = int(scores.attributes["heads"]), int(scores.attributes["kv_heads"])
    dim, size = c.elements(product.outputs[0]) // heads, 4 * c.memory.context * heads // kv_heads
    tokens = min(c.memory.chunk, c.memory.slots[SCORES].size // size)
    for number_of in range(kv_heads):
        of = _Heads(number_of, heads // kv_heads, dim, context.outputs[0], tokens, size)
        c.emit.comment(f"head {number_of} of keys and values, {of.shared} of queries")
        c.built = ""
        _queries(c, of, product, [op for op in others if op.outputs == product.outputs])
        with each_frame(c, tokens, of_one=True) as count, c.emit.pinned(count) as (here,):
            _attend(c, of, here, scores, context, [op for op in others if op.kind == "scale.heads"])
    c.built = ""


def _queries(c: Lowering, of: _Heads, product: Op, others: Sequence[Op]) -> None:
    """Queries of the heads, for all tokens of the chunk."""
    e, rows = c.emit, range(of.number * of.elements, (of.number + 1) * of.elements)
    to = number(c.memory.slots[of.context].offset - c.memory.frames + of.plus)
    (rows_i8 if product.kind.startswith("gemv.i8") else rows_f32)(c, product, rows, of.context, to)
    c.built = ""
    with each_frame(c):
        take_place(c, others)
        for op in others:
            at, length = of.at(c, FRAME), number(of.elements)
            names = (of.context,)
            match op.kind:
                case "bias":
                    with c.operand("vec", c.weight(op.weights[0], plus=of.plus), 4 * of.elements) as b:
                        e.op("vec.add.f32", at, at, b, length, reads=names, writes=names)
                case "rope":
                    e.csr("vec.head_dim", of.dim)
                    with c.operand("vec", ROPE_ROW, 4 * of.dim, of=ROPE) as angles:
                        e.op("vec.rope.f32" if op.attributes["adjacent"] else "vec.ropehalf.f32", at, at, angles, length,
                             reads=names, writes=names)
                case "rmsnorm":
                    e.csr("vec.eps", e.register(bits(op.attributes["eps"])))
                    with c.vector(op.weights[0]) as gain:
                        for share in range(of.shared):
                            part = of.at(c, FRAME, 4 * share * of.dim)
                            e.op("vec.rmsnorm.f32", part, part, gain, number(of.dim), reads=names, writes=names)
                case _:
                    e.op("vec.scale.f32", at, at, bits(op.attributes["factor"]), length, reads=names, writes=names)
        leave_place(c, others)


def _attend(c: Lowering, of: _Heads, here: str, scores: Op, context: Op, scales: Sequence[Op]) -> None:
    """Scores, softmax and context of the heads for as many tokens as register `here` says, from FRAME on."""
    e = c.emit
    key_scales, value_scales = ([op.inputs[1] for op in scales] or ["", ""])
    with e.taken(1) as (positions,):
        e.line(f"lwu a6, {head(c) + 4}({FRAME});  add {positions}, a6, {here}", "that the last of them looks at")
        form = c.graph.values[scores.inputs[1]].format
        with _tiles(c, of, scores.inputs[1], positions) as tile, _tokens(c, of, here, tile) as (frame, score, n):
            for share in range(of.shared):
                e.op(f"vec.gemv.{WEIGHTS[form]}", _score(c, score, share), tile.at, of.at(c, frame, 4 * share * of.dim), n,
                     reads=(of.context,), comment="keys . query")
        with _scales(c, of, key_scales, positions) as factors, _tokens(c, of, here) as (_, score, n):
            for share in range(of.shared):
                at = e.register(_score(c, score, share))
                if factors:
                    e.op("vec.mul.f32", at, at, factors, n)
                e.op("vec.softmax.f32", at, at, n)
        if value_scales:
            with _scales(c, of, value_scales, positions) as factors, _tokens(c, of, here) as (_, score, n):
                for share in range(of.shared):
                    at = e.register(_score(c, score, share))
                    e.op("vec.mul.f32", at, at, factors, n)
        with _tokens(c, of, here) as (frame, _, _):
            e.op("vec.fill.32", of.at(c, frame), "zero", number(of.elements), writes=(of.context,), comment="sums start at 0")
        with _tiles(c, of, context.inputs[1], positions) as tile, _tokens(c, of, here, tile) as (frame, score, n):
            for share in range(of.shared):
                e.op(f"vec.macT.{WEIGHTS[form]}", of.at(c, frame, 4 * share * of.dim), tile.at, _score(c, score, share), n,
                     writes=(of.context,), comment="values weighted by probabilities")


def _score(c: Lowering, score: str, share: int) -> Want:
    """The scores of one of the heads of a token, whose first head's are at a register."""
    return offset(score, 4 * c.memory.context * share)


class _Tile(NamedTuple):
    """The head's part of cache rows: where, how many, and how many positions are in front of them (registers)."""

    at: str
    rows: str
    before: str


@contextmanager
def _tiles(c: Lowering, of: _Heads, cache: str, positions: str) -> Iterator[_Tile]:
    """A loop over tiles of a cache, up to as many positions as a register says."""
    e, place, near = c.emit, c.memory.caches[cache], bool(c.reached(cache))
    size = of.dim * BYTES[c.graph.values[cache].format]
    most = c.memory.buffer_bytes // size
    if most < 1 and not near:
        raise RoomError("", f"machine {c.memory.machine.name}", region=SRAM, got=f"a head of keys takes {size:,} bytes a position",
                        expected=f"at most the {c.memory.buffer_bytes:,} of a buffer")
    with e.taken(4) as (at, left, rows, before):
        e.move(at, offset(BASE[place.base], place.offset + of.number * size, cache))
        e.line(f"mv {left}, {positions};  li {before}, 0")
        name = c.name("head")
        e.label(name)
        if near:
            e.line(f"mv {rows}, {left}")
        else:
            e.at_most(rows, most, left, "positions of this tile")
            e.line(f"sync.wait.fetch {BUFFER_TAG}")
            for setting, value in (("row_bytes", size), ("src_stride", place.row_bytes), ("dst_stride", 0)):
                e.csr(f"fetch.{setting}", value)
            e.op("fetch.copy2d", BUFFER, at, rows, reads=(cache,))
            e.line(f"sync.signal.fetch {BUFFER_TAG};  sync.wait.vec {BUFFER_TAG}")
        e.csr("vec.cols", of.dim)
        e.csr("vec.row_stride", place.row_bytes if near else 0)
        yield _Tile(at if near else BUFFER, rows, before)
        if not near:
            e.line(f"sync.signal.vec {BUFFER_TAG};  xori {BUFFER_TAG}, {BUFFER_TAG}, 3")
            e.line(f"li a6, buffers ^ (buffers + buffer_bytes);  xor {BUFFER}, {BUFFER}, a6")
            e.advance_rows(at, rows, place.row_bytes)
        e.line(f"add {before}, {before}, {rows};  sub {left}, {left}, {rows};  beqz {left}, 1f;  j {name}")
        e.mark("1")


@contextmanager
def _tokens(c: Lowering, of: _Heads, here: str, tile: _Tile | None = None) -> Iterator[tuple[str, str, str]]:
    """A loop over tokens from FRAME on: registers with the token's frame, the place of its scores, and the positions it looks at.

    These are all up to its own; of a tile those that are in it, and the place is that of their scores. The body must change no CSR.
    """
    e = c.emit
    with e.taken(4) as (frame, score, n, left):
        e.line(f"mv {frame}, {FRAME};  mv {left}, {here};  la {score}, {SCORES}")
        if tile:
            e.line(f"slli a6, {tile.before}, 2;  add {score}, {score}, a6", "behind the scores of tiles before")
        name = c.name("token")
        e.forget(csrs=False)
        e.lines.append(f"{name}:")
        e.line(f"lwu {n}, {head(c) + 4}({frame});  addi {n}, {n}, 1", "positions up to its own")
        if tile:
            e.line(f"sub {n}, {n}, {tile.before};  blez {n}, {name}_next", "none of them is in this tile")
            e.line(f"bleu {n}, {tile.rows}, 1f;  mv {n}, {tile.rows}")
            e.mark("1")
        yield frame, score, n
        e.forget(csrs=False)
        e.lines.append(f"{name}_next:")
        e.advance(frame, c.memory.frame_bytes)
        e.advance(score, of.score_bytes)
        e.line(f"addi {left}, {left}, -1;  beqz {left}, 1f;  j {name}")
        e.mark("1")


@contextmanager
def _scales(c: Lowering, of: _Heads, cache: str, positions: str) -> Iterator[str]:
    """A register with the address of the scales of a head, of all positions that a register counts; "" where there are none."""
    if not cache:
        yield ""
        return
    e, place, room = c.emit, c.memory.caches[cache], 4 * c.memory.context
    with e.taken(2) as (at, length):
        e.move(at, offset(BASE[place.base], place.offset + of.number * room, cache))
        if c.reached(cache):
            yield at
            return
        e.line(f"slli {length}, {positions}, 2", "bytes of a head's scales")
        with fetched(c, "vec", at, room, length) as buffer:
            assert isinstance(buffer, str)
            yield buffer
