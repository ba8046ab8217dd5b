"""Operands that a unit does not reach where they lie: the fetch unit copies them into one of two buffers in the scratchpad.

Two registers say which buffer is next: BUFFER has its address, BUFFER_TAG its tag. Both switch to the other buffer after each use.
One tag for each buffer is enough, because a wait is for the latest signal of its tag. The fetch unit waits until the buffer is
free, and signals when the bytes are there. The user waits for that signal, and signals when it is done. The core does not wait, so
one tile is fetched while the other is used.

    sync.wait.fetch sp;  fetch.copy ra, ...;  sync.signal.fetch sp;  sync.wait.lut sp;  lut.gemv ..., ra, ...;  sync.signal.lut sp
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from compiler.errors import RoomError
from compiler.lowering.emit import BUFFER, BUFFER_TAG, Source, Want, number
from isa.regions import SRAM

if TYPE_CHECKING:
    from compiler.lowering.lower import Lowering

ALIGN = 64
NEAR = 1 << 18          # bytes of a tile that several tokens use one after the other where it lies: caches of the host hold it


def rows_near(*row_bytes: int) -> int:
    """Rows of a tile of NEAR bytes, of a matrix with what lies beside it."""
    return max(1, NEAR // sum(row_bytes))


@dataclass(frozen=True)
class Tile:
    """Rows of a matrix where a unit reaches them: address, number of rows, where their results go, and where what lies beside them
    begins: scales, metadata."""

    at: Source
    rows: Source
    to: Sequence[Source]
    beside: Sequence[Source] = ()

    @property
    def scales(self) -> Source:
        """The address of their scales; where they have none, any."""
        return self.beside[0] if self.beside else self.at


class Varied(NamedTuple):
    """Rows that differ in their bytes.

    starts     the address of u32: the bytes before each row and before the end
    row        the most bytes that a row has
    most       the most bytes that all rows of a matrix have
    of_all     the bytes of the matrices of all layers with this code
    """

    starts: Source
    row: int
    most: int
    of_all: int


class Way(NamedTuple):
    """How a loop over tiles is made.

    out      a value outside the scratchpad at the first address of `to`: results wait in the buffer and are copied; "": none
    fetch    the rows are fetched, as many at a time as a buffer holds with what lies beside them; else they are used where they lie
    limit    rows of a tile, at most; 0: any number, if they are fetched
    varied   of rows that differ in their bytes
    """

    out: str
    fetch: bool
    limit: int
    varied: Varied | None


def start(c: Lowering, buffers: str) -> None:
    """Set the two registers. Both buffers are free."""
    c.emit.line(f"la {BUFFER}, {buffers}", "the buffer for what is fetched next")
    c.emit.line(f"li {BUFFER_TAG}, 2", "and its tag")
    c.emit.line(f"sync.signal.fetch {BUFFER_TAG};  li {BUFFER_TAG}, 1;  sync.signal.fetch {BUFFER_TAG}")


@contextmanager
def _filled(c: Lowering, unit: str, copies: Sequence[tuple[Source, Source, Source]], near: bool = False) -> Iterator[None]:
    """Copies (to, from, bytes) into the buffer, for what `unit` does inside the block. Then the other buffer is next. `near`: from
    the scratchpad."""
    c.emit.line(f"sync.wait.fetch {BUFFER_TAG}")
    for copy in copies:
        c.emit.op("fetch.copy", *copy, near=near)
    with _used(c, unit):
        yield


@contextmanager
def _used(c: Lowering, unit: str) -> Iterator[None]:
    """`unit` waits for the bytes that were fetched before it begins with the block. Then the other buffer is next."""
    c.emit.line(f"sync.signal.fetch {BUFFER_TAG};  sync.wait.{unit} {BUFFER_TAG}")
    yield
    c.emit.line(f"sync.signal.{unit} {BUFFER_TAG}")
    c.emit.line(f"xori {BUFFER_TAG}, {BUFFER_TAG}, 3")
    c.emit.line(f"li a6, buffers ^ (buffers + buffer_bytes);  xor {BUFFER}, {BUFFER}, a6")


@contextmanager
def fetched(c: Lowering, unit: str, address: Source, size: int, length: str = "") -> Iterator[Source]:
    """`size` bytes at `address` as an operand of `unit`. If register `length` is given, it holds how many of them."""
    _check(c, size, 1)
    with _filled(c, unit, [(BUFFER, address, length or number(size))]):
        yield BUFFER


def height(buffer_bytes: int, row_bytes: int, *beside: int, out: bool = False) -> int:
    """Rows of a tile: as many as a buffer holds with what a row has beside it and, with `out`, with their results."""
    return (buffer_bytes - (2 + out + max(0, len(beside) - 1)) * ALIGN) // (row_bytes + sum(beside) + 4 * out)


@contextmanager
def tiles(c: Lowering, unit: str, rows: int | str, parts: Sequence[tuple[Source, int]], to: Sequence[tuple[Source, int]],
          way: Way) -> Iterator[Tile]:
    """A loop over the rows of a matrix. See Lowering.tiles.

    parts    (address, bytes a row) of the matrix, then of what lies beside it, scales and metadata; 0 bytes: 4 for all rows
    """
    (source, row_bytes), *beside = parts
    out, fetch, limit, varied = way
    e, near = c.emit, c.is_near(source)
    sizes = [size for _, size in beside]
    if fetch:
        most = height(c.memory.buffer_bytes, row_bytes, *sizes, out=bool(out))
        _check(c, row_bytes + sum(sizes), most)
        most = min(most, limit) if limit else most
    else:
        most = limit
    if isinstance(rows, int) and rows <= most and not out:
        with e.taken(len(beside)) as behind:
            used = varied.most if varied else rows * row_bytes
            copies: list[tuple[Source, Source, Source]] = [(BUFFER, source, number(used))]
            for register, (address, size) in zip(behind, beside, strict=True):
                used = _behind(c, register, used)
                copies.append((register, address, number(rows * size or 4)))
                used += rows * size or 4
            with _filled(c, unit, copies, near):
                yield Tile(BUFFER, number(rows), [address for address, _ in to], behind)
        return
    count = len(beside)
    with e.taken(3 + len(to) + (3 if fetch else 1) * count + bool(varied)) as (at, left, here, *others):
        table, others = (others[0], others[1:]) if varied else ("", others)
        pointers, others = others[:len(to)], others[len(to):]
        sides, behind, lengths = others[:count], others[count:2 * count], others[2 * count:]
        e.move(at, source)
        e.move(left, number(rows) if isinstance(rows, int) else rows, "rows left")
        for register, (address, _) in zip((*sides, *pointers), (*beside, *to), strict=True):
            e.move(register, address)
        if varied:
            e.move(table, varied.starts)
        name = c.name("tile")
        e.label(name)
        e.at_most(here, most, left, "rows of this tile")
        if fetch:
            if not varied:
                e.line(f"li a6, {row_bytes};  mul a7, {here}, a6")
            copies, used = [(BUFFER, at, "a7")], most * row_bytes
            held: dict[str, tuple[int, str]] = {"a7": (0, "") if varied else (row_bytes, here)}
            for register, side, length, size in zip(behind, sides, lengths, sizes, strict=True):
                used = _behind(c, register, used)
                e.line(f"li {length}, {size or 4}" + (f";  mul {length}, {length}, {here}" if size else ""))
                copies.append((register, side, length))
                held[length] = (size, here) if size else (4, "")
                used += most * size or 4
            with e.profile.tiles(here, rows, most, held), _sized(c, varied, table, here), _filled(c, unit, copies, near):
                e.line(f"add {at}, {at}, a7")
                for side, length, size in zip(sides, lengths, sizes, strict=True):
                    if size:
                        e.line(f"add {side}, {side}, {length}")
                if out:
                    with e.taken(1) as (results,):
                        _behind(c, results, used, "results wait behind them")
                        yield Tile(BUFFER, here, [results, *pointers[1:]], behind)
                        e.wait("fetch", unit)
                        e.line(f"slli a6, {here}, 2")
                        with e.profile.known("a6", 4, here):
                            e.op("fetch.copy", pointers[0], results, "a6", writes=(out,), near=True)
                else:
                    yield Tile(BUFFER, here, pointers, behind)
        else:
            with e.profile.tiles(here, rows, most):
                yield Tile(at, here, pointers, sides)
            e.advance_rows(at, here, row_bytes)
            for side, size in zip(sides, sizes, strict=True):
                if size:
                    e.advance_rows(side, here, size)
        for pointer, (_, size) in zip(pointers, to, strict=True):
            e.advance_rows(pointer, here, size)
        e.line(f"sub {left}, {left}, {here};  beqz {left}, 1f;  j {name}")
        e.mark("1")


@contextmanager
def _sized(c: Lowering, varied: Varied | None, table: str, rows: str) -> Iterator[None]:
    """Put the bytes of as many rows as register `rows` says to a7, if they differ. `table` is moved behind their starts."""
    if varied:
        c.emit.line(f"lwu a7, ({table});  slli a6, {rows}, 2;  add {table}, {table}, a6;  lwu a6, ({table});  sub a7, a6, a7",
                    "bytes of this tile")
        c.emit.profile.together(0, varied.of_all)
    yield


@contextmanager
def gathered(c: Lowering, unit: str, table: Source, table_rows: int, row_bytes: int, to: Sequence[tuple[Source, int]],
             scales: tuple[Source, int] | None, limit: int = 0, stride: int = 0) -> Iterator[Tile]:
    """The rows of a table that the list at `active` names; there may be none. If a buffer holds the whole table, they are fetched
    all at once; else as many at a time as it holds. With a `limit`, at most so many. `stride`: bytes between rows that are part of
    something larger, which have no scales here; 0: rows lie side by side.

    The fetch unit is told the table's size only if all rows are fetched at once: then it counts the rows that it skips. With tiles
    it would count the rows of other tiles too.
    """
    e = c.emit
    scale_bytes = scales[1] if scales else 0
    most = height(c.memory.buffer_bytes, row_bytes, scale_bytes)
    _check(c, row_bytes + scale_bytes, most)
    most = min(most, limit) if limit else most
    whole = most >= table_rows
    near = isinstance(table, Want) and c.is_near(table)
    copied = scales is not None and not (scale_bytes == 0 and near)         # one scale for all need not be copied

    def gather(sources: Sequence[Source], index: Source, count: str, behind: str) -> None:
        e.line(f"sync.wait.fetch {BUFFER_TAG}")
        for name, value in (("src_stride", stride), ("dst_stride", 0)):
            e.csr(f"fetch.{name}", value)
        e.csr("fetch.table_rows", table_rows if whole else 0)
        e.csr("fetch.row_bytes", row_bytes)
        e.op("fetch.rows", BUFFER, sources[0], index, count, reads=("active",), near=near)
        if copied:
            _behind(c, behind, min(most, table_rows) * row_bytes)
            if scale_bytes:
                e.csr("fetch.table_rows", 0)
                e.csr("fetch.row_bytes", scale_bytes)
                e.op("fetch.rows", behind, sources[1], index, count, reads=("active",), near=near)
            else:
                e.op("fetch.copy", behind, sources[1], number(4), near=near)

    sources = (table, *(scales[:1] if scales else ()))
    if whole:
        with e.taken(1 + copied) as (count, *behind), e.profile.known(count, table_rows, exact=False):
            e.line(f"ld {count}, active_count")
            gather(sources, c.at("active"), count, *behind or ("",))
            with _used(c, unit):
                yield Tile(BUFFER, count, [address for address, _ in to], [behind[0] if behind else sources[-1]])
        return
    with e.taken(4 + len(to)) as (index, left, here, scales_at, *pointers), e.pinned(*sources) as held:
        e.move(index, c.at("active"))
        e.line(f"ld {left}, active_count")
        for pointer, (address, _) in zip(pointers, to, strict=True):
            e.move(pointer, address)
        name = c.name("active")
        e.line(f"beqz {left}, {name}_end")
        e.label(name)
        e.at_most(here, most, left, "rows of this tile")
        with e.profile.tiles(here, table_rows, most, exact=False):
            gather(held, index, here, scales_at)
            with _used(c, unit):
                yield Tile(BUFFER, here, pointers, [scales_at if copied else held[-1]])
        for pointer, (_, size) in ((index, ("", 4)), *zip(pointers, to, strict=True)):
            e.advance_rows(pointer, here, size)
        e.line(f"sub {left}, {left}, {here};  beqz {left}, {name}_end;  j {name}")
    e.label(f"{name}_end")


def _behind(c: Lowering, register: str, size: int, comment: str = "what lies beside the rows is behind them") -> int:
    """Put to a register the address in the buffer behind `size` bytes. Returns how far behind the buffer's start it is."""
    at = -(-size // ALIGN) * ALIGN
    c.emit.line(f"li {register}, {at};  add {register}, {register}, {BUFFER}", comment)
    return at


def _check(c: Lowering, size: int, most: int) -> None:
    room = c.memory.buffer_bytes
    if most < 1 or size > room:
        raise RoomError("", f"machine {c.memory.machine.name}", region=SRAM,
                        got=f"a row of weights takes {size:,} bytes with its scales",
                        expected=f"at most {max(0, room - 2 * ALIGN):,}, a buffer in what activations leave of the scratchpad "
                                 f"({c.memory.largest()})")
