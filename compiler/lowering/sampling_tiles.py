"""Sampling in tiles: the numbers of the vocabulary lie outside the scratchpad, and the fetch unit brings some at a time.

The results are those of operations on the whole vocabulary, bit by bit:

    the largest         of the largest so far and a tile's
    a sum in 16 lanes   the tile is a matrix of 16 columns, whose rows are added to the lanes in their order (vec.macT with 1.0)
    sums so far         the last one of the tile before stands in front of the tile
    sorted              the T best of all: of the best so far and each tile. Then they get probability -1, and the next T follow

The scratchpad has `tile`: the number that is carried, the best, a tile, and 16 numbers that a tile's last row may lack.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from compiler.lowering.emit import TOKEN, Source, bits, number, symbol
from compiler.lowering.lower import Lowering

SIZES = (4096, 2048, 1024, 512, 256, 128, 64, 32, 16)       # numbers of a tile: the most for which there is room
LANES = 16
_FRONT = 64                                         # bytes; the last four are the number that is carried
_LOWEST = 0xFF80_0000                               # the bits of -infinity

CARRIED, TILE = symbol(f"tile + {_FRONT - 4}"), symbol(f"tile + {_FRONT}")


def scratch(tile: int, *, sorts: bool) -> dict[str, int]:
    """Bytes of scratchpad for tiles of so many numbers, by name."""
    sizes = {"tile": _FRONT + 4 * tile + 64, "tile_constant": 4 * tile, "tile_ones": tile // 4, "tile_lanes": 4 * LANES}
    return sizes | ({"tile": _FRONT + 8 * tile, "tile_order": 8 * tile, "tile_places": 4 * tile} if sorts else {})


@contextmanager
def _tiles(c: Lowering, tile: int, *names: str) -> Iterator[tuple[str, Sequence[str]]]:
    """A loop over the vocabulary: the register with the numbers of a tile, and registers with where they are in each of `names`."""
    e = c.emit
    with e.taken(2 + len(names)) as (left, count, *pointers):
        e.line(f"li {left}, {c.graph.config.vocab}", "numbers left")
        for pointer, name in zip(pointers, names, strict=True):
            e.move(pointer, c.at(name))
        e.fence()
        name = c.name("sampled")
        e.label(name)
        e.at_most(count, tile, left, "numbers of this tile")
        yield count, pointers
        e.fence()
        for pointer in pointers:
            e.advance_rows(pointer, count, 4)
        e.line(f"sub {left}, {left}, {count};  bnez {left}, {name}")
        e.forget()


def _copy(c: Lowering, to: Source, source: Source, count: str, reads: str, writes: str) -> None:
    c.emit.line(f"slli a6, {count}, 2")
    c.emit.op("fetch.copy", to, source, "a6", reads=(reads,), writes=(writes,))


def _carry(c: Lowering, count: str) -> None:
    """The last of the sums so far is carried to the next tile."""
    c.emit.fence()
    c.emit.line(f"la a7, tile + {_FRONT - 4};  slli a6, {count}, 2;  add a6, a6, a7;  lw a6, 0(a6);  sw a6, 0(a7)", "carried")


def most_likely(c: Lowering, tile: int) -> None:
    """The first of the largest logits, in TOKEN. The largest so far is carried, so of equal ones it stays."""
    e = c.emit
    e.fence()
    e.line(f"li {TOKEN}, 0;  li a6, {_LOWEST};  sw a6, tile + {_FRONT - 4}, a7")
    with e.taken(1) as (first,):
        e.line(f"li {first}, 0", "the number of this tile's first token")
        with (_tiles(c, tile, "logits") as (count, (at,)),
              e.profile.tiles(count, c.graph.config.vocab, tile, {"a6": (4, count), "a7": (2, count)}, exact=False)):
            _copy(c, TILE, at, count, "logits", "tile")
            e.line(f"addi a7, {count}, 1")
            e.op("vec.argmax.f32", "a6", CARRIED, "a7", reads=("tile",))
            e.line("beqz a6, 1f")
            e.line(f"add {TOKEN}, {first}, a6;  addi {TOKEN}, {TOKEN}, -1", "larger than all before")
            e.line(f"la a7, tile + {_FRONT - 4};  slli a6, a6, 2;  add a6, a6, a7;  lw a6, 0(a6);  sw a6, 0(a7)")
            e.mark("1")
            e.line(f"add {first}, {first}, {count}")


def probabilities(c: Lowering, tile: int) -> None:
    """Probabilities in `logits`, which is overwritten, and their sums so far in `sorted`. As vec.softmax computes them."""
    e, n, ones, lanes, constant = c.emit, number(tile), symbol("tile_ones"), symbol("tile_lanes"), symbol("tile_constant")

    def scaled(count: str, at: str) -> None:
        _copy(c, TILE, at, count, "logits", "tile")
        e.line("lw a6, inverse_temperature")
        e.op("vec.scale.f32", TILE, TILE, "a6", count, reads=("tile",), writes=("tile",))

    e.comment("probabilities at this temperature: the largest logit")
    e.line(f"li a6, {_LOWEST};  sw a6, tile + {_FRONT - 4}, a7")
    with _tiles(c, tile, "logits") as (count, (at,)):
        scaled(count, at)
        e.line(f"addi a7, {count}, 1")
        e.op("vec.max.f32", "a6", CARRIED, "a7", reads=("tile",))
        e.line(f"sw a6, tile + {_FRONT - 4}, a7")

    e.comment("e to the power of how far each is below it, and their sum in 16 lanes")
    e.line(f"lw a6, tile + {_FRONT - 4}")
    e.op("vec.fill.32", constant, "a6", n, writes=("tile_constant",))
    e.op("vec.fill.32", ones, bits(1.0), number(tile // LANES), writes=("tile_ones",))
    e.op("vec.fill.32", lanes, "zero", number(LANES), writes=("tile_lanes",))
    with _tiles(c, tile, "logits") as (count, (at,)):
        scaled(count, at)
        e.op("vec.sub.f32", TILE, TILE, constant, count, reads=("tile", "tile_constant"), writes=("tile",))
        e.op("vec.exp.f32", TILE, TILE, count, reads=("tile",), writes=("tile",))
        _copy(c, at, TILE, count, "tile", "logits")
        e.line(f"la a6, tile + {_FRONT};  slli a7, {count}, 2;  add a7, a6, a7")
        e.op("vec.fill.32", "a7", "zero", number(LANES), writes=("tile",), comment="what the last row lacks")
        e.csr("vec.cols", LANES)
        e.csr("vec.row_stride", 0)
        e.line(f"addi a7, {count}, {LANES - 1};  srli a7, a7, 4")
        e.op("vec.macT.f32", lanes, TILE, ones, "a7", reads=("tile", "tile_ones", "tile_lanes"), writes=("tile_lanes",))

    e.comment("divided by the sum; and the sums so far")
    e.op("vec.sum.f32", "a6", lanes, number(LANES), reads=("tile_lanes",))
    e.op("vec.fill.32", constant, "a6", n, writes=("tile_constant",))
    e.line(f"sw zero, tile + {_FRONT - 4}, a7")
    with _tiles(c, tile, "logits", "sorted") as (count, (at, sums)):
        _copy(c, TILE, at, count, "logits", "tile")
        e.op("vec.div.f32", TILE, TILE, constant, count, reads=("tile", "tile_constant"), writes=("tile",))
        _copy(c, at, TILE, count, "tile", "logits")
        e.line(f"addi a7, {count}, 1")
        e.op("vec.cumsum.f32", CARRIED, CARRIED, "a7", reads=("tile",), writes=("tile",))
        _copy(c, sums, TILE, count, "tile", "sorted")
        _carry(c, count)


def nucleus(c: Lowering, tile: int, produced: str) -> None:
    """Tokens by falling probability in `order` and their sums in `sorted`, up to the first tile of them in which a sum is above
    top_p; how many, in register `produced`. Overwrites the probabilities in `logits`."""
    e, n, vocab = c.emit, number(tile), c.graph.config.vocab
    fresh, fresh_order = symbol(f"tile + {_FRONT + 4 * tile}"), symbol(f"tile_order + {4 * tile}")
    order, places, constant = map(symbol, ("tile_order", "tile_places", "tile_constant"))

    def rows(table_rows: int) -> None:
        for name, value in (("row_bytes", 4), ("table_rows", table_rows), ("src_stride", 0), ("dst_stride", 0)):
            e.csr(f"fetch.{name}", value)

    e.line(f"li {produced}, 0;  sw zero, tile + {_FRONT - 4}, a7")
    e.fence()
    e.label("next_best")
    e.op("vec.fill.32", TILE, bits(-1.0), n, writes=("tile",), comment="the best so far: none")
    e.op("thr.topk.f32", fresh_order, TILE, n, n, reads=("tile",), writes=("tile_order",), comment="of equal numbers: 0, 1, 2 ...")
    e.op("vec.fill.32", constant, n, n, writes=("tile_constant",), comment="how much higher tokens of the next tile are")
    with _tiles(c, tile, "logits") as (count, (at,)):
        _copy(c, fresh, at, count, "logits", "tile")
        e.line(f"li a7, {tile};  add a7, a7, {count}")
        e.op("thr.topk.f32", places, TILE, n, "a7", reads=("tile",), writes=("tile_places",))
        rows(0)
        for table in ("tile", "tile_order"):
            base = TILE if table == "tile" else order
            e.op("fetch.rows", base, base, places, n, reads=(table, "tile_places"), writes=(table,))
        e.op("vec.add.i32", fresh_order, fresh_order, constant, n, reads=("tile_order", "tile_constant"), writes=("tile_order",))

    with e.taken(1) as (count,):
        e.line(f"li a6, {vocab};  sub a6, a6, {produced}")
        e.at_most(count, tile, "a6", "they are taken")
        e.op("vec.fill.32", constant, bits(-1.0), n, writes=("tile_constant",))
        rows(vocab)
        e.op("fetch.scatter", c.at("logits"), constant, order, count, reads=("tile_constant", "tile_order"), writes=("logits",))
        e.line(f"addi a7, {count}, 1")
        e.op("vec.cumsum.f32", CARRIED, CARRIED, "a7", reads=("tile",), writes=("tile",))
        for name, source in (("sorted", TILE), ("order", order)):
            e.line(f"la a7, {name};  slli a6, {produced}, 2;  add a7, a7, a6")
            _copy(c, "a7", source, count, "tile" if source is TILE else "tile_order", name)
        _carry(c, count)
        e.line(f"add {produced}, {produced}, {count}")
    e.line(f"lw a7, top_p;  bgtu a6, a7, 1f;  li a7, {vocab};  bltu {produced}, a7, next_best")
    e.mark("1")
