"""The fetch unit: moves bytes between memories. Copies, strided copies, rows by index list.

Sources: SLIM, arXiv 2507.09201 (only the rows of active neurons leave the flash, at the cost of whole pages); SlimInfer,
arXiv 2508.06447 (asynchronous prefetch of chosen blocks); MEADOW, arXiv 2503.11663 (packed weights: chunks by numbers of
variable width).
"""

from __future__ import annotations

import numpy as np

from isa.arithmetic import group_count
from isa.instruction import instruction
from isa.regions import FLASH
from isa.timing.rates import Rate, queue_rates
from isa.traps import Cause, Trap
from isa.unit import Counter, Csr, Unit, spending
from isa.units.sync import TAGS, check_signal, signal

UNIT = Unit(
    "fetch", "DMA and sparse fetch",
    """\
Moves bytes between memories while other units compute. `fetch.copy` moves one piece, `fetch.copy2d` a tile of a matrix,
`fetch.rows` the rows that an index list names (as `thr.index` writes it), `fetch.scatter` puts rows back to their places.
`fetch.unpack` makes rows of chunks: bytes that occur again and again stand once in a table, and packets of their numbers come.
All rows of an operation have `fetch.row_bytes` bytes; strides say how far apart they start. Rows that `fetch.copy2d` and
`fetch.rows` read may overlap, as those of a sliding window do; all others may not.

Flash is read page by page: a source in flash costs every page it touches, and only the page that was touched last is at
hand for the next row. So rows that lie side by side, and page-aligned rows, are cheap. With `fetch.tag` set, every
operation signals that tag when its bytes are there, for a later `sync.wait`; an operation of no rows too. A machine without sync
traps then: ILLEGAL_OPERAND with the tag as mtval, as for a tag beyond 63.

All rows are read before the first is written, then they are written in their order: of rows that fall on the same bytes the last
one stays. An index is a u32. Where `fetch.table_rows` is set, one that is not below it traps, ILLEGAL_OPERAND with the index as
mtval; with 0 no index is too large. What lies side by side by a stride (both sides of `fetch.copy2d`, dst of `fetch.rows`, src of
`fetch.scatter`) lies in one region from its first to its last byte. Each row of a table lies in one region by itself. The bytes
between rows are neither read, written nor counted.

A row of `fetch.unpack` is cut into chunks of `fetch.chunk_bytes`, the last of which may be short. The table at
`fetch.chunk_table` has `fetch.table_rows` chunks. The stream has for each row a width of four bits for each packet, two in a
byte, the first one lower. Then come the packets: 32 numbers of that width, fewer in the last packet of a row, the lowest bits
first. Packets, and so rows, begin on a byte; what is left of a byte is ignored. A width of 0 means number 0 for the whole packet.
The result is the address behind the stream of these rows, where that of the next rows begins. The unit reads the table, then the
widths and the packets of one row after the other. A number that the table does not have traps, ILLEGAL_OPERAND with the number as
mtval. Strides are not looked at. Chunks are looked up as fast as bytes come.

With no rows or bytes nothing is read or written. The tag is checked and signalled all the same, and `fetch.rows` counts its whole
table as left. `fetch.row_bytes` = 0 traps if there is a row: ILLEGAL_OPERAND, mtval 0. `fetch.copy` takes its length from its
operand, and looks at `fetch.tag` alone.

What one instruction counts:

    fetch.ops          1
    fetch.rows         rows or count; 1 of copy and unpack, for one byte or more
    fetch.bytes        fetch.rows * fetch.row_bytes; bytes of copy; of unpack bytes of the stream
    fetch.chunks       of unpack rows * ceil(fetch.row_bytes / fetch.chunk_bytes)
    fetch.row_runs     rows in their order: every row that does not start where the one before it ends; the first counts always.
                       Where they are read; rows of scatter where they are written
    fetch.pages        rows in flash in their order, the pages of each in rising order: every page that is another than the
                       one before it; the first of an instruction counts always. A page is address / the page bytes of the preset
    fetch.page_runs    those of fetch.pages that are not the page behind the one before
    fetch.rows_left    of rows with fetch.table_rows set: fetch.table_rows less the number of different indices
    fetch.bytes_left   fetch.rows_left * fetch.row_bytes
    bytes read         fetch.bytes, and 4 * count of the index list; of unpack fetch.bytes and the table once
    bytes written      fetch.bytes; of unpack rows * fetch.row_bytes
    sync.signals       1 if fetch.tag is set""",
    queue=4,
    csrs=(
        Csr("fetch.tag",        0x830, "tag that each fetch operation signals when it is done, 1..63; 0: none"),
        Csr("fetch.row_bytes",  0x831, "bytes of a row"),
        Csr("fetch.src_stride", 0x832, "bytes between the starts of source rows; 0: fetch.row_bytes"),
        Csr("fetch.dst_stride", 0x833, "bytes between the starts of destination rows; 0: fetch.row_bytes"),
        Csr("fetch.table_rows", 0x834, "rows of the table that indices point into, which bounds them; 0: unknown"),
        Csr("fetch.chunk_table", 0x835, "fetch.unpack: address of the table of chunks", points_to="u8"),
        Csr("fetch.chunk_bytes", 0x836, "fetch.unpack: bytes of a chunk, 1..16"),
    ),
    counters=spending("bytes pages", (
        Counter("fetch.ops",        37, "instructions", "fetch instructions retired"),
        Counter("fetch.rows",       38, "rows",         "rows moved; a plain copy is one row"),
        Counter("fetch.rows_left",  39, "rows",         "rows of a gathered table of known size that no index named"),
        Counter("fetch.bytes",      40, "bytes",        "bytes moved, index lists not included"),
        Counter("fetch.bytes_left", 41, "bytes",        "bytes of fetch.rows_left"),
        Counter("fetch.pages",      42, "pages",        "flash pages read; the page read last serves the next row too"),
        Counter("fetch.page_runs",  92, "runs",         "runs of flash pages that follow each other"),
        Counter("fetch.row_runs",   93, "runs",         "runs of rows that lie side by side in the table or source"),
        Counter("fetch.chunks",    121, "chunks",      "chunks that fetch.unpack has looked up"),
    )),
    rates=(
        *queue_rates("fetch"),
        Rate("fetch.bytes_per_cycle", "bytes a cycle", "bytes moved, whatever the memories could do", "fetch.bytes"),
        Rate("fetch.rows_per_cycle",  "rows a cycle",  "rows whose addresses the engine computes",    "fetch.rows"),
    ),
)

# ------------------------------------------------------------------------------------------------ rows


def _check_tag(m):
    """Trap for a tag that there is not."""
    tag = m.csr("fetch.tag")
    if tag >= TAGS:
        raise Trap(Cause.ILLEGAL_OPERAND, tag, f"fetch.tag is {tag}; expected 0 (none) or 1..{TAGS - 1}")
    if tag:
        check_signal(m, tag)


def _check_rows(m, rows):
    """Trap for rows of no bytes."""
    if rows and not m.csr("fetch.row_bytes"):
        raise Trap(Cause.ILLEGAL_OPERAND, 0, f"fetch.row_bytes is 0; expected the bytes of each of the {rows} rows")


def _stride(m, name, rows):
    """Bytes from row to row of an operand whose rows do not overlap."""
    row_bytes = m.csr("fetch.row_bytes")
    return m.stride(name, row_bytes, "a row (fetch.row_bytes)", zero=row_bytes) if rows else row_bytes


def _indices(m, index, count):
    """The row numbers of an index list, checked against the table's size where it is known."""
    indices, table_rows = m.read_u32(index, count), m.csr("fetch.table_rows")
    beyond = np.flatnonzero(indices >= table_rows)
    if table_rows and len(beyond):
        place = int(beyond[0])
        raise Trap(Cause.ILLEGAL_OPERAND, int(indices[place]),
                   f"index[{place}] is {indices[place]}; the table has {table_rows} rows (fetch.table_rows)")
    return indices.tolist()


def _move(m, sources, destinations, row_bytes, *, scatters=False):
    """Move a row from each source address to the destination address at the same place, the last ones last."""
    for source, destination in zip(sources, destinations, strict=True):
        m.write(destination, m.read(source, row_bytes))
    _finish(m, sources, row_bytes, destinations if scatters else sources)


def _finish(m, sources, row_bytes, table):
    """Count rows from these addresses, which lie at `table` by a list, and signal the tag."""
    m.count("fetch.rows", len(sources))
    m.count("fetch.bytes", len(sources) * row_bytes)
    m.count("fetch.row_runs", row_runs(table, row_bytes))
    pages, runs = pages_and_runs([address for address in sources if m.region_name(address) == FLASH], row_bytes, m.page_bytes)
    m.count("fetch.pages", pages)
    m.count("fetch.page_runs", runs)
    if m.csr("fetch.tag"):
        signal(m, m.csr("fetch.tag"))


def row_runs(addresses, row_bytes):
    """Runs of rows at `addresses`, in this order, that lie side by side."""
    return sum(previous is None or address != previous + row_bytes
               for previous, address in zip([None, *addresses], addresses, strict=False))


def pages_and_runs(addresses, row_bytes, page_bytes):
    """Pages read for rows at `addresses`, in this order, where the page that was touched last need not be read again; and the runs
    of pages that follow each other."""
    pages, runs, at_hand = 0, 0, None
    for address in addresses:
        first, last = address // page_bytes, (address + row_bytes - 1) // page_bytes
        pages += last - first + (first != at_hand)
        runs += at_hand is None or not 0 <= first - at_hand <= 1
        at_hand = last
    return pages, runs


# ------------------------------------------------------------------------------------------------ instructions


@instruction("fetch.copy     R  opcode=0x5B funct3=3 funct7=0x00", "dst[i] = src[i]",
             operands="dst>u8[bytes] src<u8[bytes] bytes",
             example="csrwi fetch.tag, 1\nfetch.copy a0, a1, a2\nli t0, 1\n"
                     "sync.wait t0                   # a2 bytes are at a0")
def fetch_copy(m, dst, src, bytes):
    _check_tag(m)
    _move(m, [src] if bytes else [], [dst] if bytes else [], bytes)


@instruction("fetch.copy2d   R  opcode=0x5B funct3=3 funct7=0x01",
             "dst[i * dst_stride + j] = src[i * src_stride + j], i < rows, j < row_bytes",
             operands="dst>u8[rows,fetch.row_bytes] src<u8[rows,fetch.row_bytes] rows",
             example="csrw fetch.row_bytes, t0\ncsrw fetch.src_stride, t1      # a tile out of a wider matrix\n"
                     "fetch.copy2d a0, a1, a2")
def fetch_copy2d(m, dst, src, rows):
    _check_tag(m)
    _check_rows(m, rows)
    row_bytes = m.csr("fetch.row_bytes")
    src_stride, dst_stride = m.csr("fetch.src_stride") or row_bytes, _stride(m, "fetch.dst_stride", rows)
    m.check_read(src, m.span(rows, row_bytes, src_stride))
    m.check_write(dst, m.span(rows, row_bytes, dst_stride))
    _move(m, [src + i * src_stride for i in range(rows)], [dst + i * dst_stride for i in range(rows)], row_bytes)


@instruction("fetch.rows     R4 opcode=0x5B funct3=4 funct2=0",
             "dst[i * dst_stride + j] = table[index[i] * src_stride + j], i < count, j < row_bytes",
             operands="dst>u8[count,fetch.row_bytes] table<u8[fetch.table_rows,fetch.row_bytes] index<u32[count] count",
             example="thr.index  t0, a0, a1, a2\nfetch.rows a3, a4, a1, t0     # only the rows of active neurons")
def fetch_rows(m, dst, table, index, count):
    _check_tag(m)
    _check_rows(m, count)
    row_bytes = m.csr("fetch.row_bytes")
    src_stride, dst_stride = m.csr("fetch.src_stride") or row_bytes, _stride(m, "fetch.dst_stride", count)
    indices = _indices(m, index, count)
    sources = [table + i * src_stride for i in indices]
    for source in sources:
        m.check_read(source, row_bytes)
    m.check_write(dst, m.span(count, row_bytes, dst_stride))
    left = max(m.csr("fetch.table_rows") - len(set(indices)), 0)
    m.count("fetch.rows_left", left)
    m.count("fetch.bytes_left", left * row_bytes)
    _move(m, sources, [dst + i * dst_stride for i in range(count)], row_bytes)


@instruction("fetch.scatter  R4 opcode=0x5B funct3=4 funct2=1",
             "table[index[i] * dst_stride + j] = src[i * src_stride + j], i rising: of equal indices the last one stays",
             operands="table>u8[fetch.table_rows,fetch.row_bytes] src<u8[count,fetch.row_bytes] index<u32[count] count",
             example="fetch.scatter a0, a1, a2, a3")
def fetch_scatter(m, table, src, index, count):
    _check_tag(m)
    _check_rows(m, count)
    row_bytes = m.csr("fetch.row_bytes")
    src_stride, dst_stride = _stride(m, "fetch.src_stride", count), _stride(m, "fetch.dst_stride", count)
    indices = _indices(m, index, count)
    m.check_read(src, m.span(count, row_bytes, src_stride))
    _move(m, [src + i * src_stride for i in range(count)], [table + i * dst_stride for i in indices], row_bytes, scatters=True)


# ------------------------------------------------------------------------------------------------ packed chunks

PACKET = 32                             # numbers that share a width
MOST_BYTES, MOST_CHUNKS = 16, 1 << 15       # of a chunk; of a table, whose numbers have 15 bits


def numbers_of(m, src, count):
    """The numbers of a row of `count` chunks whose stream begins at `src`, (count,), and the address behind it."""
    packets = group_count(count, PACKET)
    widths = m.read(src, group_count(packets, 2))
    widths = np.stack([widths & 15, widths >> 4], axis=1).reshape(-1)[:packets].astype(np.int64)
    held = np.minimum(count - PACKET * np.arange(packets), PACKET)
    sizes = (held * widths + 7) // 8
    src += group_count(packets, 2)
    bits = np.unpackbits(m.read(src, int(sizes.sum())), bitorder="little").astype(np.int64)
    starts = np.repeat(8 * (np.cumsum(sizes) - sizes), held) + np.arange(count) % PACKET * np.repeat(widths, held)
    numbers, each = np.zeros(count, np.int64), np.repeat(widths, held)
    for bit in range(15):
        there = each > bit
        numbers[there] |= bits[starts[there] + bit] << bit
    return numbers, src + int(sizes.sum())


@instruction("fetch.unpack   R4 opcode=0x5B funct3=4 funct2=2",
             "dst[i] = the chunks whose numbers the packets of row i have, i < rows; rd = the address behind the packets",
             operands="=end dst>u8[rows,fetch.row_bytes] src<u8[stored] rows",
             example="csrw fetch.chunk_table, t0          # 81 chunks of one byte\nli t1, 81\ncsrw fetch.table_rows, t1\n"
                     "csrwi fetch.chunk_bytes, 1\ncsrw fetch.row_bytes, t2\nfetch.unpack a2, a0, a1, a3    # a2: the next rows")
def fetch_unpack(m, dst, src, rows):
    _check_tag(m)
    _check_rows(m, rows)
    row_bytes, size, chunks = m.csr("fetch.row_bytes"), m.csr("fetch.chunk_bytes"), m.csr("fetch.table_rows")
    if rows and not 1 <= size <= MOST_BYTES:
        raise Trap(Cause.ILLEGAL_OPERAND, size, f"fetch.chunk_bytes is {size}; expected 1..{MOST_BYTES}")
    if rows and not 1 <= chunks <= MOST_CHUNKS:
        raise Trap(Cause.ILLEGAL_OPERAND, chunks, f"fetch.table_rows is {chunks}; expected 1..{MOST_CHUNKS} chunks of the table")
    if not rows:
        _finish(m, [], 0, [])
        return src
    count, end = group_count(row_bytes, size), src
    table = m.read(m.csr("fetch.chunk_table"), chunks * size).reshape(chunks, size)
    m.check_read(src, group_count(count, 2 * PACKET))
    m.check_write(dst, rows * row_bytes)
    found = np.zeros((rows, row_bytes), np.uint8)
    for r in range(rows):
        numbers, end = numbers_of(m, end, count)
        beyond = np.flatnonzero(numbers >= chunks)
        if len(beyond):
            i = int(beyond[0])
            raise Trap(Cause.ILLEGAL_OPERAND, int(numbers[i]),
                       f"chunk {i} of row {r} is number {numbers[i]}; the table has {chunks} chunks (fetch.table_rows)")
        found[r] = table[numbers].reshape(-1)[:row_bytes]
    m.write(dst, found.reshape(-1))
    m.count("fetch.chunks", rows * count)
    _finish(m, [src], end - src, [src])
    return end
