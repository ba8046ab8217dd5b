"""Operands that a unit does not reach where they lie: the fetch unit copies them into one of two buffers in the scratchpad.

Two registers say which buffer is next: BUFFER has its address, BUFFER_TAG its tag. Both switch to the other buffer after each use.
One tag for each buffer is enough, because a wait is for the latest signal of its tag. The fetch unit waits until the buffer is
free, and signals when the bytes are there. The user waits for that signal, and signals when it is done. The core does not wait, so
one tile is fetched while the other is used.

    sync.wait.fetch sp;  fetch.copy ra, ...;  sync.signal.fetch sp;  sync.wait.lut sp;  lut.gemv ..., ra, ...;  sync.signal.lut sp
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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
    """Rows that differ in their bytes: the values of a sparse matrix, or what lies beside them.

    starts     the address of u32: what is before each run of rows and before the end, in units of `unit` bytes; "": they are the
               Ends of the same matrix
    run        the most bytes that a run of rows has
    most       the most bytes that all rows of a matrix have
    of_all     the bytes of the matrices of all layers with this code
    rows       of a run: a tile begins at a multiple of them
    """

    starts: Source
    run: int
    most: int
    of_all: int
    unit: int = 1
    rows: int = 1


class Ends(NamedTuple):
    """Beside a matrix, u32 before each run of rows and before the end: the last one of a tile is the first one of the next.

    runs    of all rows
    of_all  the bytes for the runs of the matrices of all layers with this code
    """

    runs: int
    of_all: int


class Unpacked(NamedTuple):
    """Rows of a matrix of packed chunks (chunks.py).

    row        the bytes of each once it is unpacked
    unpack     puts rows into the buffer, from the address in a register, which it moves on
    """

    row: int
    unpack: Callable[[str, Source], None]


Size = int | Varied | Ends | Unpacked
"""Bytes of each row; 0: 4 for all rows."""


class Way(NamedTuple):
    """How a loop over tiles is made.

    out      a value outside the scratchpad at the first address of `to`: results wait in the buffer and are copied; "": none
    fetch    the rows are fetched, as many at a time as a buffer holds with what lies beside them; else they are used where they lie
    limit    rows of a tile, at most; 0: any number, if they are fetched
    """

    out: str
    fetch: bool
    limit: int


def start(c: Lowering, buffers: str) -> None:
    """Set the two registers. Both buffers are free."""
    c.emit.line(f"la {BUFFER}, {buffers}", "the buffer for what is fetched next")
    c.emit.line(f"li {BUFFER_TAG}, 2", "and its tag")
    c.emit.line(f"sync.signal.fetch {BUFFER_TAG};  li {BUFFER_TAG}, 1;  sync.signal.fetch {BUFFER_TAG}")


@contextmanager
def _filled(c: Lowering, unit: str, copies: Sequence[tuple[Source, Source, Source]], near: bool = False,
            packed: tuple[Unpacked, Source, Source] | None = None) -> Iterator[None]:
    """Copies (to, from, bytes) into the buffer, for what `unit` does inside the block. Then the other buffer is next. `near`: from
    the scratchpad. `packed`: first come rows that are unpacked, (how, from, rows)."""
    c.emit.line(f"sync.wait.fetch {BUFFER_TAG}")
    if packed:
        with c.emit.taken(1) as (at,):
            c.emit.move(at, packed[1])
            packed[0].unpack(at, packed[2])
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


def height(buffer_bytes: int, row_bytes: int, *beside: int, out: int = 0) -> int:
    """Rows of a tile, or runs of rows: as many as a buffer holds with what each has beside it and with `out` results of each."""
    return (buffer_bytes - (2 + (out > 0) + max(0, len(beside) - 1)) * ALIGN) // (row_bytes + sum(beside) + 4 * out)


@contextmanager
def tiles(c: Lowering, unit: str, rows: int | str, parts: Sequence[tuple[Source, Size]], to: Sequence[tuple[Source, int]],
          way: Way) -> Iterator[Tile]:
    """A loop over the rows of a matrix. See Lowering.tiles.

    parts    (address, size) of the matrix, then of what lies beside it, scales and metadata
    """
    (source, size), *beside = parts
    (out, fetch, limit), run = way, size.rows if isinstance(size, Varied) else 1
    e, near = c.emit, c.is_near(source)
    sizes = [each for _, each in beside]
    if fetch:
        of_run = [_of_run(each, run) for each in (size, *sizes)]
        most = run * height(c.memory.buffer_bytes, *of_run, out=run if out else 0)
        _check(c, sum(of_run), most, run)
        most = min(most, max(limit // run, 1) * run) if limit else most
    else:
        most = limit
    if isinstance(rows, int) and rows <= most and not out:
        with e.taken(len(beside)) as behind:
            used = _of_all(size, rows)
            copies: list[tuple[Source, Source, Source]] = [(BUFFER, source, number(used))] * (not isinstance(size, Unpacked))
            for register, (address, each) in zip(behind, beside, strict=True):
                used = _behind(c, register, used)
                copies.append((register, address, number(_of_all(each, rows))))
                used += _of_all(each, rows)
            with _filled(c, unit, copies, near, (size, source, number(rows)) if isinstance(size, Unpacked) else None):
                yield Tile(BUFFER, number(rows), [address for address, _ in to], behind)
        return
    if not fetch:
        with _used_there(c, parts, rows, most, to) as tile:
            yield tile
        return
    count, varied = len(beside), isinstance(size, Varied)
    with e.taken(3 + len(to) + 2 * count + varied) as (at, left, here, *others):
        table, others = (others[0], others[1:]) if varied else ("", others)
        pointers, others = others[:len(to)], others[len(to):]
        sides, behind = others[:count], others[count:]
        e.move(at, source)
        e.move(left, number(rows) if isinstance(rows, int) else rows, "rows left")
        for register, (address, _) in zip((*sides, *pointers), (*beside, *to), strict=True):
            e.move(register, address)
        if isinstance(size, Varied):
            e.move(table, size.starts)
        ends = next((side for side, each in zip(sides, sizes, strict=True) if isinstance(each, Ends)), "")
        name = c.name("tile")
        e.label(name)
        e.at_most(here, most, left, "rows of this tile")
        with e.profile.tiles(here, rows, most):
            e.line(f"sync.wait.fetch {BUFFER_TAG}")
            used = 0
            for register, side, each in zip((BUFFER, *behind), (at, *sides), (size, *sizes), strict=True):
                if used:
                    used = _behind(c, register, used)
                if isinstance(each, Unpacked):
                    each.unpack(at, here)
                    used += most * each.row
                    continue
                _length(c, each, (table if each.starts else ends) if isinstance(each, Varied) else "", here, run)
                known = (each, here) if isinstance(each, int) and each else (0 if isinstance(each, Varied) else 4, "")
                with e.profile.known("a7", *known):
                    e.op("fetch.copy", register, side, "a7", near=near)
                if isinstance(each, Ends):
                    e.advance(side, 4 * (most // run))
                elif each:
                    e.line(f"add {side}, {side}, a7")
                if not isinstance(each, int):
                    e.profile.together(0, each.of_all)
                used += most // run * _of_run(each, run) or 4
            if varied:
                e.advance(table, 4 * (most // run))
            with _used(c, unit):
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
        for pointer, (_, step) in zip(pointers, to, strict=True):
            if step:
                e.advance_rows(pointer, here, step)
        e.line(f"sub {left}, {left}, {here};  beqz {left}, 1f;  j {name}")
        e.mark("1")


@contextmanager
def _used_there(c: Lowering, parts: Sequence[tuple[Source, Size]], rows: int | str, most: int,
                to: Sequence[tuple[Source, int]]) -> Iterator[Tile]:
    """A loop over tiles that are used where they lie: rows that are all alike, at most so many at a time."""
    e = c.emit
    with e.taken(2 + len(parts) + len(to)) as (left, here, *others):
        places, pointers = others[:len(parts)], others[len(parts):]
        e.move(left, number(rows) if isinstance(rows, int) else rows, "rows left")
        for register, (address, _) in zip((*places, *pointers), (*parts, *to), strict=True):
            e.move(register, address)
        name = c.name("tile")
        e.label(name)
        e.at_most(here, most, left, "rows of this tile")
        with e.profile.tiles(here, rows, most):
            yield Tile(places[0], here, pointers, places[1:])
        for register, (_, size) in zip((*places, *pointers), (*parts, *to), strict=True):
            assert isinstance(size, int)
            if size:
                e.advance_rows(register, here, size)
        e.line(f"sub {left}, {left}, {here};  beqz {left}, 1f;  j {name}")
        e.mark("1")


def _of_run(size: Size, run: int) -> int:
    """The most bytes that a run of rows has."""
    return (size.run if isinstance(size, Varied) else 4 if isinstance(size, Ends) else
            run * (size.row if isinstance(size, Unpacked) else size))


def _of_all(size: Size, rows: int) -> int:
    """The bytes of all rows: the most of all layers."""
    return (size.most if isinstance(size, Varied) else 4 * (size.runs + 1) if isinstance(size, Ends) else
            rows * (size.row if isinstance(size, Unpacked) else size) or 4)


def _length(c: Lowering, size: int | Varied | Ends, table: str, rows: str, run: int) -> None:
    """Put to a7 the bytes of so many rows. `table`: the address of the u32 of those that differ. Overwrites a6."""
    e = c.emit
    if isinstance(size, int):
        e.line(f"li a7, {size or 4}" + (f";  mul a7, a7, {rows}" if size else ""))
        return
    if run == 1:
        e.line(f"slli a6, {rows}, 2")
    else:
        e.line(f"addi a6, {rows}, {run - 1};  li a7, {run};  divu a6, a6, a7;  slli a6, a6, 2", f"u32 of runs of {run} rows")
    if isinstance(size, Ends):
        e.line("addi a7, a6, 4")
        return
    e.line(f"add a6, a6, {table};  lwu a7, (a6);  lwu a6, ({table});  sub a7, a7, a6", "bytes of this tile")
    if size.unit != 1:
        e.line(f"li a6, {size.unit};  mul a7, a7, a6")


@contextmanager
def gathered(c: Lowering, unit: str, table: Source, table_rows: int, row_bytes: int, to: Sequence[tuple[Source, int]],
             scales: tuple[Source, int] | None, limit: int = 0, listed: tuple[str, int] = ("active", 0)) -> Iterator[Tile]:
    """The rows of a table that the list of active neurons names; there may be none. If a buffer holds the whole table, they are
    fetched all at once; else as many at a time as it holds. With a `limit`, at most so many. `listed`: the list, and the bytes
    between rows that are part of something larger, which have no scales here; 0: rows lie side by side.

    The fetch unit is told the table's size only if all rows are fetched at once: then it counts the rows that it skips. With tiles
    it would count the rows of other tiles too.
    """
    e = c.emit
    scale_bytes = scales[1] if scales else 0
    most = height(c.memory.buffer_bytes, row_bytes, scale_bytes)
    _check(c, row_bytes + scale_bytes, most)
    most = min(most, limit) if limit else most
    whole = most >= table_rows
    near, (names, stride) = isinstance(table, Want) and c.is_near(table), listed
    copied = scales is not None and not (scale_bytes == 0 and near)         # one scale for all need not be copied

    def gather(sources: Sequence[Source], index: Source, count: str, behind: str) -> None:
        e.line(f"sync.wait.fetch {BUFFER_TAG}")
        for name, value in (("src_stride", stride), ("dst_stride", 0)):
            e.csr(f"fetch.{name}", value)
        e.csr("fetch.table_rows", table_rows if whole and names == "active" else 0)
        e.csr("fetch.row_bytes", row_bytes)
        e.op("fetch.rows", BUFFER, sources[0], index, count, reads=(names,), near=near)
        if copied:
            _behind(c, behind, min(most, table_rows) * row_bytes)
            if scale_bytes:
                e.csr("fetch.table_rows", 0)
                e.csr("fetch.row_bytes", scale_bytes)
                e.op("fetch.rows", behind, sources[1], index, count, reads=(names,), near=near)
            else:
                e.op("fetch.copy", behind, sources[1], number(4), near=near)

    sources = (table, *(scales[:1] if scales else ()))
    if whole:
        with e.taken(1 + copied) as (count, *behind), e.profile.known(count, table_rows, exact=False):
            e.line(f"ld {count}, active_count")
            gather(sources, c.at(names), count, *behind or ("",))
            with _used(c, unit):
                yield Tile(BUFFER, count, [address for address, _ in to], [behind[0] if behind else sources[-1]])
        return
    with e.taken(4 + len(to)) as (index, left, here, scales_at, *pointers), e.pinned(*sources) as held:
        e.move(index, c.at(names))
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


def _check(c: Lowering, size: int, most: int, run: int = 1) -> None:
    room = c.memory.buffer_bytes
    what = "a row of weights takes" if run == 1 else f"{run} rows of weights, which belong together, take"
    if most < 1 or size > room:
        raise RoomError("", f"machine {c.memory.machine.name}", region=SRAM, got=f"{what} {size:,} bytes with its scales",
                        expected=f"at most {max(0, room - 2 * ALIGN):,}, a buffer in what activations leave of the scratchpad "
                                 f"({c.memory.largest()})")
